//! Which sessions run on this pod: compares what should be connected here with what is.
//!
//! Takes what it owns, reopens what has new credentials, closes what is gone. What belongs to another
//! pod by now stays until that pod says it is connected, at the latest for thirty seconds, so that
//! somebody always listens. It compares every second and on each hint.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::link::Link;
use super::session::{Session, Shared};
use super::{Config, Outcome};
use crate::context::Context;
use crate::domain::binding::{Integration, Mode};
use crate::domain::id::IntegrationId;
use crate::edge::owner::Ownership;
use crate::io::gateway::Gateway;
use crate::io::live::Live;
use crate::protocol::live::{self as record, LinkState, link_key};
use crate::protocol::stream::Kind;

const COMPARE_EVERY: Duration = Duration::from_secs(1);
/// How long a new owner may take before the old one closes anyway.
const HANDOVER_MAX: Duration = Duration::from_secs(30);
/// The same when this process stops; below the drain limit.
const GOODBYE_MAX: Duration = Duration::from_secs(10);

/// The links of the sessions that run here, for the report.
pub type Links = Mutex<BTreeMap<IntegrationId, Arc<Link>>>;

struct Running {
    stop: CancellationToken,
    integration: watch::Sender<Arc<Integration>>,
    /// Since when it belongs to another pod.
    foreign_since: Option<Instant>,
    task: tokio::task::JoinHandle<()>,
}

pub struct Fleet<H, S> {
    pub context: Context,
    pub config: Config,
    pub gateway: Gateway,
    pub live: Live,
    pub ownership: Arc<Ownership>,
    pub handler: Arc<H>,
    /// All integrations, as they are known.
    pub source: S,
    /// Something changed: read again.
    pub hint: Arc<Notify>,
    pub changes: Arc<Notify>,
    pub links: Arc<Links>,
}

impl<H, F, S> Fleet<H, S>
where
    H: Fn(Arc<Integration>, Kind, Value) -> F + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
    S: Fn() -> Vec<Arc<Integration>> + Send + Sync + 'static,
{
    pub async fn run(self) {
        let mut sessions = BTreeMap::new();
        while !self.context.is_stopping() {
            let stream = (self.source)().into_iter().filter(|it| it.mode == Mode::Stream);
            let wanted = stream.map(|it| (it.id.clone(), it)).collect();
            self.compare(&wanted, &mut sessions).await;
            tokio::select! {
                () = tokio::time::sleep(COMPARE_EVERY) => {}
                () = self.hint.notified() => {}
                () = self.context.stop().cancelled() => {}
            }
        }
        self.leave(sessions).await;
    }

    async fn compare(
        &self,
        wanted: &BTreeMap<IntegrationId, Arc<Integration>>,
        sessions: &mut BTreeMap<IntegrationId, Running>,
    ) {
        let held: Vec<_> = sessions.keys().cloned().collect();
        for id in held {
            let Some(running) = sessions.get_mut(&id) else { continue };
            let is_same = wanted.get(&id).is_some_and(|now| running.follows(now));
            // A session also ends by itself, when it would connect what is not ours any more.
            let ends = running.task.is_finished() || !is_same || self.is_taken(&id, running).await;
            if ends {
                running.stop.cancel();
                sessions.remove(&id);
                self.links().remove(&id);
                self.changes.notify_one();
            }
        }
        for (id, integration) in wanted {
            if !sessions.contains_key(id) && self.ownership.may_take(id) {
                sessions.insert(id.clone(), self.begin(integration));
            }
        }
    }

    fn begin(&self, integration: &Arc<Integration>) -> Running {
        let stop = CancellationToken::new();
        let (sender, receiver) = watch::channel(integration.clone());
        let link = Arc::new(Link::new(self.context.clock.now(), self.changes.clone()));
        self.links().insert(integration.id.clone(), link.clone());
        self.changes.notify_one();
        let shared = Shared {
            context: self.context.clone(),
            config: self.config.clone(),
            handler: self.handler.clone(),
            link,
            integration: receiver,
        };
        let session = Session {
            shared: Arc::new(shared),
            gateway: self.gateway.clone(),
            ownership: self.ownership.clone(),
            stop: stop.clone(),
        };
        let task = self.context.spawn(session.run());
        Running { stop, integration: sender, foreign_since: None, task }
    }

    /// Whether another pod holds it, or had the time to.
    async fn is_taken(&self, id: &IntegrationId, running: &mut Running) -> bool {
        if self.ownership.keeps(id) {
            running.foreign_since = None;
            return false;
        }
        let since = *running.foreign_since.get_or_insert_with(Instant::now);
        since.elapsed() >= HANDOVER_MAX || self.is_connected_elsewhere(id).await
    }

    async fn is_connected_elsewhere(&self, id: &IntegrationId) -> bool {
        let Some(owner) = self.ownership.owners(id).into_iter().next() else { return true };
        let key = link_key(id, &owner);
        let Ok(Some(stored)) = self.live.get(&key).await else { return false };
        let link = record::read::<record::Link>(&key, &stored.value);
        link.is_ok_and(|link| link.state == LinkState::Connected)
    }

    /// The goodbye is said by the heartbeat; here the connections wait for their new owners.
    async fn leave(&self, mut sessions: BTreeMap<IntegrationId, Running>) {
        let deadline = Instant::now() + GOODBYE_MAX;
        while !sessions.is_empty() && Instant::now() < deadline {
            let held: Vec<_> = sessions.keys().cloned().collect();
            for id in held {
                let owner = self.ownership.owners(&id).into_iter().next();
                // Until the heartbeat has marked us as leaving, we are the owner still.
                let is_ours = owner.is_some_and(|owner| owner == self.ownership.pod());
                if !is_ours && self.is_connected_elsewhere(&id).await {
                    if let Some(running) = sessions.remove(&id) {
                        running.stop.cancel();
                    }
                    self.links().remove(&id);
                    self.changes.notify_one();
                }
            }
            if !sessions.is_empty() {
                tokio::time::sleep(COMPARE_EVERY / 4).await;
            }
        }
        for running in sessions.into_values() {
            running.stop.cancel();
        }
        self.links().clear();
        self.changes.notify_one();
    }

    fn links(&self) -> std::sync::MutexGuard<'_, BTreeMap<IntegrationId, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// Takes the integration as it is now. False where that needs another connection.
    fn follows(&self, now: &Arc<Integration>) -> bool {
        let before = self.integration.borrow().clone();
        if before.client_id != now.client_id || before.client_secret != now.client_secret {
            return false;
        }
        if before != *now {
            self.integration.send_replace(now.clone());
        }
        true
    }
}
