//! Leases of runtimes: a registration with a lease holds as long as heartbeats come.
//!
//! The record in `DT_LIVE` carries the broker's time, so a lease is judged by that and not by a pod's
//! clock. Without a record it has lapsed.

use std::time::Duration;

use super::live::{Error, Live};
use crate::domain::binding::Runtime;
use crate::domain::id::ExpertId;
use crate::domain::time::Timestamp;
use crate::protocol::live::{self, Lease};

/// The record outlives the lease, so that one that has lapsed can be told from none.
const KEPT_AFTER: Duration = Duration::from_secs(60);

/// A heartbeat.
pub async fn renew(live: &Live, expert: &ExpertId, lease: Duration) -> Result<(), Error> {
    let record = live::write(&Lease { seconds: lease.as_secs() });
    live.put(&live::lease_key(expert), record, lease + KEPT_AFTER).await.map(|_| ())
}

pub async fn remove(live: &Live, expert: &ExpertId) -> Result<(), Error> {
    live.delete(&live::lease_key(expert)).await
}

/// When the lease runs out, or ran out; `None` where there is no record.
pub async fn expires_at(live: &Live, expert: &ExpertId) -> Result<Option<Timestamp>, Error> {
    let key = live::lease_key(expert);
    let stored = live.get(&key).await?;
    Ok(stored.and_then(|stored| {
        let lease: Lease = live::read(&key, &stored.value).ok()?;
        Some(stored.at.after(Duration::from_secs(lease.seconds)))
    }))
}

/// Whether the runtime may be called now, in the broker's time.
pub async fn is_alive(live: &Live, runtime: &Runtime, now: Timestamp) -> Result<bool, Error> {
    match runtime.lease {
        None => Ok(true),
        Some(_) => Ok(expires_at(live, &runtime.expert).await?.is_some_and(|end| now < end)),
    }
}

/// Whether nobody renewed it although everybody could. While the broker was away no heartbeat could
/// arrive: a lease has lapsed only if the broker was reachable for as long as the lease holds.
pub async fn has_lapsed(live: &Live, runtime: &Runtime, now: Timestamp) -> Result<bool, Error> {
    match runtime.lease {
        Some(lease) if live.reachable_for() >= lease => {
            is_alive(live, runtime, now).await.map(|is_alive| !is_alive)
        }
        Some(_) | None => Ok(false),
    }
}
