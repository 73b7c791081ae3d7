//! S1 to S6: hostile HTTP.
