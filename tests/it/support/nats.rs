//! A nats-server with JetStream for one test, on a random loopback port.
//!
//! Dropping it asserts that the test's work is settled: `DT_RUN` and `DT_TIMER` are empty and no
//! consumer has anything pending. A test that means to leave work behind says so.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::context::GetStreamErrorKind;
use futures_util::TryStreamExt;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::logs::Logs;
use crate::support::program::free_port;
use crate::support::server::{Server, connect, wait_for_jetstream};

const SETTLE: Duration = Duration::from_secs(40);
/// A drop blocks the test's own tasks, so it waits only for what the server still does by itself.
const SETTLE_AT_DROP: Duration = Duration::from_secs(5);

pub(crate) struct Nats {
    pub(crate) logs: Logs,
    server: Server,
    url: String,
    leaves_work: AtomicBool,
    /// Dropped after the server, whose store it holds.
    _directory: TempDir,
}

impl Nats {
    pub(crate) async fn start() -> Self {
        Self::configured("").await
    }

    /// With a line of configuration of its own.
    pub(crate) async fn configured(line: &str) -> Self {
        let logs = Logs::watch();
        let directory = TempDir::new().expect("create a directory for nats-server");
        // What is started again must be found where it was, and the port still be free.
        let port = free_port().to_string();
        let mut server = Server::new(directory.path(), &["-p".to_owned(), port]).configured(line);
        server.start();
        let url = server.url().await;
        let nats =
            Self { logs, server, url, leaves_work: AtomicBool::new(false), _directory: directory };
        wait_for_jetstream(&nats.client().await).await;
        nats
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) async fn client(&self) -> async_nats::Client {
        connect(std::slice::from_ref(&self.url)).await
    }

    pub(crate) async fn jetstream(&self) -> jetstream::Context {
        jetstream::new(self.client().await)
    }

    /// SIGKILL: nothing is flushed, nobody is told.
    pub(crate) fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts the killed server again, on the same store and port.
    pub(crate) async fn restart(&mut self) {
        self.server.start();
        self.server.url().await;
        wait_for_jetstream(&self.client().await).await;
    }

    /// Says that messages left behind are what this test is about.
    pub(crate) fn leaves_work(&self) {
        self.leaves_work.store(true, Ordering::Relaxed);
    }

    /// Waits until nothing is left to do; names what is, when that takes too long.
    pub(crate) async fn assert_settled(&self) {
        if let Err(left) = settled(&self.url, SETTLE).await {
            panic!("left over: {left}");
        }
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let is_checked = self.server.is_running() && !self.leaves_work.load(Ordering::Relaxed);
        if !is_checked || std::thread::panicking() {
            return;
        }
        let url = self.url.clone();
        let outcome = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("start a runtime").block_on(settled(&url, SETTLE_AT_DROP))
        });
        if let Err(left) = outcome.join().expect("look at what is left over") {
            panic!(
                "left over: {left}; end the test with nats.assert_settled().await, or say \
                 nats.leaves_work() where that is what it tests"
            );
        }
    }
}

async fn settled(url: &str, limit: Duration) -> Result<(), String> {
    let context = jetstream::new(connect(&[url.to_owned()]).await);
    let started = Instant::now();
    loop {
        let left = left_over(&context).await;
        if left.is_empty() {
            return Ok(());
        }
        if started.elapsed() > limit {
            return Err(left.join(", "));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What still waits in the streams of the service, in words.
pub(crate) async fn left_over(context: &jetstream::Context) -> Vec<String> {
    let mut left = Vec::new();
    for name in ["DT_IN", "DT_TIMER", "DT_RUN"] {
        let stream = match context.get_stream(name).await {
            Ok(stream) => stream,
            Err(error) if error.kind() == GetStreamErrorKind::Request => {
                left.push(format!("{name} cannot be read: {error}"));
                continue;
            }
            // A test that needed no such stream left nothing in it.
            Err(_) => continue,
        };
        let messages = stream.cached_info().state.messages;
        if name != "DT_IN" && messages > 0 {
            left.push(format!("{messages} messages in {name}"));
        }
        let consumers: Vec<_> = match stream.consumers().try_collect().await {
            Ok(consumers) => consumers,
            Err(error) => {
                left.push(format!("consumers of {name} cannot be read: {error}"));
                continue;
            }
        };
        for consumer in consumers {
            let (pending, unacknowledged) = (consumer.num_pending, consumer.num_ack_pending);
            if pending > 0 || unacknowledged > 0 {
                let consumer = consumer.name;
                left.push(format!(
                    "{name}/{consumer}: {pending} pending, {unacknowledged} unacknowledged"
                ));
            }
        }
    }
    left
}
