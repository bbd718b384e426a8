//! The corpus of the fuzz targets, through the same functions: what was found once stays found, and the
//! corpus never rots, also where nobody fuzzes.

#[path = "../fuzz/properties.rs"]
mod properties;

use std::fs;
use std::path::{Path, PathBuf};

fn fixtures(directory: &str) -> Vec<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(directory);
    let entries = fs::read_dir(&path).expect("list the fixtures");
    let mut found: Vec<_> = entries.map(|entry| entry.expect("list").path()).collect();
    found.sort();
    assert!(!found.is_empty(), "{directory} has files");
    found
}

/// Every file of the target's corpus, and what else is of its kind.
fn check(target: &str, more: &[&str]) {
    let own = format!("fuzz/{target}");
    for directory in more.iter().copied().chain([own.as_str()]) {
        for file in fixtures(directory) {
            let data = fs::read(&file).expect("read a fixture");
            let checked = std::panic::catch_unwind(|| properties::check(target, &data));
            assert!(checked.is_ok(), "{target}: {}", file.display());
        }
    }
}

#[test]
fn the_corpus_of_webhooks_keeps_its_properties() {
    check("webhook", &["dingtalk"]);
}

#[test]
fn the_corpus_of_stream_frames_keeps_its_properties() {
    check("stream", &["dingtalk"]);
}

#[test]
fn the_corpus_of_robot_json_keeps_its_properties() {
    check("robot", &["dingtalk"]);
}

#[test]
fn the_corpus_of_wire_records_keeps_its_properties() {
    check("wire", &[]);
}

#[test]
fn the_corpus_of_event_streams_keeps_its_properties() {
    check("sse", &[]);
}

#[test]
fn every_target_has_a_corpus_and_a_program() {
    let names = |directory: &str| -> Vec<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(directory);
        let entries = fs::read_dir(path).expect("list");
        let stem = |path: PathBuf| path.file_stem().map(|name| name.to_string_lossy().into_owned());
        let mut names: Vec<_> =
            entries.filter_map(|entry| stem(entry.expect("list").path())).collect();
        names.sort();
        names
    };
    let targets = ["robot", "sse", "stream", "webhook", "wire"];
    assert_eq!(names("fixtures/fuzz"), targets);
    assert_eq!(names("fuzz/targets"), targets);
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/Cargo.toml");
    let manifest = fs::read_to_string(manifest).expect("read the manifest");
    for target in targets {
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target} is in no program");
    }
}
