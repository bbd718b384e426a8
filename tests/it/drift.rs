//! The files in `streams/` as operators use them: NATS' own command creates from them, and finds no
//! difference after `streams apply`.
//!
//! The command is built where a Go toolchain is present; elsewhere a line says that this was skipped.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use dingtalk_trigger::context::{Clock, Context};
use dingtalk_trigger::io::nats::{self, Nats};
use dingtalk_trigger::io::topology;

use crate::support;

const STREAMS: [&str; 8] = [
    "DT_IN",
    "DT_TIMER",
    "DT_RUN",
    "DT_JOURNAL",
    "DT_HANDOFF",
    "DT_DEAD",
    "KV_DT_LIVE",
    "KV_DT_RATE",
];
const CONSUMERS: [(&str, &str); 3] =
    [("DT_IN", "intake"), ("DT_TIMER", "due"), ("DT_RUN", "dispatch")];

/// The command with the address of a server, and nothing of this machine's own settings.
struct Cli<'a> {
    program: PathBuf,
    url: &'a str,
    home: tempfile::TempDir,
}

impl<'a> Cli<'a> {
    /// `None`, said aloud, where the command was not built.
    #[expect(clippy::print_stdout, reason = "a skipped check is to be seen")]
    fn find(url: &'a str) -> Option<Self> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin/nats");
        if !program.is_file() {
            println!("SKIPPED: no {}: the nats command is built with Go", program.display());
            return None;
        }
        let home = tempfile::tempdir().expect("create a home");
        Some(Self { program, url, home })
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let file = |argument: &&str| match argument.strip_suffix(".json") {
            Some(_) => Path::new(env!("CARGO_MANIFEST_DIR")).join("streams").join(argument),
            None => PathBuf::from(argument),
        };
        Command::new(&self.program)
            .args(["--server", self.url])
            .args(arguments.iter().map(file))
            .env("HOME", self.home.path())
            .env("XDG_CONFIG_HOME", self.home.path())
            .output()
            .expect("run the nats command")
    }

    /// Fails with what the command said.
    #[expect(clippy::print_stdout, reason = "the run is to be read where it is shown")]
    fn expect(&self, arguments: &[&str]) {
        let output = self.run(arguments);
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        println!("nats {}: {}", arguments.join(" "), output.status);
        assert!(output.status.success(), "nats {}:\n{said}", arguments.join(" "));
    }

    fn expect_no_drift(&self) {
        for stream in STREAMS {
            let file = format!("{stream}.json");
            self.expect(&["stream", "edit", stream, "--config", &file, "--dry-run"]);
        }
        for (stream, consumer) in CONSUMERS {
            let file = format!("{stream}.{consumer}.json");
            self.expect(&["consumer", "edit", stream, consumer, "--config", &file, "--dry-run"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nats_command_finds_no_drift_after_streams_apply() {
    let server = support::nats::Nats::start().await;
    let Some(cli) = Cli::find(server.url()) else { return };
    let context = Context::new(Clock::system());
    let (url, name) = (server.url().to_owned(), "it".to_owned());
    let request_timeout = Duration::from_secs(5);
    let config = nats::Config { url, credentials: None, name, request_timeout };
    let broker = Nats::connect(&context, &config).await.expect("the settings are right");
    let settings = topology::Config { replicas: 1, dedupe_window: Duration::from_secs(600) };
    topology::apply(&broker, settings, context.clock.now()).await.expect("apply");
    cli.expect_no_drift();
    // It does find a difference where there is one.
    let edit = ["stream", "edit", "DT_IN", "--max-bytes", "1000000", "--force"];
    cli.expect(&edit);
    let drift = cli.run(&["stream", "edit", "DT_IN", "--config", "DT_IN.json", "--dry-run"]);
    assert_eq!(drift.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&drift.stdout).contains("MaxBytes"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nats_command_creates_from_the_files_what_we_accept() {
    let server = support::nats::Nats::start().await;
    let Some(cli) = Cli::find(server.url()) else { return };
    for stream in STREAMS {
        cli.expect(&["stream", "add", "--config", &format!("{stream}.json")]);
    }
    for (stream, consumer) in CONSUMERS {
        let file = format!("{stream}.{consumer}.json");
        cli.expect(&["consumer", "add", stream, "--config", &file]);
    }
    cli.expect_no_drift();
}
