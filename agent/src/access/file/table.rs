//! The text of a grants file: every problem reported in one reading, and never more allowed than what was written.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::access::{Decision, GrantView, Right, Subject, Target};
use crate::id::ScopePattern;

/// The grants of all subjects.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct GrantTable {
    grants: BTreeMap<Subject, Grant>,
}

#[derive(Debug, PartialEq, Eq)]
struct Grant {
    rights: Vec<Right>,
    scopes: Vec<ScopePattern>,
}

/// What is wrong with a grants file. Names places and keys of ours, never its text.
#[derive(Debug, PartialEq, Eq)]
pub struct GrantsProblems(Vec<String>);

impl fmt::Display for GrantsProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "  {problem}")?;
        }
        Ok(())
    }
}

impl GrantTable {
    /// Reads `grants: [{subject, rights, scopes}…]`.
    ///
    /// # Errors
    /// [`GrantsProblems`]: all of them.
    pub fn parse(text: &str) -> Result<Self, GrantsProblems> {
        let document: Value = serde_saphyr::from_str(text).map_err(|error| {
            // The parser's own message quotes the text.
            let place = error.location().map_or_else(String::new, |at| format!(" at line {}", at.line()));
            GrantsProblems(vec![format!("no YAML, or a key stands twice{place}")])
        })?;
        let mut reader = Reader::default();
        reader.document(&document);
        if reader.problems.is_empty() { Ok(reader.table) } else { Err(GrantsProblems(reader.problems)) }
    }

    /// How many subjects have a grant.
    #[must_use]
    pub fn len(&self) -> usize {
        self.grants.len()
    }

    /// Whether nobody may do anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }

    /// Each subject with its rights and scopes.
    pub fn entries(&self) -> impl Iterator<Item = (&Subject, &[Right], &[ScopePattern])> {
        self.grants.iter().map(|(subject, grant)| (subject, grant.rights.as_slice(), grant.scopes.as_slice()))
    }

    /// Whether `subject` holds `right` for `target`.
    #[must_use]
    pub fn decide(&self, subject: &Subject, right: Right, target: Target<'_>) -> Decision {
        let covered = self.grants.get(subject).is_some_and(|grant| {
            grant.rights.contains(&right)
                && grant.scopes.iter().any(|scope| scope.covers(target.env, target.team, target.app))
        });
        if covered { Decision::Allow } else { Decision::Deny }
    }

    /// The grants of one subject.
    #[must_use]
    pub fn view(&self, subject: &Subject) -> Vec<GrantView> {
        let view = |grant: &Grant| GrantView {
            rights: grant.rights.clone(),
            scopes: grant.scopes.iter().map(ToString::to_string).collect(),
        };
        self.grants.get(subject).map(view).into_iter().collect()
    }
}

#[derive(Default)]
struct Reader {
    table: GrantTable,
    problems: Vec<String>,
}

impl Reader {
    fn problem(&mut self, place: &str, what: &str) {
        self.problems.push(format!("{place}: {what}"));
    }

    fn document(&mut self, document: &Value) {
        let Some(members) = document.as_object() else {
            return self
                .problem("grants", "the file holds one key, `grants`, with a list; write `grants: []` for none");
        };
        if members.keys().any(|key| key != "grants") {
            self.problem("grants", "there is a key other than `grants`");
        }
        match members.get("grants") {
            Some(Value::Array(list)) => {
                for (index, entry) in list.iter().enumerate() {
                    self.entry(&format!("grants[{index}]"), entry);
                }
            }
            Some(_) => self.problem("grants", "must be a list; write `grants: []` for none"),
            None => self.problem("grants", "the key is missing; write `grants: []` for none"),
        }
    }

