//! The HTTP API: routes, handlers, and the one place where errors become HTTP.
