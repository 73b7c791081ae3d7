//! Replays the corpora of the fuzz targets: what the fuzzer starts from, and whatever it once found.

use std::fs;
use std::path::Path;

use crate::checks;

/// Calls `check` with every file of one corpus.
fn replay(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&directory).unwrap() {
        check(&fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 10, "the corpus of {target} has {count} files");
}

#[test]
fn the_corpus_of_review_bodies_holds() {
    replay("review_body", checks::review_body);
}

#[test]
fn the_corpus_of_annotations_holds() {
    replay("annotations", checks::annotations);
}
