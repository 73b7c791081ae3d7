//! The HTTP contract: every row of the API, statuses, headers, limits.
