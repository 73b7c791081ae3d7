//! A raw HTTP/1.1 client on a Unix socket, for requests that no library would send.
