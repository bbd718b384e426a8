//! The gate before the stages: closed while the log is not the one that positions and timers speak of.
//!
//! It is looked at now and then, and at once when an entry comes whose sequence is not new. While it is
//! closed nothing is taken, and `/readyz` says why and what to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep};

use super::driver::Source;
use crate::context::Context;
use crate::domain::mark::Mark;
use crate::io::log;
use crate::io::mark::Marks;
use crate::io::nats::Nats;
use crate::io::nats::pull::Delivery;

const LOOK_EVERY: Duration = Duration::from_secs(10);
const LOOK_EVERY_CLOSED: Duration = Duration::from_secs(1);

/// On the health board.
const LOG: &str = "log";

#[derive(Clone)]
pub struct Gate {
    context: Context,
    marks: Marks,
    /// The highest sequence that this process took or saw in the mark.
    highest: Arc<AtomicU64>,
    /// One look at a time, and when the last one was.
    looked: Arc<Mutex<Option<Instant>>>,
    is_open: Arc<watch::Sender<bool>>,
}

impl Gate {
    /// Closed until the log was looked at.
    pub fn start(context: &Context, nats: &Nats) -> Self {
        let gate = Self {
            context: context.clone(),
            marks: Marks::new(nats),
            highest: Arc::default(),
            looked: Arc::default(),
            is_open: Arc::new(watch::Sender::new(false)),
        };
        context.spawn(gate.clone().follow());
        gate
    }

    pub fn is_open(&self) -> bool {
        *self.is_open.borrow()
    }

    /// Ends when the gate is open.
    pub async fn opened(&self) {
        self.become_(true).await;
    }

    /// Ends when the gate is closed.
    pub async fn closed(&self) {
        self.become_(false).await;
    }

    async fn become_(&self, open: bool) {
        let waited = self.is_open.subscribe().wait_for(|is_open| *is_open == open).await.is_ok();
        debug_assert!(waited, "the sender lives as long as the gate");
    }

    /// Whether a message may be handled. Entries come in the order of their sequences, so one that is
    /// not above all before it is a redelivery, or the log is another one.
    pub async fn passes(&self, source: &Source, delivery: &Delivery) -> bool {
        if source.stream == log::STREAM {
            let before = self.highest.fetch_max(delivery.seq.0, Ordering::Relaxed);
            if delivery.seq.0 <= before {
                self.look(LOOK_EVERY_CLOSED).await;
            }
        }
        self.is_open()
    }

    async fn follow(self) {
        loop {
            self.look(Duration::ZERO).await;
            let wait = if self.is_open() { LOOK_EVERY } else { LOOK_EVERY_CLOSED };
            tokio::select! {
                () = self.context.stop().cancelled() => return,
                () = sleep(wait) => {}
            }
        }
    }

    /// Once in this time is enough.
    async fn look(&self, once_in: Duration) {
        let mut looked = self.looked.lock().await;
        if looked.is_some_and(|at| at.elapsed() < once_in) {
            return;
        }
        let followed = self.marks.follow().await;
        *looked = Some(Instant::now());
        match followed {
            Ok(mark) => self.judge(mark),
            Err(error) if error.is_not_found() => {
                self.close(format!("{error}; run `dingtalk-trigger streams apply`"));
            }
            // The connection's own state says that the broker is away.
            Err(error) => tracing::debug!(%error, "the log is looked at later"),
        }
    }

    fn judge(&self, mark: Mark) {
        if let Some(from) = mark.shared_from {
            let until = mark.seq;
            self.close(format!(
                "DT_IN was restored from a backup that ends before {from}, and {until} was there; \
                 run `dingtalk-trigger streams apply`"
            ));
            return;
        }
        self.highest.fetch_max(mark.seq.0, Ordering::Relaxed);
        self.context.health.has(LOG);
        self.is_open.send_if_modified(|is_open| !std::mem::replace(is_open, true));
    }

    fn close(&self, why: String) {
        let was_open = self.is_open.send_replace(false);
        if was_open {
            tracing::warn!(why, "nothing is taken from the log");
        }
        self.context.health.lacks(LOG, why);
    }
}
