//! What must hold of every answer of Conjur that is read, and of every policy text that is sent.
//!
//! The bodies of policy loads and of errors are no targets: they are read nowhere, and only a status decides.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloakroom_agent::conjur::policy::{self, LoadInto, PolicyLoad, RootBranch};
use cloakroom_agent::conjur::{AccessToken, ConjurError, Metadata, batch, list};
use cloakroom_agent::id::{Scope, Slot};
use granit_parser::{Event, Parser};
use serde_json::Value;

const ACCOUNT: &str = "main";
const VARIABLES: &str = "main:variable:";
const BRANCH: &str = "controlplane/dev";

/// A member of a record. The reader takes a list of the members' values for it too.
fn member<'a>(record: &'a Value, name: &str, position: usize) -> &'a Value {
    if record.is_array() { &record[position] } else { &record[name] }
}

/// The answer as a reader of everything sees it. None for one that holds what is no text, or too large a number, in a
/// member that nobody else reads.
fn plain(data: &[u8]) -> Option<Value> {
    serde_json::from_slice(data).ok()
}

/// A token is sent back as it came, has its three parts, and lives for some time.
pub(crate) fn login(data: &[u8]) {
    let Ok(token) = AccessToken::parse(data) else { return };
    let header = token.header.to_str().expect("a header must be text");
    let sent = header.strip_prefix("Token token=\"").and_then(|rest| rest.strip_suffix('"'));
    assert_eq!(STANDARD.decode(sent.expect("a header must hold the token")).as_deref(), Ok(data));
    assert!(token.header.is_sensitive() && !token.life.is_zero());
    let Some(plain) = plain(data) else { return };
    for (position, name) in ["protected", "payload", "signature"].into_iter().enumerate() {
        assert!(member(&plain, name, position).as_str().is_some_and(|part| !part.is_empty()));
    }
}

/// There is a value for each id that was asked for and for no other, and it is what a plain reader makes of it.
pub(crate) fn batch(data: &[u8]) {
    let answer = |ids: &[&str]| batch::parse(ACCOUNT, ids, data);
    let plain = match plain(data) {
        Some(Value::Object(plain)) => plain,
        other => {
            let answered = answer(&["controlplane/dev/zones"]).is_ok();
            return assert!(other.is_none() || !answered, "no object is an answer");
        }
    };
    let ids: Vec<&str> = plain.keys().filter_map(|key| key.strip_prefix(VARIABLES)).collect();
    let decoded = |id: &&str| {
        let text = plain[&format!("{VARIABLES}{id}")].as_str()?.replace([' ', '\n', '\r', '\t'], "");
        STANDARD.decode(text).ok()
    };
    let expected: Option<Vec<Vec<u8>>> = ids.iter().map(decoded).collect();
    match answer(&ids) {
        Ok(values) => {
            assert_eq!(ids.len(), plain.len(), "what nobody asked for");
            let values: Vec<Vec<u8>> = values.iter().map(|value| value.to_vec()).collect();
            assert_eq!(Some(values), expected);
        }
        Err(error) => {
            assert_eq!(error, ConjurError::Misbehaved);
            // Characters by number are not for base64, and are refused.
            let by_number = data.windows(2).any(|pair| pair == b"\\u");
            assert!(expected.is_none() || ids.len() < plain.len() || by_number, "an answer that is one");
        }
    }
    let more: Vec<&str> = ids.iter().copied().chain(["controlplane/not/there"]).collect();
    assert!(answer(&more).is_err() || plain.contains_key("main:variable:controlplane/not/there"));
    assert!(answer(ids.get(1..).unwrap_or(&["controlplane/not/there"])).is_err());
}

