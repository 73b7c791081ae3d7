//! X1 and the store: kill -9 at any time.
