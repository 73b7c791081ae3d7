//! The operations behind the API: permit, audit, cache, backend, in that order.
