//! What `ops/dev test` tells the tests: where the servers are.
//!
//! The only reader of the environment among the tests. A missing setting fails the test that needs it
//! with a text that says what to do.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The nats-server binary: `DT_NATS_SERVER`, else the project's own installation.
pub(crate) fn nats_server() -> PathBuf {
    let path = setting("DT_NATS_SERVER").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.tools/bin/nats-server")),
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "no nats-server at {}: run the tests with `ops/dev test`, or set DT_NATS_SERVER",
        path.display()
    );
    path
}

/// NATS' own command: `DT_TEST_NATS_CLI`, else the project's own, which is built where Go is. A path where
/// nothing is does without it.
pub(crate) fn nats_cli() -> PathBuf {
    setting("DT_TEST_NATS_CLI").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.tools/bin/nats")),
        PathBuf::from,
    )
}

/// A Chromium that runs: `DT_TEST_CHROMIUM`, else the system's. What only tells how to install one is none.
pub(crate) fn chromium() -> Option<PathBuf> {
    let given = setting("DT_TEST_CHROMIUM");
    let known = given
        .as_deref()
        .map_or_else(|| vec!["chromium", "chromium-browser", "google-chrome"], |given| vec![given]);
    let runs = |program: &&str| {
        let asked = Command::new(program).arg("--version").stderr(Stdio::null()).output();
        asked.is_ok_and(|answer| answer.status.success() && answer.stdout.contains(&b'.'))
    };
    known.into_iter().find(runs).map(PathBuf::from)
}

/// The address of a PostgreSQL server on which tests may create databases.
pub(crate) fn postgres() -> String {
    setting("DT_TEST_POSTGRES_URL").expect(
        "DT_TEST_POSTGRES_URL is not set: run the tests with `ops/dev test`, which starts a private \
         PostgreSQL, or name a server on which tests may create databases",
    )
}

/// The library that gives a process another time, where it is installed.
pub(crate) fn faketime() -> PathBuf {
    let libraries = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let found = libraries
        .map(|entry| entry.path().join("faketime/libfaketime.so.1"))
        .find(|path| path.is_file());
    found.expect("libfaketime is installed: run the tests with `ops/dev test`")
}

/// The binary of the release after this one, built with the feature `wire-next`.
pub(crate) fn next_release() -> Option<PathBuf> {
    let path = PathBuf::from(setting("DT_TEST_NEXT")?);
    assert!(path.is_file(), "DT_TEST_NEXT names no file: {}", path.display());
    Some(path)
}

/// The filter of what tests print, shown where a test fails.
pub(crate) fn log_filter() -> String {
    setting("DT_TEST_LOG").unwrap_or_else(|| "dingtalk_trigger=debug,warn".to_owned())
}

#[expect(clippy::disallowed_methods, reason = "the tests' one reader of the environment")]
pub(crate) fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Says that a test could not run, also where its output is not shown.
pub(crate) fn skipped(why: &str) {
    let line = format!("\nSKIPPED: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("write to stderr");
}
