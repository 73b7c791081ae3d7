//! What a document is to a parser that is not ours, and what it must become, worked out in the plainest way.

use libyaml_safer::{EventData, Parser, ScalarStyle};

use super::IDS;

/// A node with every alias unfolded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    Text {
        text: String,
        tag: Option<String>,
    },
    /// A plain scalar that a schema may take for something else than text.
    Plain {
        text: String,
        tag: Option<String>,
    },
    List(Option<String>, Vec<Tree>),
    Map(Option<String>, Vec<(Tree, Tree)>),
}

/// `text` with each placeholder of [`IDS`] replaced by its value, left to right, once.
pub(super) fn replaced(text: &str, values: &[String]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("$<") {
        let (before, candidate) = rest.split_at(start);
        out.push_str(before);
        let id = IDS.iter().position(|id| candidate.starts_with(&format!("$<{id}>")));
        let length = match id {
            Some(number) => {
                out.push_str(&values[number]);
                IDS[number].len() + 3
            }
            None => {
                out.push_str("$<");
                2
            }
        };
        rest = candidate.get(length..).unwrap();
    }
    out + rest
}

/// Every document of a stream, to libyaml; none if it takes it for malformed.
pub(super) fn trees(source: &str) -> Option<Vec<Tree>> {
    let mut bytes = source.as_bytes();
    let mut parser = Parser::new();
    parser.set_input(&mut bytes);
    let mut events = Vec::new();
    for event in parser {
        events.push(event.ok()?.data);
    }
    let mut builder = Builder { events: events.into_iter(), anchors: Vec::new() };
    let mut trees = Vec::new();
    while let Some(event) = builder.events.next() {
        if let EventData::DocumentStart { .. } = event {
            builder.anchors.clear();
            trees.push(builder.node()?);
        }
    }
    Some(trees)
}

struct Builder {
    events: std::vec::IntoIter<EventData>,
    /// In the order in which they stand; without a tree until the node has ended.
    anchors: Vec<(String, Option<Tree>)>,
}

impl Builder {
    fn node(&mut self) -> Option<Tree> {
        let event = self.events.next()?;
        self.node_of(event)
    }

    fn node_of(&mut self, event: EventData) -> Option<Tree> {
        match event {
            EventData::Alias { anchor } => {
                self.anchors.iter().rev().find(|(known, _)| *known == anchor).and_then(|(_, tree)| tree.clone())
            }
            EventData::Scalar { anchor, tag, value: text, style, .. } => {
                let plain =
                    style == ScalarStyle::Plain && !matches!(tag.as_deref(), Some("!" | "tag:yaml.org,2002:str"));
                let tag = tag.filter(|tag| tag != "!");
                let tree = if plain { Tree::Plain { text, tag } } else { Tree::Text { text, tag } };
                let place = self.anchor(anchor);
                Some(self.anchored(place, tree))
            }
            EventData::SequenceStart { anchor, tag, .. } => {
                let place = self.anchor(anchor);
                let mut items = Vec::new();
                loop {
                    match self.events.next()? {
                        EventData::SequenceEnd => break,
                        event => items.push(self.node_of(event)?),
                    }
                }
                Some(self.anchored(place, Tree::List(tag, items)))
            }
            EventData::MappingStart { anchor, tag, .. } => {
                let place = self.anchor(anchor);
                let mut members = Vec::new();
                loop {
                    match self.events.next()? {
                        EventData::MappingEnd => break,
                        event => {
                            let key = self.node_of(event)?;
                            members.push((key, self.node()?));
                        }
                    }
                }
                Some(self.anchored(place, Tree::Map(tag, members)))
            }
            _ => None,
        }
    }

    /// An anchor counts from where it stands.
    fn anchor(&mut self, anchor: Option<String>) -> Option<usize> {
        self.anchors.push((anchor?, None));
        Some(self.anchors.len() - 1)
    }

    fn anchored(&mut self, place: Option<usize>, tree: Tree) -> Tree {
        if let Some(place) = place {
            self.anchors[place].1 = Some(tree.clone());
        }
        tree
    }
}

impl Tree {
    /// What it must become at `path`. A plain scalar with a placeholder is text: what comes of it must not be taken for
    /// anything else.
    pub(super) fn resolved(&self, values: &[String], wanted: &dyn Fn(&[String]) -> bool) -> Self {
        self.resolved_at(values, wanted, &mut Vec::new())
    }

    fn resolved_at(&self, values: &[String], wanted: &dyn Fn(&[String]) -> bool, path: &mut Vec<String>) -> Self {
        match self {
            Self::Text { text, tag } | Self::Plain { text, tag } if wanted(path) && holds_one(text) => {
                Self::Text { text: replaced(text, values), tag: tag.clone() }
            }
            Self::Text { .. } | Self::Plain { .. } => self.clone(),
            Self::List(tag, items) => {
                let items = items.iter().enumerate().map(|(index, item)| {
                    path.push(index.to_string());
                    let item = item.resolved_at(values, wanted, path);
                    path.pop();
                    item
                });
                Self::List(tag.clone(), items.collect())
            }
            Self::Map(tag, members) => {
                let members = members.iter().map(|(key, member)| {
                    path.push(key.name());
                    let member = member.resolved_at(values, wanted, path);
                    path.pop();
                    (key.clone(), member)
                });
                Self::Map(tag.clone(), members.collect())
            }
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Text { text, .. } | Self::Plain { text, .. } => text.clone(),
            Self::List(..) | Self::Map(..) => "(a container)".to_owned(),
        }
    }

    /// The same, whichever way its text is written that no schema takes for anything else.
    pub(super) fn settled(self) -> Self {
        match self {
            // An alias that is written out is quoted; what it repeats was text to every schema.
            Self::Plain { text, tag } if text.contains("$<") => Self::Text { text, tag },
            Self::List(tag, items) => Self::List(tag, items.into_iter().map(Self::settled).collect()),
            Self::Map(tag, members) => {
                Self::Map(tag, members.into_iter().map(|(key, member)| (key.settled(), member.settled())).collect())
            }
            other => other,
        }
    }
}

fn holds_one(text: &str) -> bool {
    IDS.iter().any(|id| text.contains(&format!("$<{id}>")))
}