/// Versions and privileges are those that stand there, and their order says nothing.
pub(crate) fn metadata(data: &[u8]) {
    let metadata = match Metadata::parse(data) {
        Ok(metadata) => metadata,
        Err(error) => return assert_eq!(error, ConjurError::Misbehaved),
    };
    let Some(mut plain) = plain(data) else { return };
    let versions = member(&plain, "secrets", 2).as_array().expect("versions must be a list");
    let latest = versions.iter().filter_map(|version| member(version, "version", 0).as_u64()).max();
    assert_eq!(metadata.latest(), latest.unwrap_or_default());
    // Longer than anything that stands there.
    let nobodys = "x".repeat(data.len());
    for permission in member(&plain, "permissions", 1).as_array().into_iter().flatten() {
        let role = member(permission, "role", 1).as_str().expect("a role must be text");
        let privilege = member(permission, "privilege", 0).as_str().expect("a privilege must be text");
        assert!(metadata.permits(role, &[privilege]));
        assert!(!metadata.permits(role, &[privilege, &nobodys]));
    }
    for name in ["permissions", "secrets"] {
        if let Some(list) = plain.get_mut(name).and_then(Value::as_array_mut) {
            list.reverse();
        }
    }
    let other = Metadata::parse(plain.to_string().as_bytes()).expect("the order must not matter");
    assert!(other == metadata && other.mark() == metadata.mark() && other.is_same_variable(&metadata));
}

/// The names of a page are those of its ids that lie in the branch, in their order.
pub(crate) fn resources(data: &[u8]) {
    let page = match list::parse(BRANCH, data) {
        Ok(page) => page,
        Err(error) => return assert_eq!(error, ConjurError::Misbehaved),
    };
    let Some(plain) = plain(data) else { return };
    let plain = plain.as_array().expect("a list that is taken must be one");
    assert_eq!(page.found, plain.len());
    let name = |record: &Value| {
        let (_, rest) = member(record, "id", 0).as_str()?.split_once(':')?;
        let (_, path) = rest.split_once(':')?;
        path.strip_prefix("controlplane/dev/").map(str::to_owned)
    };
    assert_eq!(page.names, plain.iter().filter_map(name).collect::<Vec<_>>());
}

/// Every text is one document, and names nothing but what it is for. The input has a line each for root branch, scope
/// and slots; the rest is who we are by Conjur's own word.
pub(crate) fn policy_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.splitn(4, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (Ok(root), Ok(scope)) = (RootBranch::parse(line()), Scope::parse(line())) else { return };
    let slots: Vec<Slot> = line().split(' ').filter_map(|name| Slot::parse(name).ok()).take(8).collect();
    let username = line();
    for into in LoadInto::LADDER {
        let made = scalars(&policy::onboard(&root, &scope, &|_| slots.clone(), into));
        for slot in &slots {
            assert!(made.iter().any(|(kind, id)| kind == "!variable" && id == slot.as_str()));
        }
        let deleted = scalars(&policy::delete_slots(&root, &scope, &slots, into));
        assert_eq!(deleted.iter().filter(|(kind, _)| kind == "!variable").count(), slots.len());
        let deleted = scalars(&policy::delete_branch(&root, &scope, into));
        assert_eq!(deleted.iter().filter(|(kind, _)| kind == "!policy").count(), 1);
        let joined = scalars(&policy::join_writers(&root, &scope, username, into));
        let (kind, id) = username.strip_prefix("host/").map_or(("!user", username), |host| ("!host", host));
        let named: Vec<_> = joined.iter().filter(|(kind, _)| !kind.is_empty()).collect();
        let [(group, writers), (member, name)] = named.as_slice() else { panic!("other records than two") };
        assert!(group == "!group" && writers.ends_with("writers") && member == kind);
        assert_eq!(name, &format!("/{id}"));
    }
}

/// The scalars of a text with their tags, which are empty for what is no record.
fn scalars(load: &PolicyLoad) -> Vec<(String, String)> {
    let mut documents = 0;
    let mut scalars = Vec::new();
    for event in Parser::new_from_str(&load.body) {
        match event.expect("a text must be YAML").0 {
            Event::DocumentStart(..) => documents += 1,
            Event::Scalar(text, _, _, tag) => {
                let tag = tag.map_or_else(String::new, |tag| format!("{}{}", tag.handle(), tag.suffix()));
                scalars.push((tag, text.into_owned()));
            }
            _ => {}
        }
    }
    assert!(documents <= 1);
    scalars
}
