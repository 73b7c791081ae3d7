//! What is not replayed, and why not. Whatever is not named here is.
//!
//! Three recordings are not kept at all: a server whose database is down (a fault of the double's does that), public keys
//! of users, and the effective policy as text, which nobody here asks for.

/// File, exchange (or all of them) and reason.
const LEFT_OUT: [(&str, &str, &str); 5] = [
    ("login", "user, password", "a user's password: our client has none, and the double keeps none"),
    (
        "policy-load-conflict",
        "delete of a branch while a load goes to it",
        "the database let a load into a deleted branch through; which of the two it is, is chance",
    ),
    ("groups-delete-race", "delete first by 40 ms, round 3: delete", "a deadlock in the database, 2 of 90 rounds"),
    ("groups-delete-race", "delete first by 40 ms, round 3: load", "a deadlock in the database, 2 of 90 rounds"),
    ("groups-load-repeat", "the branch policy after all these loads", "1.7 MB of texts that were not recorded"),
];

pub(super) fn reason(file: &str, exchange: &str) -> Option<&'static str> {
    LEFT_OUT
        .iter()
        .find(|(in_file, name, _)| *in_file == file && (*name == exchange || *name == "*"))
        .map(|(_, _, reason)| *reason)
}
