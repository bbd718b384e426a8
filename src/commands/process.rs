//! The life of a process: signals, the drain and its limit, and what a person at the terminal reads.
//!
//! The first signal lets what runs finish within the drain, a second one ends at once. What failed is
//! said once, on stderr, with its causes. Exit codes are left to `commands`.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;
use crate::context::Context;

/// Waits for SIGTERM or SIGINT, then lets the tasks of `context` finish what runs. A second signal, or
/// the limit, ends the wait.
pub async fn until_told(context: &Context, drain: Duration) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    tokio::select! {
        () = signals.next() => {}
        () = context.stop().cancelled() => {}
    }
    tracing::info!(limit_s = drain.as_secs(), "draining; a second signal exits at once");
    tokio::select! {
        finished = context.finish(drain) => {
            if !finished {
                tracing::warn!("the drain limit is over; what is left goes on elsewhere");
            }
        }
        () = signals.next() => tracing::warn!("second signal, exiting at once"),
    }
    Ok(())
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