    fn entry(&mut self, place: &str, entry: &Value) {
        let Some(members) = entry.as_object() else {
            return self.problem(place, "must be a map of subject, rights and scopes");
        };
        if members.keys().any(|key| !matches!(key.as_str(), "subject" | "rights" | "scopes")) {
            self.problem(place, "there is a key other than `subject`, `rights` and `scopes`");
        }
        let subject = members.get("subject").and_then(Value::as_str).and_then(Subject::parse);
        if subject.is_none() {
            self.problem(
                &format!("{place}.subject"),
                "must be `uid:N` (not 65534, which stands for every unmapped uid) or `system:serviceaccount:NAMESPACE:NAME`",
            );
        }
        let rights = self.list(
            place,
            "rights",
            members.get("rights"),
            right,
            "is no right; there are secrets_read, secrets_write and onboarding_write",
        );
        let scopes = self.list(
            place,
            "scopes",
            members.get("scopes"),
            |text| ScopePattern::parse(text).ok(),
            "is no scope; there are `*`, `env`, `env/team` and `env/team/app`",
        );
        let Some(subject) = subject else { return };
        if self.table.grants.insert(subject, Grant { rights, scopes }).is_some() {
            self.problem(&format!("{place}.subject"), "stands twice; put all its grants into one entry");
        }
    }

    fn list<T>(
        &mut self,
        place: &str,
        key: &str,
        value: Option<&Value>,
        parse: impl Fn(&str) -> Option<T>,
        wrong: &str,
    ) -> Vec<T> {
        let place = format!("{place}.{key}");
        let entries = match value {
            Some(Value::Array(entries)) if !entries.is_empty() => entries,
            _ => {
                self.problem(&place, "must be a list with at least one entry");
                return Vec::new();
            }
        };
        let mut parsed = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            match entry.as_str().and_then(&parse) {
                Some(item) => parsed.push(item),
                None => self.problem(&format!("{place}[{index}]"), wrong),
            }
        }
        parsed
    }
}

fn right(text: &str) -> Option<Right> {
    Right::ALL.into_iter().find(|right| right.as_str() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> String {
        GrantTable::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn every_problem_is_reported_in_one_reading() {
        let text = "grants:\n\
            - {subject: root, rights: [secrets_read], scopes: ['*']}\n\
            - {subject: 'uid:1', rights: [secret_read, secrets_write], scopes: []}\n\
            - {subject: 'uid:2', rights: [secrets_read], scopes: [Poc], comment: x}\n\
            - {subject: 'uid:2', rights: [secrets_read], scopes: [poc]}\n";
        insta::assert_snapshot!(problems(text));
    }

    #[test]
    fn what_does_not_say_whom_it_allows_what_is_refused() {
        for text in [
            "",
            "grants:",
            "grants: {}",
            "[]",
            "grants: [{}]",
            "grants: [1]",
            "grant: []",
            "a: b: c",
            "grants: []\ngrants: []",
        ] {
            assert!(GrantTable::parse(text).is_err(), "{text}");
        }
        assert!(GrantTable::parse("grants: []").unwrap().is_empty());
    }

    #[test]
    fn nothing_of_the_text_is_repeated() {
        for text in [
            "grants: [s3cr3t]",
            "s3cr3t: 1",
            "grants: [{s3cr3t: 1}]",
            "grants: [{subject: s3cr3t, rights: [s3cr3t], scopes: [S3cr3t s3cr3t]}]",
            "grants: [s3cr3t: {",
            "s3cr3t: 1\ns3cr3t: 2",
        ] {
            assert!(!problems(text).contains("s3cr3t"), "{}", problems(text));
        }
    }

    #[test]
    fn a_pattern_covers_its_scope_and_what_is_below_and_nothing_beside() {
        let table =
            GrantTable::parse("grants: [{subject: 'uid:1', rights: [secrets_read], scopes: [poc/eni--hyperion]}]")
                .unwrap();
        let decide = |uid, right, env, team, app| {
            table.decide(&Subject::from_uid(uid).unwrap(), right, Target { env, team, app })
        };
        assert_eq!(decide(1, Right::SecretsRead, "poc", "eni--hyperion", ""), Decision::Allow);
        assert_eq!(decide(1, Right::SecretsRead, "poc", "eni--hyperion", "a"), Decision::Allow);
        assert_eq!(decide(1, Right::SecretsRead, "poc", "", ""), Decision::Deny);
        assert_eq!(decide(1, Right::SecretsRead, "poc", "eni", ""), Decision::Deny);
        assert_eq!(decide(1, Right::SecretsRead, "poc2", "eni--hyperion", ""), Decision::Deny);
        assert_eq!(decide(1, Right::SecretsWrite, "poc", "eni--hyperion", ""), Decision::Deny);
        assert_eq!(decide(2, Right::SecretsRead, "poc", "eni--hyperion", ""), Decision::Deny);
    }
}
