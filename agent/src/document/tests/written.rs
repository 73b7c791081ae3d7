//! A generator of YAML: random trees in random ways of writing them.

use proptest::prelude::*;

use super::IDS;

/// A node and how it is written.
#[derive(Clone, Debug)]
pub(super) enum Written {
    Text(String, Style),
    Raw(&'static str),
    List(Vec<Written>, bool),
    Map(Vec<(String, Written)>, bool),
    /// What comes next is anchored, if nothing is yet under this name.
    Anchored(u8, Box<Written>),
    /// Repeats it, if there is one.
    Alias(u8),
    Tagged(&'static str, Box<Written>),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Style {
    Plain,
    Single,
    Double,
    Literal { explicit: bool, comment: bool },
    Folded,
}

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => "[ -~]{0,8}",
        2 => "[a-zé😀 ]{0,6}",
        3 => (0..IDS.len()).prop_map(|number| format!("$<{}>", IDS[number])),
    ]
}

/// One text, or several lines of it.
fn text(lines: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let line = proptest::collection::vec(piece(), 0..4).prop_map(|pieces| pieces.concat());
    proptest::collection::vec(line, lines).prop_map(|lines| lines.join("\n"))
}

fn leaf() -> impl Strategy<Value = Written> {
    let quotes = prop::sample::select(vec![Style::Plain, Style::Single, Style::Double]);
    let literal = (any::<bool>(), any::<bool>()).prop_map(|(explicit, comment)| Style::Literal { explicit, comment });
    let blocks = prop_oneof![2 => literal, 1 => Just(Style::Folded)];
    prop_oneof![
        3 => (text(1..3), quotes).prop_map(|(text, style)| Written::Text(text, style)),
        3 => (text(1..6), blocks).prop_map(|(text, style)| Written::Text(text, style)),
        1 => prop::sample::select(vec!["1", "true", "~", "2001-01-01", "'x'", "[]", "{}"]).prop_map(Written::Raw),
        3 => (0..2_u8).prop_map(Written::Alias),
    ]
}

fn node() -> impl Strategy<Value = Written> {
    leaf().prop_recursive(4, 24, 4, |inner| {
        // Many names are a number and nothing else, so that a random pointer leads somewhere.
        let name = prop_oneof![2 => Just(String::new()), 1 => text(1..3)];
        let members = proptest::collection::vec((name, inner.clone()), 1..4);
        let flow = || prop::bool::weighted(0.3);
        prop_oneof![
            3 => (proptest::collection::vec(inner.clone(), 1..4), flow())
                .prop_map(|(items, flow)| Written::List(items, flow)),
            4 => (members, flow()).prop_map(|(members, flow)| Written::Map(members, flow)),
            4 => (0..2_u8, inner.clone()).prop_map(|(name, node)| Written::Anchored(name, Box::new(node))),
            1 => (prop::sample::select(vec!["!!str", "!own", "!"]), leaf()).prop_map(|(tag, leaf)| match leaf {
                Written::Text(..) => Written::Tagged(tag, Box::new(leaf)),
                other => other,
            }),
        ]
    })
}

pub(super) fn written() -> impl Strategy<Value = Written> {
    let members = proptest::collection::vec(node(), 1..5);
    members.prop_map(|nodes| Written::Map(nodes.into_iter().map(|node| (String::new(), node)).collect(), false))
}

/// The text of a document.
pub(super) fn source(node: &Written, newline: &str) -> String {
    let mut writer = Writer { out: String::from("--- # begin\n"), anchors: Vec::new() };
    if let Written::Map(members, _) = node {
        writer.map(members, 0);
    }
    writer.out.push_str("# end\n");
    writer.out.replace('\n', newline)
}

struct Writer {
    out: String,
    anchors: Vec<u8>,
}

impl Writer {
    fn indent(&mut self, depth: usize) {
        self.out.extend(std::iter::repeat_n(' ', depth));
    }

    fn list(&mut self, items: &[Written], depth: usize) {
        for item in items {
            self.indent(depth);
            self.out.push('-');
            self.node(item, depth + 2, false);
        }
    }

    fn map(&mut self, members: &[(String, Written)], depth: usize) {
        for (number, (key, member)) in members.iter().enumerate() {
            self.indent(depth);
            self.out.push_str(&format!("{}:", quoted(&format!("{number}{key}"))));
            self.node(member, depth + 2, false);
        }
    }

