//! The rules of the tidy test, and the exceptions from them.
//!
//! A rule takes a file's path and text and answers with violations. It looks at code alone: comments may
//! speak of anything.

use std::fmt;

const LINES_MAX: usize = 400;
/// What it is for, what it guarantees, what it leaves to others; whether it says so is a matter for review.
const DOC_LINES_MIN: usize = 3;
/// A test's own names say the rest.
const TEST_DOC_LINES_MIN: usize = 1;

/// A module that may use a rule's subject although others must not.
pub(crate) struct Exception {
    /// A file, or a directory with its slash.
    pub(crate) place: &'static str,
    pub(crate) subject: &'static str,
    #[expect(dead_code, reason = "read by people")]
    because: &'static str,
}

/// Few, and each for a reason that the layers themselves give.
pub(crate) const EXCEPTIONS: &[Exception] = &[
    Exception {
        place: "src/sim/",
        subject: "reqwest",
        because: "the simulated cloud calls our webhook as DingTalk does, by a client of its own",
    },
    Exception {
        place: "src/commands/up.rs",
        subject: "std::env",
        because: "the broker's binary may lie beside this executable",
    },
    Exception {
        place: "src/bench/",
        subject: "async_nats",
        because: "a floor is measured at the client itself",
    },
    Exception {
        place: "src/bench/",
        subject: "std::env",
        because: "a benchmark has a temporary directory, and measures this executable as a process",
    },
];

impl Exception {
    pub(crate) fn covers(&self, violation: &Violation) -> bool {
        let is_there = match self.place.strip_suffix('/') {
            Some(module) => {
                violation.path.starts_with(self.place) || violation.path == format!("{module}.rs")
            }
            None => violation.path == self.place,
        };
        is_there && violation.subject == self.subject
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) path: String,
    /// From 1; 0 where the whole file is meant.
    pub(crate) line: usize,
    pub(crate) subject: String,
    pub(crate) rule: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, subject, rule } = self;
        write!(f, "{path}:{line}: {subject}: {rule}")
    }
}

/// A layer, and which others it may import.
const LAYERS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("protocol", &["domain"]),
    ("context", &["domain", "telemetry"]),
    ("telemetry", &["domain", "context"]),
    ("io", BELOW_IO),
    ("edge", BELOW_ROLES),
    ("reply", BELOW_ROLES),
    ("worker", BELOW_ROLES),
    ("console", BELOW_ROLES),
    ("ops", BELOW_ROLES),
    ("sim", BELOW_ROLES),
];
/// What puts the roles together, or measures them so; nothing below may know of it.
const TOP: &[&str] = &["commands", "bench", "config"];
const BELOW_IO: &[&str] = &["domain", "protocol", "context", "telemetry"];
const BELOW_ROLES: &[&str] = &["domain", "protocol", "context", "telemetry", "io"];

/// What the edge may know of the database: who an integration is, where its messages go, and what
/// became of it.
const EDGE_STORES: &[&str] = &["integrations", "triggers", "events"];

/// A word, the modules it may stand in, and why.
const WORDS: &[(&str, &[&str], &str)] = &[
    ("async_nats", &["io"], "only io speaks to the broker"),
    ("sqlx", &["io"], "only io speaks to the database"),
    ("reqwest", &["io", "edge"], "only io calls others, and edge for Stream connections"),
    ("tungstenite", &["io", "edge", "sim"], "only edge and sim speak WebSocket"),
    ("std::env", &["config"], "only config reads the environment"),
    (".bytes().await", &["sim"], "answers are read through io::egress::read, which has a limit"),
    (".text().await", &["sim"], "answers are read through io::egress::read, which has a limit"),
    (".json().await", &["sim"], "answers are read through io::egress::read, which has a limit"),
    ("pub use ", &[], "one name for one thing: no re-exports"),
    ("#[ignore", &[], "a test that does not run is no test"),
    ("#[should_panic", &[], "assert what happens, not that something does"),
];

/// The roles that strangers reach, and what would read a body before they look at its head.
const PUBLIC: &[&str] = &["edge", "reply"];
const EXTRACTORS: &[&str] = &["Json<", "Form<", "Multipart", "body: Bytes", "BytesRejection"];

/// A word that the core must not know, and why.
const OUTSIDE_DOMAIN: &[(&str, &str)] = &[
    ("serde", "the core has no wire types"),
    ("tokio", "the core has no async"),
    ("async fn", "the core has no async"),
    ("tracing", "the core logs nothing"),
    ("HashMap", "the core knows no random order"),
    ("rand::", "the core derives what it needs"),
];

const DUMPING_GROUNDS: &[&str] = &["util", "utils", "common", "prelude", "helpers", "misc"];

