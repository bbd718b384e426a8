//! Pods that only say that they are there: workers and consoles. An edge says more, in its own record.
//!
//! For people who look at the status, and for nobody else: no work depends on it.

use std::time::Duration;

use super::live::Live;
use crate::context::Context;
use crate::protocol::live::{Pod, pod_key, write};

const EVERY: Duration = Duration::from_secs(3);
/// Missed for so long, it is not shown any more.
const TTL: Duration = Duration::from_secs(9);

/// Says so until the process stops.
pub fn announce(context: &Context, live: Live, role: &str, pod: &str) {
    let pod = Pod { pod: pod.to_owned(), role: role.to_owned() };
    let (key, stop) = (pod_key(&pod), context.stop().clone());
    context.spawn(async move {
        loop {
            if let Err(error) = live.put(&key, write(&pod), TTL).await {
                tracing::debug!(%error, "the status does not show this pod");
            }
            if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
                break;
            }
        }
        let gone = tokio::time::timeout(EVERY, live.delete(&key)).await;
        gone.ok(); // It vanishes by itself a moment later.
    });
}
