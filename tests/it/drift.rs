//! The files in `streams/` as operators use them: NATS' own command creates from them, and finds no
//! difference after `streams apply`.
//!
//! The command is built where a Go toolchain is present; elsewhere a line says that this was skipped.

use std::time::Duration;

use dingtalk_trigger::context::{Clock, Context};
use dingtalk_trigger::io::nats::{self, Nats};
use dingtalk_trigger::io::topology;

use crate::support;
use crate::support::hands::Cli;

pub(crate) const STREAMS: [&str; 8] = [
    "DT_IN",
    "DT_TIMER",
    "DT_RUN",
    "DT_JOURNAL",
    "DT_HANDOFF",
    "DT_DEAD",
    "KV_DT_LIVE",
    "KV_DT_RATE",
];
pub(crate) const CONSUMERS: [(&str, &str); 3] =
    [("DT_IN", "intake"), ("DT_TIMER", "due"), ("DT_RUN", "dispatch")];

async fn expect_no_drift(cli: &Cli) {
    for stream in STREAMS {
        let file = format!("streams/{stream}.json");
        cli.expect(&["stream", "edit", stream, "--config", &file, "--dry-run"]).await;
    }
    for (stream, consumer) in CONSUMERS {
        let file = format!("streams/{stream}.{consumer}.json");
        cli.expect(&["consumer", "edit", stream, consumer, "--config", &file, "--dry-run"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nats_command_finds_no_drift_after_streams_apply() {
    let server = support::nats::Nats::start().await;
    let Some(cli) = Cli::find(server.url()) else { return };
    let context = Context::new(Clock::system());
    let (url, name) = (server.url().to_owned(), "it".to_owned());
    let request_timeout = Duration::from_secs(5);
    let config = nats::Config {
        url,
        credentials: None,
        login: nats::login::Login::default(),
        name,
        request_timeout,
    };
    let broker = Nats::connect(&context, &config).await.expect("the settings are right");
    let settings = topology::Config { replicas: 1, dedupe_window: Duration::from_secs(600) };
    topology::apply(&broker, settings, context.clock.now()).await.expect("apply");
    expect_no_drift(&cli).await;
    // It does find a difference where there is one.
    let edit = ["stream", "edit", "DT_IN", "--max-bytes", "1000000", "--force"];
    cli.expect(&edit).await;
    let drift =
        cli.run(&["stream", "edit", "DT_IN", "--config", "streams/DT_IN.json", "--dry-run"]).await;
    assert_eq!(drift.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&drift.stdout).contains("MaxBytes"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nats_command_creates_from_the_files_what_we_accept() {
    let server = support::nats::Nats::start().await;
    let Some(cli) = Cli::find(server.url()) else { return };
    for stream in STREAMS {
        cli.expect(&["stream", "add", "--config", &format!("streams/{stream}.json")]).await;
    }
    for (stream, consumer) in CONSUMERS {
        let file = format!("streams/{stream}.{consumer}.json");
        cli.expect(&["consumer", "add", stream, "--config", &file]).await;
    }
    expect_no_drift(&cli).await;
}