pub(crate) fn check_source(path: &str, text: &str) -> Vec<Violation> {
    let layer = layer_of(path);
    let mut found = Vec::new();
    for (line, code) in code_lines(text) {
        let mut report = |subject: &str, rule| {
            found.push(Violation {
                path: path.to_owned(),
                line,
                subject: subject.to_owned(),
                rule,
            });
        };
        for import in imports(code) {
            if !may_import(layer, import) {
                report(&format!("crate::{import}"), "imports go down only, never to another role");
            }
        }
        for store in
            code.match_indices("io::store::").map(|(at, found)| head(code, at + found.len()))
        {
            if layer == "edge" && !EDGE_STORES.contains(&store) {
                report(store, "edge has no table but those of integrations and triggers");
            }
        }
        for (word, modules, why) in WORDS {
            if code.contains(word) && !modules.contains(&layer) {
                report(word, why);
            }
        }
        for word in EXTRACTORS {
            if PUBLIC.contains(&layer) && code.contains(word) {
                report(word, "a public route reads a body only once its head is proved");
            }
        }
        for (word, why) in OUTSIDE_DOMAIN {
            if layer == "domain" && code.contains(word) {
                report(word, why);
            }
        }
    }
    found
}

pub(crate) fn check_shape(path: &str, text: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut report = |subject: &str, rule| {
        found.push(Violation { path: path.to_owned(), line: 0, subject: subject.to_owned(), rule });
    };
    let docs = text.lines().take_while(|line| line.starts_with("//!")).count();
    let is_source = path.starts_with("src/");
    if docs < if is_source { DOC_LINES_MIN } else { TEST_DOC_LINES_MIN } {
        report(
            "docs",
            "a file opens with what it is for, what it guarantees, what it leaves to others",
        );
    }
    if text.lines().count() > LINES_MAX {
        report("length", "a file has at most 400 lines: give a part of its job a file of its own");
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    if name == "mod.rs" {
        report(name, "a module is turn.rs beside turn/");
    }
    let is_dump = |part: &&str| DUMPING_GROUNDS.contains(&part.trim_end_matches(".rs"));
    if let Some(part) = path.split('/').find(is_dump) {
        report(part, "a file is named by a noun of the field");
    }
    for mark in [concat!("TO", "DO"), concat!("FIX", "ME")] {
        if text.contains(mark) {
            report(mark, "do it, or write an issue");
        }
    }
    found
}

/// `src/io/store/x.rs` and `src/io.rs` are of the layer `io`.
fn layer_of(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split(['/', '.']).next().unwrap_or(inside)
}

fn may_import(layer: &str, import: &str) -> bool {
    let Some((_, below)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
        // The top, main and lib see everything.
        return true;
    };
    let is_module = TOP.contains(&import) || LAYERS.iter().any(|(name, _)| *name == import);
    !is_module || import == layer || below.contains(&import)
}

/// The top-level modules that a line of code names, alone or in braces.
fn imports(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = code.get(at + prefix.len()..).unwrap_or_default();
        match rest.strip_prefix('{') {
            None => found.push(head(code, at + prefix.len())),
            Some(group) => {
                found.extend(group.split([',', '}']).map(|part| head(part.trim_start(), 0)));
            }
        }
    }
    found
}

/// The identifier that begins at `from`.
fn head(code: &str, from: usize) -> &str {
    let rest = code.get(from..).unwrap_or_default();
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or(rest)
}

fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[test]
fn each_rule_of_the_source_catches_a_planted_violation() {
    let cases = [
        // layers
        ("src/domain/turn.rs", "use crate::protocol::robot;", "crate::protocol"),
        ("src/domain.rs", "let x = crate::io::nats::connect();", "crate::io"),
        ("src/protocol/robot.rs", "use crate::{domain::id, io::log};", "crate::io"),
        ("src/context.rs", "use crate::io::nats;", "crate::io"),
        ("src/telemetry/log.rs", "use crate::worker::run;", "crate::worker"),
        ("src/io/log.rs", "use crate::edge::webhook;", "crate::edge"),
        ("src/io/log.rs", "use crate::config;", "crate::config"),
        ("src/edge.rs", "use crate::commands::up;", "crate::commands"),
        ("src/worker/due.rs", "use crate::edge::webhook;", "crate::edge"),
        ("src/sim.rs", "use crate::bench::Load;", "crate::bench"),
        ("src/edge/webhook.rs", "use crate::io::store::runtimes::Runtimes;", "runtimes"),
        // who may use what
        ("src/worker/due.rs", "use async_nats::jetstream;", "async_nats"),
        ("src/edge.rs", "sqlx::query(\"SELECT 1\")", "sqlx"),
        ("src/console/probe.rs", "reqwest::get(url)", "reqwest"),
        ("src/worker.rs", "tokio_tungstenite::connect_async(url)", "tungstenite"),
        ("src/main.rs", "std::env::var(\"X\")", "std::env"),
        ("src/io/probe.rs", "response.bytes().await", ".bytes().await"),
        ("src/ops/client.rs", "answer.text().await?", ".text().await"),
        ("src/io/nats.rs", "pub use async_nats::Client;", "pub use "),
        ("src/io/nats.rs", "    #[ignore = \"slow\"]", "#[ignore"),
        ("src/io/nats.rs", "    #[should_panic]", "#[should_panic"),
        // public routes
        ("src/reply.rs", "async fn answer(body: Bytes) {", "body: Bytes"),
        ("src/edge/webhook.rs", "async fn post(Json(turn): Json<Turn>) {", "Json<"),
        // the core
        ("src/domain/id.rs", "use serde::Serialize;", "serde"),
        ("src/domain/id.rs", "tokio::time::sleep(wait)", "tokio"),
        ("src/domain/id.rs", "pub async fn decide() {", "async fn"),
        ("src/domain/id.rs", "tracing::info!(\"x\");", "tracing"),
        ("src/domain/id.rs", "use std::collections::HashMap;", "HashMap"),
        ("src/domain/id.rs", "rand::random()", "rand::"),
    ];
    for (path, code, subject) in cases {
        let text = format!("//! One.\n//! Two.\n//! Three.\n{code}\n");
        let found = check_source(path, &text);
        assert!(
            found.iter().any(|v| v.subject == subject && v.line == 4),
            "{path}: {code}: {found:?}"
        );
    }
}

