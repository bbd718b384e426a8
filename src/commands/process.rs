//! The life of a process: signals, the drain and its limit, and what a person at the terminal reads.
//!
//! It listens to signals from its beginning: the first lets what runs finish within the drain, a second
//! one ends at once. What failed is said once, on stderr, with its causes. Exit codes are left to `commands`.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::Failure;
use crate::context::{Context, files};

/// How a process came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// What ran had the time of the drain.
    Drained,
    /// A second signal: nothing is waited for any more.
    AtOnce,
}

/// Starts a process, keeps it until SIGTERM or SIGINT, and lets the tasks of `context` finish what runs.
///
/// A second signal, or the limit, ends the wait. Told before it has started, it starts no further, and
/// gives nothing.
pub async fn live<T>(
    context: &Context,
    drain: Duration,
    start: impl Future<Output = Result<T, Failure>>,
) -> Result<(Option<T>, End), Failure> {
    let mut signals = Signals::new()?;
    files::raise();
    let started = tokio::select! {
        started = start => Some(started?),
        () = signals.next() => None,
    };
    if started.is_some() {
        tokio::select! {
            () = signals.next() => {}
            () = context.stop().cancelled() => {}
        }
    }
    let told = Instant::now();
    tracing::info!(limit_s = drain.as_secs(), "draining; a second signal exits at once");
    let end = tokio::select! {
        finished = context.finish(drain) => {
            if !finished {
                tracing::warn!("the drain limit is over; what is left goes on elsewhere");
            }
            // What is left of the time is for the last spans.
            context.traces.close(drain.saturating_sub(told.elapsed())).await;
            End::Drained
        }
        () = signals.next() => {
            tracing::warn!("second signal, exiting at once");
            End::AtOnce
        }
    };
    Ok((started, end))
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|e| Failure::Failed(anyhow::Error::new(e).context("listen to signals")))
        };
        let (terminate, interrupt) =
            (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt })
    }

    async fn next(&mut self) {
        // Both are cancel safe: a signal that is not taken stays.
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// For a person at the terminal.
#[expect(clippy::print_stdout, reason = "a command's answer goes to its standard output")]
pub fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "a command's complaint goes to its standard error")]
pub fn complain(failure: &Failure) {
    eprintln!("dingtalk-trigger: {failure}");
}
