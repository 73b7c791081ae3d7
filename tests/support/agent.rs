//! A real agent under test: the built binary with a directory, a configuration and a socket of its own.
