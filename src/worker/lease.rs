//! The hold on a slot: renewed with the broker while a run works, and lost before the broker could
//! hand the slot to somebody else.
//!
//! Times are those of sending, so a slow answer never makes it seem longer than it is.

use std::sync::{Arc, Mutex, PoisonError};
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
    confirmed: Arc<Mutex<Instant>>,
    lost: CancellationToken,
    _renewal: DropGuard,
}

impl Lease {
    /// The delivery itself is the first confirmation.
    pub fn hold(context: &Context, nats: &Nats, delivery: &Delivery) -> Self {
        let confirmed = Arc::new(Mutex::new(delivery.taken));
        let (stop, lost) = (CancellationToken::new(), CancellationToken::new());
        let renewal = renew(nats.clone(), delivery.clone(), confirmed.clone(), lost.clone());
        let ended = stop.clone();
        context.spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = renewal => {}
            }
        });
        Self { confirmed, lost, _renewal: stop.drop_guard() }
    }

    /// False once too much of `ack_wait` has passed since the last renewal that the broker confirmed.
    /// Asked before every effect.
    pub fn is_held(&self) -> bool {
        !self.lost.is_cancelled() && at(&self.confirmed).elapsed() < ACK_WAIT.mul_f64(0.8)
    }

    /// Ends when the lease is lost.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

fn at(confirmed: &Mutex<Instant>) -> Instant {
    *confirmed.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn renew(
    nats: Nats,
    delivery: Delivery,
    confirmed: Arc<Mutex<Instant>>,
    lost: CancellationToken,
) {
    loop {
        sleep(ACK_WAIT / 5).await;
        // The time of sending counts: the broker may have started the new wait then.
        let sent = Instant::now();
        match nats.renew(&delivery).await {
            Ok(()) => *confirmed.lock().unwrap_or_else(PoisonError::into_inner) = sent,
            Err(error) => tracing::debug!(%error, "a lease was not renewed"),
        }
        if at(&confirmed).elapsed() >= ACK_WAIT.mul_f64(0.8) {
            lost.cancel();
            return;
        }
    }
}
