//! Replays the corpora of the fuzz targets: what the fuzzer starts from, and whatever it once found.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed fixture is a failed test")]

#[path = "../fuzz/checks.rs"]
mod checks;

use std::fs;
use std::path::Path;

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
fn the_corpus_of_secret_ids_holds() {
    replay("secret_id", checks::secret_id);
}

#[test]
fn the_corpus_of_placeholders_holds() {
    replay("placeholder_scan", checks::placeholder_scan);
}

#[test]
fn the_corpus_of_bodies_holds() {
    replay("json_body", checks::json_body);
}

#[test]
fn the_corpus_of_http_bytes_holds() {
    replay("http_bytes", checks::http_bytes);
}

#[test]
fn the_corpus_of_configurations_holds() {
    replay("config_yaml", checks::config_yaml);
}

#[test]
fn the_corpus_of_grants_holds() {
    replay("grants_yaml", checks::grants_yaml);
}

#[test]
fn the_corpus_of_map_slots_holds() {
    replay("map_slot", checks::map_slot);
}

#[test]
fn the_corpus_of_secrets_and_watch_events_holds() {
    replay("kube_object", checks::kube_object);
}

#[test]
fn the_corpus_of_conjurs_tokens_holds() {
    replay("conjur_login", checks::conjur::login);
}

#[test]
fn the_corpus_of_conjurs_batches_holds() {
    replay("conjur_batch", checks::conjur::batch);
}

#[test]
fn the_corpus_of_conjurs_metadata_holds() {
    replay("conjur_metadata", checks::conjur::metadata);
}

#[test]
fn the_corpus_of_conjurs_lists_holds() {
    replay("conjur_resources", checks::conjur::resources);
}

#[test]
fn the_corpus_of_policy_texts_holds() {
    replay("conjur_policy", checks::conjur::policy_text);
}

#[test]
fn the_corpus_of_json_documents_holds() {
    replay("resolve_json", checks::documents::json);
}

#[test]
fn the_corpus_of_yaml_documents_holds() {
    replay("resolve_yaml", checks::documents::yaml);
}

#[test]
fn the_corpus_of_pointers_holds() {
    replay("json_pointer", checks::documents::pointer);
}

#[test]
fn the_corpus_of_keys_holds() {
    replay("obfuscate_key", checks::documents::key);
}

#[test]
fn the_corpus_of_templates_of_files_holds() {
    replay("render_template", checks::rendered::template);
}

#[test]
fn the_corpus_of_sources_of_files_holds() {
    replay("render_source", checks::rendered::source);
}
