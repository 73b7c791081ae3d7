//! S8 and S9: the socket is ours and only ours.