#[test]
fn each_rule_of_shape_catches_a_planted_violation() {
    let long = format!("//! One.\n//! Two.\n//! Three.\n{}", "\n".repeat(LINES_MAX));
    let cases = [
        ("src/io/log.rs", "// Not a doc.\nuse std::fs;\n", "docs"),
        ("src/io/log.rs", "use std::fs;\n//! One.\n//! Two.\n//! Three.\n", "docs"),
        ("src/io/log.rs", "//! One.\n//! Two.\nuse std::fs;\n", "docs"),
        ("tests/it/log.rs", "use std::fs;\n", "docs"),
        ("src/io/log.rs", &long, "length"),
        ("src/io/mod.rs", "//! One.\n//! Two.\n//! Three.\n", "mod.rs"),
        ("src/io/utils.rs", "//! One.\n//! Two.\n//! Three.\n", "utils.rs"),
        ("src/common/log.rs", "//! One.\n//! Two.\n//! Three.\n", "common"),
        (
            "src/io/log.rs",
            concat!("//! One.\n//! Two.\n//! Three.\n// TO", "DO: more\n"),
            concat!("TO", "DO"),
        ),
        (
            "src/io/log.rs",
            concat!("//! One.\n//! Two.\n//! Three.\n// FIX", "ME\n"),
            concat!("FIX", "ME"),
        ),
    ];
    for (path, text, subject) in cases {
        let found = check_shape(path, text);
        assert!(found.iter().any(|v| v.subject == subject), "{path}: {subject}: {found:?}");
    }
}

#[test]
fn what_the_plan_allows_is_no_violation() {
    let cases = [
        ("src/domain/turn.rs", "use crate::domain::id::Seq;"),
        ("src/protocol/robot.rs", "use crate::domain::{id::Seq, inbound};"),
        ("src/io/log.rs", "use crate::{context::Context, protocol::subject};"),
        ("src/edge/stream.rs", "use crate::io::store::integrations::Integrations;"),
        ("src/edge/stream.rs", "tokio_tungstenite::client_async(request, socket)"),
        ("src/main.rs", "use crate::edge; use crate::worker;"),
        ("src/config.rs", "std::env::vars()"),
        ("src/domain/id.rs", "/// Serialised by serde in `crate::protocol`."),
        ("src/worker/due.rs", "crate::worker::driver::run()"),
    ];
    for (path, code) in cases {
        let text = format!("//! One.\n//! Two.\n//! Three.\n{code}\n");
        let found: Vec<_> = [check_source(path, &text), check_shape(path, &text)].concat();
        assert!(found.is_empty(), "{path}: {code}: {found:?}");
    }
}

#[test]
fn an_exception_covers_its_place_and_subject_alone() {
    let exception = Exception { place: "src/sim/", subject: "reqwest", because: "a test" };
    let cases = [
        ("src/sim/cloud.rs", "reqwest", true),
        ("src/sim.rs", "reqwest", true),
        ("src/sim/cloud.rs", "sqlx", false),
        ("src/simple.rs", "reqwest", false),
        ("src/edge/sim/x.rs", "reqwest", false),
    ];
    for (path, subject, covered) in cases {
        let violation =
            Violation { path: path.to_owned(), line: 1, subject: subject.to_owned(), rule: "" };
        assert_eq!(exception.covers(&violation), covered, "{path} {subject}");
    }
}
