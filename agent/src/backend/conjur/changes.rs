//! What others have written between the value that we read and the one that we wrote, put together again.

use crate::secret::SecretValue;
use crate::slots::MapSlot;

/// The slot as it would be had everybody written one after the other who wrote `versions`, of which the first is what
/// there was before. Of a slot that is no map, or holds something else, it is what the last of them wrote.
///
/// A version may have been worked out from any of those before it, also from one of `older`, and nothing tells which:
/// who has an entry as it was earlier, or does not have it as others had not earlier, more likely did not know of the
/// change than took it back.
pub(super) fn together(older: &[SecretValue], versions: &[SecretValue]) -> Option<SecretValue> {
    let last = versions.last()?;
    let read = |value: &SecretValue| MapSlot::read(value.expose()).ok();
    let mut maps: Vec<MapSlot> = older.iter().filter_map(read).collect();
    let older = maps.len();
    maps.extend(versions.iter().map_while(read));
    let all_are = maps.len() == older + versions.len();
    Some(if all_are { MapSlot::together(&maps, older).to_value() } else { last.duplicate() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(texts: &[&str]) -> Vec<SecretValue> {
        texts.iter().map(|text| SecretValue::new((*text).to_owned())).collect()
    }

    fn put_together(older: &[&str], versions: &[&str]) -> String {
        together(&values(older), &values(versions)).unwrap().expose().to_owned()
    }

    #[test]
    fn nothing_that_anybody_added_is_lost() {
        let base = r#"{"a":"1","b":"2"}"#;
        assert_eq!(put_together(&[], &[base]), base);
        assert_eq!(put_together(&[], &[base, r#"{"a":"1","b":"2","c":"3"}"#]), r#"{"a":"1","b":"2","c":"3"}"#);
        let unaware = [base, r#"{"a":"1","b":"2","c":"3"}"#, r#"{"a":"1","b":"2","d":"4"}"#];
        assert_eq!(put_together(&[], &unaware), r#"{"a":"1","b":"2","c":"3","d":"4"}"#);
        assert_eq!(put_together(&[], &[base, r#"{"b":"2"}"#, r#"{"a":"1","b":"5"}"#]), r#"{"b":"5"}"#, "one removed a");
    }

    #[test]
    fn who_did_not_know_of_the_version_that_we_began_with_takes_nothing_from_it() {
        let (older, base) = (r#"{"a":"1"}"#, r#"{"a":"2","b":"2"}"#);
        assert_eq!(put_together(&[older], &[base, r#"{"a":"1","c":"3"}"#]), r#"{"a":"2","b":"2","c":"3"}"#);
        assert_eq!(
            put_together(&[older], &[base, r#"{"c":"3"}"#]),
            r#"{"b":"2","c":"3"}"#,
            "nobody had been without a"
        );
        assert_eq!(put_together(&[base], &[older, older]), older, "b was over before");
    }

    #[test]
    fn what_is_no_map_is_what_was_written_last() {
        assert_eq!(put_together(&[], &["old", "one", "two"]), "two");
        assert_eq!(put_together(&["{}"], &[r#"{"a":"1"}"#, "text"]), "text");
        assert_eq!(put_together(&["text"], &[r#"{"a":"1"}"#, r#"{"a":"2"}"#]), r#"{"a":"2"}"#);
        assert!(together(&[], &[]).is_none());
    }
}
