//! Waiting for a condition with a limit, in place of sleeping.

use std::time::Duration;

use tokio::time::Instant;

const POLL: Duration = Duration::from_millis(10);

/// Returns as soon as `condition` holds; fails the test, naming `what`, when it does not within `limit`.
pub(crate) async fn wait_until(
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> bool,
) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < limit, "waited {limit:?} in vain: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Like [`wait_until`], for a value that appears.
pub(crate) async fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut find: impl AsyncFnMut() -> Option<T>,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = find().await {
            return found;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} in vain: {what}");
        tokio::time::sleep(POLL).await;
    }
}
