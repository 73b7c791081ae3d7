//! Searching for resources: whole words of ids and annotations, stemmed a little, as the database's text search does.

use super::id;
use super::state::Resource;

/// Words that the database leaves out.
const SILENT: [&str; 12] = ["a", "an", "and", "for", "in", "is", "it", "of", "on", "or", "the", "to"];

/// The words of a text, as they are compared.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split(|letter: char| !letter.is_alphanumeric())
        .map(str::to_lowercase)
        .filter(|word| !word.is_empty() && !SILENT.contains(&word.as_str()))
        .map(|word| stem(&word))
        .collect()
}

/// Whether a resource has all of the words. A search for silent words alone finds nothing.
pub(super) fn matches(one: &Resource, wanted: &[String]) -> bool {
    let mut have = words(id::identifier(&one.id));
    have.extend(words(id::kind(&one.id)));
    for (name, (value, _)) in &one.annotations {
        have.extend(words(name));
        have.extend(words(value));
    }
    !wanted.is_empty() && wanted.iter().all(|word| have.contains(word))
}

fn stem(word: &str) -> String {
    let short = |ending: &str| word.strip_suffix(ending).filter(|rest| rest.len() > 2);
    let cut = short("ing").or_else(|| short("ed")).or_else(|| short("es")).or_else(|| short("s")).unwrap_or(word);
    cut.strip_suffix('e').unwrap_or(cut).to_owned()
}
