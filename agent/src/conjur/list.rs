//! What is inside a branch: the names out of one page of a list of resources.

use super::call::ConjurError;

/// One page of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// How many resources were on it, inside the branch or not.
    pub found: usize,
    /// The names of those inside, without the branch.
    pub names: Vec<String>,
}

#[derive(serde::Deserialize)]
struct Resource {
    id: String,
}

/// Reads the body of an answer. The search is one for words: it finds more than what is inside, and nothing less.
///
/// # Errors
/// [`ConjurError::Misbehaved`].
pub fn parse(branch: &str, body: &[u8]) -> Result<Page, ConjurError> {
    let list: Vec<Resource> = serde_json::from_slice(body).map_err(|_| ConjurError::Misbehaved)?;
    let inside = list.iter().filter_map(|found| {
        let path = found.id.splitn(3, ':').nth(2)?;
        path.strip_prefix(branch)?.strip_prefix('/').map(str::to_owned)
    });
    Ok(Page { found: list.len(), names: inside.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beside_a_branch_is_not_inside_it() {
        let body = br#"[{"id":"main:variable:a/b/c"},{"id":"main:policy:a/b"},{"id":"main:group:a/bc/d"},
            {"id":"main:host:x/a/b/c"},{"id":"main:variable:a/b/c:d/e"}]"#;
        let page = parse("a/b", body).unwrap();
        assert_eq!((page.found, page.names), (5, vec!["c".to_owned(), "c:d/e".to_owned()]));
        assert_eq!(parse("a/b", b"[]"), Ok(Page { found: 0, names: Vec::new() }));
        for wrong in ["", "{}", "null", "[1]", r#"[{"id":null}]"#, "<html>"] {
            assert_eq!(parse("a/b", wrong.as_bytes()), Err(ConjurError::Misbehaved), "{wrong}");
        }
    }
}
