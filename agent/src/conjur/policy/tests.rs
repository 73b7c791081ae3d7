//! Policy texts: read back to what was meant, whatever the scope is called.

use granit_parser::{Event, Parser};
use proptest::prelude::*;

use super::*;
use crate::access::{Right, Subject};
use crate::id::{ScopePattern, Slot};

fn scope(text: &str) -> Scope {
    Scope::parse(text).unwrap()
}

fn slots(names: &[&str]) -> Vec<Slot> {
    names.iter().map(|name| Slot::parse(name).unwrap()).collect()
}

/// Those of the scope itself; the ones around it have none.
fn of_kind(kind: ScopeKind, names: &[&str], scope: &Scope) -> Vec<Slot> {
    if kind == scope.kind() { slots(names) } else { Vec::new() }
}

fn shown(load: &PolicyLoad) -> String {
    format!("# into {}\n{}", load.branch, load.body)
}

#[test]
fn the_text_of_each_kind_of_scope() {
    let root = RootBranch::default();
    let made = |text, names: &[&str], into| {
        shown(&onboard(&root, &scope(text), &|kind| of_kind(kind, names, &scope(text)), into))
    };
    insta::assert_snapshot!("environment", made("poc", &["zones"], LoadInto::Parent));
    insta::assert_snapshot!("team", made("poc/eni--hyperion", &["clientSecret", "teamToken"], LoadInto::Parent));
    let of_app = ["clientSecret", "rotatedClientSecret", "externalSecrets"];
    insta::assert_snapshot!("app", made("poc/eni--hyperion/my-app", &of_app, LoadInto::Parent));
    insta::assert_snapshot!("app_with_team", made("poc/eni--hyperion/my-app", &of_app, LoadInto::Environment));
    insta::assert_snapshot!("app_with_team_and_environment", made("poc/eni--hyperion/my-app", &of_app, LoadInto::Root));
    insta::assert_snapshot!("own_branch", made("poc/eni--hyperion/my-app", &of_app, LoadInto::Own));
    insta::assert_snapshot!("without_slots", made("poc/eni--hyperion", &[], LoadInto::Parent));
}

#[test]
fn the_texts_of_deletes() {
    let (root, app, own) = (RootBranch::default(), scope("poc/eni--hyperion/my-app"), slots(&["a", "b"]));
    let texts = LoadInto::LADDER
        .map(|into| [shown(&delete_slots(&root, &app, &own, into)), shown(&delete_branch(&root, &app, into))].concat());
    insta::assert_snapshot!("deletes", texts.concat());
}

#[test]
fn ids_of_branches_and_variables() {
    let root = RootBranch::parse("a/b").unwrap();
    let slot = Slot::parse("zones").unwrap();
    assert_eq!(scope_branch(&root, &scope("poc")), "a/b/poc");
    assert_eq!(variable_id(&root, &scope("poc/team/app"), slot.as_str()), "a/b/poc/team/app/zones");
    assert_eq!(variable_id(&RootBranch::default(), &scope("poc"), slot.as_str()), "controlplane/poc/zones");
    for wrong in ["", "/", "a/", "/a", "a//b", "a b", "a.b", "\u{e9}", "..", &"a".repeat(61)] {
        assert_eq!(RootBranch::parse(wrong), Err(InvalidBranch), "{wrong}");
    }
}

/// A YAML node with its tag, aliases resolved.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Scalar { tag: String, text: String, plain: bool },
    List(Vec<Node>),
    Map { tag: String, entries: Vec<(String, Node)> },
}

