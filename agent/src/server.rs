//! The socket server: accept loop, connection limits, framing, drain.