    /// A node behind the mark of its place, to the end of its line.
    fn node(&mut self, node: &Written, depth: usize, flow: bool) {
        match node {
            Written::List(items, false) if !flow && !items.is_empty() => {
                self.out.push('\n');
                self.list(items, depth);
            }
            Written::Map(members, false) if !flow && !members.is_empty() => {
                self.out.push_str(" # map\n");
                self.map(members, depth);
            }
            Written::Anchored(name, node) => {
                // An anchor on an alias is none, and one on another is two.
                let anchored = !matches!(**node, Written::Alias(_) | Written::Anchored(..));
                if anchored {
                    self.out.push_str(&format!(" &a{name}"));
                    // Until the node ends, its name would be that of what it is in.
                    self.anchors.retain(|known| known != name);
                }
                self.node(node, depth, flow);
                if anchored {
                    self.anchors.push(*name);
                }
            }
            Written::Tagged(tag, node) => {
                self.out.push_str(&format!(" {tag}"));
                self.node(node, depth, flow);
            }
            Written::Text(text, style) if !flow && self.block(text, *style, depth) => {}
            inline => {
                self.out.push(' ');
                self.inline(inline);
                if !flow {
                    self.out.push_str(" # here\n");
                }
            }
        }
    }

    fn inline(&mut self, node: &Written) {
        match node {
            Written::Text(text, style) => self.out.push_str(&scalar(text, *style)),
            Written::Raw(text) => self.out.push_str(text),
            Written::Alias(name) if self.anchors.contains(name) => self.out.push_str(&format!("*a{name} ")),
            Written::Alias(_) => self.out.push_str("none"),
            Written::List(items, _) => {
                self.out.push('[');
                for item in items {
                    self.node(item, 0, true);
                    self.out.push(',');
                }
                self.out.push(']');
            }
            Written::Map(members, _) => {
                self.out.push('{');
                for (number, (key, member)) in members.iter().enumerate() {
                    self.out.push_str(&format!("{}:", quoted(&format!("{number}{key}"))));
                    self.node(member, 0, true);
                    self.out.push(',');
                }
                self.out.push('}');
            }
            Written::Anchored(..) | Written::Tagged(..) => self.node(node, 0, true),
        }
    }

    /// A block scalar, where the text can be one.
    fn block(&mut self, text: &str, style: Style, depth: usize) -> bool {
        let body = text.trim_end_matches('\n');
        let ends = text.len() - body.len();
        let chomp = ["-", "", "+"][ends.min(2)];
        let plain = |line: &str| line.chars().all(|c| !c.is_control());
        if body.is_empty() || !body.split('\n').all(plain) || depth == 0 {
            return false;
        }
        let blank_start = body.starts_with([' ', '\n']);
        match style {
            Style::Literal { explicit, comment } => {
                let indicator = if explicit || blank_start { depth.min(2).to_string() } else { String::new() };
                // An indicator counts from the indentation of the parent, which here is two less, or none.
                if !indicator.is_empty() && !depth.is_multiple_of(2) {
                    return false;
                }
                self.out.push_str(&format!(" |{indicator}{chomp}{}\n", if comment { " # a | b > c" } else { "" }));
                for line in body.split('\n') {
                    if !line.is_empty() {
                        self.indent(depth);
                    }
                    self.out.push_str(line);
                    self.out.push('\n');
                }
            }
            Style::Folded => {
                if blank_start || body.split('\n').any(|line| line.starts_with(' ') || line.is_empty()) {
                    return false;
                }
                self.out.push_str(&format!(" >{chomp}\n"));
                for (number, line) in body.split('\n').enumerate() {
                    if number > 0 {
                        self.out.push('\n');
                    }
                    self.indent(depth);
                    self.out.push_str(line);
                    self.out.push('\n');
                }
            }
            Style::Plain | Style::Single | Style::Double => return false,
        }
        self.out.extend(std::iter::repeat_n('\n', ends.saturating_sub(1)));
        true
    }
}

fn scalar(text: &str, style: Style) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || "$<>:/. ".contains(c);
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '$')
        && text.chars().all(word)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ");
    match style {
        Style::Plain if plain => text.to_owned(),
        Style::Single if !text.contains(char::is_control) => format!("'{}'", text.replace('\'', "''")),
        _ => quoted(text),
    }
}

fn quoted(text: &str) -> String {
    let escaped = serde_json::to_string(text).unwrap();
    // Every other placeholder is written with an escape.
    escaped.replacen("$<", "$\\u003c", 1)
}