/// Reads one document; says also which anchors it has.
fn read(text: &str) -> (Node, usize) {
    struct Reader {
        events: std::vec::IntoIter<Event<'static>>,
        anchors: Vec<(usize, Node)>,
    }
    impl Reader {
        fn node(&mut self, event: Event<'static>) -> Node {
            let tag_of = |tag: Option<std::borrow::Cow<'_, granit_parser::Tag>>| {
                tag.map_or_else(String::new, |tag| format!("{}{}", tag.handle(), tag.suffix()))
            };
            let (anchor, node) = match event {
                Event::Alias(anchor) => {
                    return self.anchors.iter().find(|(known, _)| *known == anchor).unwrap().1.clone();
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let plain = style == granit_parser::ScalarStyle::Plain;
                    (anchor, Node::Scalar { tag: tag_of(tag), text: text.into_owned(), plain })
                }
                Event::SequenceStart(_, anchor, _) => {
                    let mut items = Vec::new();
                    loop {
                        match self.events.next().unwrap() {
                            Event::SequenceEnd => break,
                            event => items.push(self.node(event)),
                        }
                    }
                    (anchor, Node::List(items))
                }
                Event::MappingStart(_, anchor, tag) => {
                    let mut entries = Vec::new();
                    loop {
                        match self.events.next().unwrap() {
                            Event::MappingEnd => break,
                            Event::Scalar(key, ..) => {
                                let value = self.events.next().unwrap();
                                entries.push((key.into_owned(), self.node(value)));
                            }
                            other => panic!("{other:?}"),
                        }
                    }
                    (anchor, Node::Map { tag: tag_of(tag), entries })
                }
                other => panic!("{other:?}"),
            };
            if anchor > 0 {
                self.anchors.push((anchor, node.clone()));
            }
            node
        }
    }
    let text: &'static str = Box::leak(text.to_owned().into_boxed_str());
    // Without what it says to people, which is looked at elsewhere.
    let options = granit_parser::options! { emit_comments: false };
    let events: Vec<Event<'static>> =
        Parser::new_from_str_with_options(text, options).map(|event| event.unwrap().0).collect();
    let mut reader = Reader { events: events.into_iter(), anchors: Vec::new() };
    loop {
        match reader.events.next().unwrap() {
            Event::StreamStart | Event::DocumentStart(..) => {}
            event => {
                let node = reader.node(event);
                assert_eq!(reader.events.next(), Some(Event::DocumentEnd));
                assert_eq!(reader.events.next(), Some(Event::StreamEnd));
                return (node, reader.anchors.len());
            }
        }
    }
}

fn record(tag: &str, id: &str) -> Node {
    Node::Scalar { tag: tag.to_owned(), text: id.to_owned(), plain: false }
}

fn word(text: &str) -> Node {
    Node::Scalar { tag: String::new(), text: text.to_owned(), plain: true }
}

fn map(tag: &str, entries: Vec<(&str, Node)>) -> Node {
    Node::Map { tag: tag.to_owned(), entries: entries.into_iter().map(|(key, node)| (key.to_owned(), node)).collect() }
}

/// What a scope's policy must say.
fn expected(around: &str, name: &str, slots: &[Slot], below: Option<Node>) -> Node {
    let variables = Node::List(slots.iter().map(|slot| record("!variable", slot.as_str())).collect());
    let mut body = Vec::new();
    body.extend((!slots.is_empty()).then(|| variables.clone()));
    body.extend(["readers", "writers"].map(|group| record("!group", group)));
    if !slots.is_empty() {
        for (group, privileges) in [("readers", "read execute"), ("writers", "read execute update")] {
            let privileges = Node::List(privileges.split(' ').map(word).collect());
            body.push(map(
                "!permit",
                vec![("role", record("!group", group)), ("privileges", privileges), ("resource", variables.clone())],
            ));
        }
    }
    body.extend(["readers", "writers"].map(|group| {
        let member = record("!group", &format!("/{around}/{group}"));
        map("!grant", vec![("role", record("!group", group)), ("member", member)])
    }));
    body.extend(below);
    let id = Node::Scalar { tag: String::new(), text: name.to_owned(), plain: false };
    map("!policy", vec![("id", id), ("body", Node::List(body))])
}

/// Names that a YAML reader could take for something else, and any other.
fn name() -> impl Strategy<Value = String> {
    const ODD: &[&str] = &[
        "on",
        "off",
        "yes",
        "no",
        "y",
        "n",
        "true",
        "false",
        "null",
        "0",
        "123",
        "0123",
        "0x1f",
        "0o17",
        "1e5",
        "12e03",
        "2001-01-01",
        "0b1",
        "nan",
        "inf",
        "readers",
        "writers",
    ];
    prop_oneof![prop::sample::select(ODD).prop_map(str::to_owned), "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?"]
}

fn any_scope() -> impl Strategy<Value = Scope> {
    (name(), prop::option::of((name(), prop::option::of(name())))).prop_filter_map("reserved names", |(env, below)| {
        let (team, app) = below.unwrap_or_default();
        Scope::new(&env, &team, &app.unwrap_or_default()).ok()
    })
}

fn any_slots() -> impl Strategy<Value = Vec<Slot>> {
    let slot = prop_oneof!["[A-Za-z][A-Za-z0-9_-]{0,59}", Just("on".to_owned()), Just("NULL".to_owned())];
    prop::collection::btree_set(slot, 0..5)
        .prop_map(|names| names.iter().map(|name| Slot::parse(name).unwrap()).collect())
}

