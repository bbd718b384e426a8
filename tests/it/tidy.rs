//! Reads the source as text and holds what the compiler does not: layers, who may use what, the shape
//! of files.
//!
//! Text can fool it; its purpose is that nobody leaves the plan unnoticed. Exceptions stand in one list,
//! each with its reason, and one that is no longer needed fails the test too. The rules are in `rules`,
//! where each is shown to catch a planted violation.

mod rules;

use std::fs;
use std::path::{Path, PathBuf};

use crate::tidy::rules::{EXCEPTIONS, Violation, check_shape, check_source};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn the_source_keeps_to_its_layers_and_shapes() {
    let mut violations = Vec::new();
    for (path, text) in files("src") {
        violations.extend(check_source(&path, &text));
        violations.extend(check_shape(&path, &text));
    }
    for (path, text) in files("tests") {
        violations.extend(check_shape(&path, &text));
    }
    let is_excepted =
        |violation: &Violation| EXCEPTIONS.iter().any(|exception| exception.covers(violation));
    let mut lines: Vec<_> =
        violations.iter().filter(|v| !is_excepted(v)).map(ToString::to_string).collect();
    for exception in EXCEPTIONS {
        if !violations.iter().any(|violation| exception.covers(violation)) {
            lines.push(format!("the exception of {} needs no more to be", exception.place));
        }
    }
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

/// The Rust files under `directory`, with paths from the project's root.
fn files(directory: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(&Path::new(ROOT).join(directory), &mut found);
    found.sort();
    assert!(!found.is_empty(), "{directory} has Rust files");
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("read a source file");
            let path = path.strip_prefix(ROOT).expect("a file lies under the root");
            (path.display().to_string(), text)
        })
        .collect()
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("list a source directory") {
        let path = entry.expect("list a source directory").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}
