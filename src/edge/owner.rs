//! Which Stream integrations belong to this pod.
//!
//! Every edge pod keeps a member record alive and reads those of the others; rendezvous hashing over the
//! members names the owner of an integration. While our own heartbeats are not confirmed we keep what we
//! have and take nothing new. Two owners for a while cost duplicates, which the log drops.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::context::Context;
use crate::domain::id::IntegrationId;
use crate::domain::members::{Event, Members, Record};
use crate::domain::rendezvous;
use crate::io::live::{self, Live};
use crate::protocol::live::{MEMBERS, Member, member_key, read, write};

const TTL: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub struct Config {
    /// This pod's name; the same after a restart where that is possible.
    pub pod: String,
    pub heartbeat_every: Duration,
    /// Pods that connect each integration: 1, or 2 for a hot second.
    pub owners: usize,
}

impl Config {
    pub fn new(pod: impl Into<String>) -> Self {
        Self { pod: pod.into(), heartbeat_every: Duration::from_secs(3), owners: 1 }
    }
}

/// What this pod may hold, as of the last heartbeat.
pub struct Ownership {
    members: Mutex<Members>,
    owners: usize,
    is_leaving: AtomicBool,
}

impl Ownership {
    fn new(config: &Config) -> Self {
        Self {
            members: Mutex::new(Members::new(config.pod.clone())),
            owners: config.owners.max(1),
            is_leaving: AtomicBool::new(false),
        }
    }

    pub fn pod(&self) -> String {
        self.with(|members| members.me().to_owned())
    }

    /// The pods that should hold it, best first.
    pub fn owners(&self, integration: &IntegrationId) -> Vec<String> {
        let is_leaving = self.is_leaving.load(Ordering::Relaxed);
        self.with(|members| {
            let alive = members.alive().filter(|pod| !is_leaving || *pod != members.me());
            let owners = rendezvous::owners(integration.as_str(), alive, self.owners);
            owners.into_iter().map(str::to_owned).collect()
        })
    }

    /// Whether it may be connected here although it is not yet.
    pub fn may_take(&self, integration: &IntegrationId) -> bool {
        self.is_confirmed() && self.owners(integration).contains(&self.pod())
    }

    /// Whether it stays here where it is.
    pub fn keeps(&self, integration: &IntegrationId) -> bool {
        !self.is_confirmed() || self.owners(integration).contains(&self.pod())
    }

    fn is_confirmed(&self) -> bool {
        self.with(Members::is_confirmed)
    }

    fn with<T>(&self, ask: impl FnOnce(&Members) -> T) -> T {
        ask(&self.members.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn happened(&self, event: Event) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let before: Vec<_> = members.alive().map(str::to_owned).collect();
        *members = members.clone().next(event);
        let after: Vec<_> = members.alive().map(str::to_owned).collect();
        if before != after {
            tracing::info!(members = ?after, "edge members changed");
        }
    }
}

/// Starts the heartbeat. It ends with a goodbye when the process stops.
pub fn start(context: &Context, live: Live, config: &Config) -> Arc<Ownership> {
    let ownership = Arc::new(Ownership::new(config));
    let heartbeat = heartbeat(context.clone(), live, config.clone(), ownership.clone());
    context.spawn(heartbeat);
    ownership
}

async fn heartbeat(context: Context, live: Live, config: Config, ownership: Arc<Ownership>) {
    let started = Instant::now();
    let mut is_reachable = true;
    while !context.is_stopping() {
        let round = round(&live, &config.pod);
        // A round that takes longer than two beats says nothing about now.
        let event = match tokio::time::timeout(config.heartbeat_every * 2, round).await {
            Ok(Ok(records)) => Event::Confirmed { at: started.elapsed(), records },
            Ok(Err(error)) => {
                tracing::debug!(%error, "heartbeat not confirmed");
                Event::Unconfirmed
            }
            Err(_) => Event::Unconfirmed,
        };
        let is_confirmed = event != Event::Unconfirmed;
        if is_reachable && !is_confirmed {
            tracing::warn!("heartbeats are not confirmed: this pod takes no new connections");
        }
        is_reachable = is_confirmed;
        ownership.happened(event);
        tokio::select! {
            () = tokio::time::sleep(config.heartbeat_every) => {}
            () = context.stop().cancelled() => {}
        }
    }
    ownership.is_leaving.store(true, Ordering::Relaxed);
    let goodbye = Member { pod: config.pod.clone(), is_leaving: true };
    let key = member_key(&config.pod);
    let put = live.put(&key, write(&goodbye), TTL);
    if !matches!(tokio::time::timeout(config.heartbeat_every, put).await, Ok(Ok(_))) {
        tracing::warn!("goodbye not confirmed: the other pods will miss this one after 9 s");
    }
}

/// Our record first, then everyone's: what is read is at least as new as our own confirmation.
async fn round(live: &Live, pod: &str) -> Result<Vec<Record>, live::Error> {
    let member = Member { pod: pod.to_owned(), is_leaving: false };
    live.put(&member_key(pod), write(&member), TTL).await?;
    let stored = live.read(MEMBERS).await?;
    let records = stored.iter().filter_map(|stored| {
        // A record that this release cannot read says nothing about its pod.
        let member: Member = read(&stored.key, &stored.value).ok()?;
        Some(Record { pod: member.pod, revision: stored.revision.0, is_leaving: member.is_leaving })
    });
    Ok(records.collect())
}