fn any_root() -> impl Strategy<Value = RootBranch> {
    prop::collection::vec("[A-Za-z0-9_-]{1,60}", 1..3).prop_map(|path| RootBranch::parse(&path.join("/")).unwrap())
}

fn any_into() -> impl Strategy<Value = LoadInto> {
    prop::sample::select(&LoadInto::LADDER)
}

proptest! {
    #[test]
    fn a_scope_is_made_as_it_is_meant_whatever_its_name(
        root in any_root(), scope in any_scope(), slots in any_slots(), into in any_into(),
    ) {
        let load = onboard(&root, &scope, &|kind| if kind == scope.kind() { slots.clone() } else { Vec::new() }, into);
        let whole = scope_branch(&root, &scope);
        if into == LoadInto::Own {
            prop_assert_eq!(&load.branch, &whole);
            let (around, name) = whole.rsplit_once('/').unwrap();
            let Node::Map { entries, .. } = expected(around, name, &slots, None) else { panic!() };
            prop_assert_eq!(&read(&load.body).0, &entries.last().unwrap().1);
            return Ok(());
        }
        let inside = whole.strip_prefix(&format!("{}/", load.branch)).unwrap();
        let names: Vec<&str> = inside.split('/').collect();
        let mut below = None;
        for (depth, name) in names.iter().enumerate().rev() {
            let around = [&[load.branch.as_str()], names.get(..depth).unwrap()].concat().join("/");
            let last = depth + 1 == names.len();
            below = Some(expected(&around, name, if last { &slots } else { &[] }, below));
        }
        let mut statements: Vec<Node> = ["readers", "writers"].map(|group| record("!group", group)).into();
        statements.extend(below);
        let (read, anchors) = read(&load.body);
        prop_assert_eq!(read, Node::List(statements));
        prop_assert_eq!(anchors, usize::from(!slots.is_empty()));
    }

    #[test]
    fn only_what_is_named_is_deleted(
        root in any_root(), scope in any_scope(), slots in any_slots(), into in any_into(),
    ) {
        let deletes = |load: &PolicyLoad| -> Vec<String> {
            let Node::List(statements) = read(&load.body).0 else { panic!("{}", load.body) };
            statements.into_iter().map(|statement| {
                let Node::Map { tag, entries } = statement else { panic!() };
                let [(key, Node::Scalar { tag: kind, text, plain: false })] = entries.as_slice() else { panic!() };
                assert_eq!((tag.as_str(), key.as_str()), ("!delete", "record"));
                format!("{kind} {}/{text}", load.branch).trim_end_matches('/').to_owned()
            }).collect()
        };
        let variables: Vec<String> =
            slots.iter().map(|slot| format!("!variable {}", variable_id(&root, &scope, slot.as_str()))).collect();
        prop_assert_eq!(deletes(&delete_slots(&root, &scope, &slots, into)), variables);
        let branch = format!("!policy {}", scope_branch(&root, &scope));
        prop_assert_eq!(deletes(&delete_branch(&root, &scope, into)), vec![branch]);
    }
}

#[test]
fn the_policy_that_an_operator_loads_says_why_at_each_statement() {
    let grant = |name: &str, right, scope: &str| HostGrant {
        subject: Subject::parse(&format!("system:serviceaccount:{name}")).unwrap(),
        right,
        scope: ScopePattern::parse(scope).unwrap(),
    };
    let mut policy = OperatorPolicy {
        root: RootBranch::default(),
        hosts: RootBranch::parse("apps").unwrap(),
        service: "k8s".to_owned(),
        authenticator: Some(SigningKeys::PublicKeys),
        may_delete: false,
        grants: vec![
            grant("control-plane:rover", Right::OnboardingWrite, "*"),
            grant("control-plane:rover", Right::SecretsRead, "*"),
            grant("team-a:my-app", Right::SecretsRead, "poc/eni--hyperion/my-app"),
            grant("team-a:deployer", Right::SecretsWrite, "on/123"),
        ],
    };
    insta::assert_snapshot!("operator", policy.text());
    let onboarding = policy.grants.drain(..1).collect();
    let smaller = OperatorPolicy { authenticator: None, may_delete: true, grants: onboarding, ..policy };
    insta::assert_snapshot!("operator_who_has_an_authenticator", smaller.text());
    let (Node::List(statements), _) = read(&smaller.text()) else { panic!("{}", smaller.text()) };
    assert_eq!(statements.len(), 5, "the statements and their comments are one document");
}
