//! Policy text as a tree of nodes with tags. The YAML itself is the business of a library.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use granit_parser::{Event, Marker, Options, Parser, Tag};

/// One node; an alias is the very node that its anchor names.
pub(super) struct Node {
    /// Tells nodes apart, and is the same wherever an alias leads to.
    pub(super) key: usize,
    /// Without the exclamation mark.
    pub(super) tag: Option<String>,
    pub(super) value: Value,
    /// Where the server's parser stands when it has read the node.
    pub(super) end: Place,
}

pub(super) enum Value {
    Scalar(String),
    List(Vec<Arc<Node>>),
    Map(Vec<(Arc<Node>, Arc<Node>)>),
}

/// A line and a column as the server counts them, both from nought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// Why a text is no policy.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) message: String,
    /// Known for what the policy's own parser complains about, not for broken YAML.
    pub(super) place: Option<Place>,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None }
    }

    pub(super) fn at(message: impl Into<String>, place: Place) -> Self {
        Self { message: message.into(), place: Some(place) }
    }
}

/// A collection that has begun.
struct Open {
    tag: Option<String>,
    anchor: Option<(usize, String)>,
    map: bool,
    nodes: Vec<Arc<Node>>,
}

/// The one document of the text; `None` when it holds only comments.
pub(super) fn parse(source: &str) -> Result<Option<Arc<Node>>, Fault> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.emit_anchor_events = true;
    options.emit_comments = false;
    options.strict_indentation = true;
    let mut reading = Reading {
        lines: source.lines().collect(),
        anchors: HashMap::new(),
        names: HashSet::new(),
        open: Vec::new(),
        root: None,
        keys: 0,
    };
    let mut events = Parser::new_from_str_with_options(source, options).peekable();
    while let Some(event) = events.next() {
        let (event, span) = event.map_err(|error| broken(source, &error.to_string()))?;
        let anchor = match events.peek() {
            Some(Ok((Event::Anchor(id, name), _))) => Some((*id, name.to_string())),
            _ => None,
        };
        reading.indented(span.start)?;
        reading.take(event, span.end, anchor)?;
    }
    Ok(reading.root)
}

struct Reading<'a> {
    lines: Vec<&'a str>,
    anchors: HashMap<usize, Arc<Node>>,
    names: HashSet<String>,
    open: Vec<Open>,
    root: Option<Arc<Node>>,
    keys: usize,
}

impl Reading<'_> {
    fn take(&mut self, event: Event<'_>, end: Marker, anchor: Option<(usize, String)>) -> Result<(), Fault> {
        match event {
            Event::Scalar(text, _, _, tag) => {
                self.close(name(tag.as_deref()), Value::Scalar(text.into_owned()), end, anchor)
            }
            Event::SequenceStart(_, _, tag) => self.begin(name(tag.as_deref()), anchor, false),
            Event::MappingStart(_, _, tag) => self.begin(name(tag.as_deref()), anchor, true),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(done) = self.open.pop() else { return Err(Fault::new("unexpected end")) };
                let value = if done.map {
                    let mut nodes = done.nodes.into_iter();
                    let mut pairs = Vec::new();
                    while let (Some(key), Some(value)) = (nodes.next(), nodes.next()) {
                        pairs.push((key, value));
                    }
                    Value::Map(pairs)
                } else {
                    Value::List(done.nodes)
                };
                self.close(done.tag, value, end, done.anchor)
            }
            Event::Alias(id) => {
                let node = self.anchors.get(&id).cloned().ok_or_else(|| Fault::new("Unknown anchor"))?;
                self.place(node);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "one shape for all arms of the match above")]
    fn begin(&mut self, tag: Option<String>, anchor: Option<(usize, String)>, map: bool) -> Result<(), Fault> {
        self.open.push(Open { tag, anchor, map, nodes: Vec::new() });
        Ok(())
    }

    fn close(
        &mut self,
        tag: Option<String>,
        value: Value,
        end: Marker,
        anchor: Option<(usize, String)>,
    ) -> Result<(), Fault> {
        self.keys += 1;
        let end = self.ahead(end);
        let node = Arc::new(Node { key: self.keys, tag, value, end });
        if let Some((id, name)) = anchor {
            if !self.names.insert(name.clone()) {
                return Err(Fault::at(format!("Duplicate anchor {name}"), end));
            }
            self.anchors.insert(id, Arc::clone(&node));
        }
        self.place(node);
        Ok(())
    }

    /// The server's parser takes no tab before the first word of a line; ours does.
    fn indented(&self, start: Marker) -> Result<(), Fault> {
        let line = self.lines.get(start.line().saturating_sub(1)).copied().unwrap_or_default();
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        if start.col() <= indent && line[..indent].contains('\t') {
            return Err(Fault::new("found character that cannot start any token while scanning for the next token"));
        }
        Ok(())
    }

    /// The server's parser reads one token ahead, and that is where its errors point.
    fn ahead(&self, end: Marker) -> Place {
        let mut from = end.col();
        for (line, text) in self.lines.iter().enumerate().skip(end.line().saturating_sub(1)) {
            let rest: String = text.chars().skip(from).collect();
            let content = rest.trim_start();
            if !content.is_empty() && !content.starts_with('#') {
                let column = from + rest.chars().count() - content.chars().count();
                return Place { line, column: if content.starts_with('-') { column + 1 } else { column } };
            }
            from = 0;
        }
        Place { line: self.lines.len(), column: 0 }
    }

    fn place(&mut self, node: Arc<Node>) {
        match self.open.last_mut() {
            Some(open) => open.nodes.push(node),
            None => self.root = self.root.take().or(Some(node)),
        }
    }
}

fn name(tag: Option<&Tag>) -> Option<String> {
    tag.filter(|tag| tag.handle() == "!").map(|tag| tag.suffix().to_owned())
}

/// Broken YAML in the words of the server's library, as far as they are known.
fn broken(source: &str, told: &str) -> Fault {
    let quotes = source.matches('"').count() % 2 == 1 || source.matches('\'').count() % 2 == 1;
    Fault::new(if quotes {
        "found unexpected end of stream while scanning a quoted scalar".to_owned()
    } else {
        format!("did not find expected token ({told})")
    })
}
