//! The hold on a slot: renewed with the broker while a run works, and lost before the broker could
//! hand the slot to somebody else.
//!
//! Times are those of sending, so a slow answer never makes it seem longer than it is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::context::Context;
use crate::io::nats::Nats;
use crate::io::nats::pull::Delivery;

/// The consumer's `ack_wait` (`streams/DT_RUN.dispatch.json`).
pub const ACK_WAIT: Duration = Duration::from_secs(15);

/// Ends with its value: no renewal outlives the run.
pub struct Lease {
    held: Held,
    _renewal: DropGuard,
}

/// What whoever works for a run knows of its lease.
#[derive(Clone)]
pub struct Held {
    confirmed: Arc<Mutex<Instant>>,
    lost: CancellationToken,
}

impl Lease {
    /// The delivery itself is the first confirmation.
    pub fn hold(context: &Context, nats: &Nats, delivery: &Delivery) -> Self {
        let confirmed = Arc::new(Mutex::new(delivery.taken));
        let held = Held { confirmed, lost: CancellationToken::new() };
        let renewal = renew(nats.clone(), delivery.clone(), held.clone());
        let stop = CancellationToken::new();
        let ended = stop.clone();
        context.spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = renewal => {}
            }
        });
        Self { held, _renewal: stop.drop_guard() }
    }

    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Ends when the lease is lost.
    pub async fn lost(&self) {
        self.held.lost.cancelled().await;
    }
}

impl Held {
    /// False once too much of `ack_wait` has passed since the last renewal that the broker confirmed.
    /// Asked before every effect.
    pub fn lasts(&self) -> bool {
        !self.lost.is_cancelled() && self.is_young()
    }

    fn is_young(&self) -> bool {
        self.confirmed_at().elapsed() < ACK_WAIT.mul_f64(0.8)
    }

    fn confirmed_at(&self) -> MutexGuard<'_, Instant> {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn renew(nats: Nats, delivery: Delivery, held: Held) {
    loop {
        sleep(ACK_WAIT / 5).await;
        // The time of sending counts: the broker may have started the new wait then.
        let sent = Instant::now();
        match nats.renew(&delivery).await {
            Ok(()) => *held.confirmed_at() = sent,
            Err(error) => tracing::debug!(%error, "a lease was not renewed"),
        }
        if !held.is_young() {
            held.lost.cancel();
            return;
        }
    }
}
