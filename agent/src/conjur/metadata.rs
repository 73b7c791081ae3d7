//! What Conjur tells about a variable without its value: its versions, and whose roles may do what with it.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use super::call::ConjurError;

/// One variable, as everybody sees it who has any privilege on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The versions that are kept, in ascending order; none where it holds no value.
    versions: Vec<u64>,
    created: String,
    permissions: Vec<Permission>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Deserialize)]
struct Permission {
    privilege: String,
    role: String,
}

#[derive(serde::Deserialize)]
struct Resource {
    created_at: String,
    #[serde(default)]
    permissions: Vec<Permission>,
    secrets: Vec<Version>,
}

#[derive(serde::Deserialize)]
struct Version {
    version: u64,
}

impl Metadata {
    /// Reads the body of an answer.
    ///
    /// # Errors
    /// [`ConjurError::Misbehaved`].
    pub fn parse(body: &[u8]) -> Result<Self, ConjurError> {
        let resource: Resource = serde_json::from_slice(body).map_err(|_| ConjurError::Misbehaved)?;
        let mut versions: Vec<u64> = resource.secrets.into_iter().map(|version| version.version).collect();
        versions.sort_unstable();
        let mut permissions = resource.permissions;
        permissions.sort_unstable_by(|one, two| (&one.role, &one.privilege).cmp(&(&two.role, &two.privilege)));
        Ok(Self { versions, created: resource.created_at, permissions })
    }

    /// The latest version; 0 where there is no value.
    #[must_use]
    pub fn latest(&self) -> u64 {
        self.versions.last().copied().unwrap_or_default()
    }

    /// Something that changes with the value, with who may see it, and when the variable is made anew: then its versions
    /// begin again.
    #[must_use]
    pub fn mark(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.latest(), &self.created, &self.permissions).hash(&mut hasher);
        hasher.finish()
    }

    /// Whether it is the variable that `other` tells of, and not one of the same name that was made later.
    #[must_use]
    pub fn is_same_variable(&self, other: &Self) -> bool {
        self.created == other.created
    }

    /// Whether `role`, a full id, holds all of `privileges` itself.
    #[must_use]
    pub fn permits(&self, role: &str, privileges: &[&str]) -> bool {
        let holds = |privilege: &&str| {
            self.permissions.iter().any(|permission| permission.role == role && permission.privilege == **privilege)
        };
        privileges.iter().all(holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_a_variable_without_any_has_no_value() {
        let metadata = |secrets: &str| {
            let body = format!(
                r#"{{"created_at":"2026-11-23T20:40:37.499+00:00","id":"main:variable:x","owner":"main:policy:y",
                    "permissions":[{{"privilege":"execute","role":"main:group:r","policy":"p"}}],"secrets":{secrets}}}"#
            );
            Metadata::parse(body.as_bytes())
        };
        let two = metadata(r#"[{"version":1,"expires_at":null},{"version":2,"expires_at":null}]"#).unwrap();
        assert_eq!(two.latest(), 2);
        assert!(two.permits("main:group:r", &["execute"]) && !two.permits("main:group:r", &["execute", "update"]));
        assert_eq!(metadata("[]").unwrap().latest(), 0);
        assert_ne!(metadata("[]").unwrap().mark(), two.mark());
        assert!(metadata("{}").is_err() && metadata(r#"[{"version":-1}]"#).is_err());
    }
}
