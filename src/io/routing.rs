//! Where a message goes: integrations, triggers and runtimes, kept in memory.
//!
//! Guarantees that what is known answers without SQL and keeps answering while SQL is away; that a
//! change made by this process is seen by it at once and by others when the hint `dt.changed.>`
//! arrives, at the latest with the reload every 30 s; and that an id which is not known is asked for
//! each time. A read that began before a change never overwrites what was read after it.

mod tables;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;
use uuid::Uuid;

use self::tables::{Tables, differences, put};
use super::store::{Error, Page, Store};
use crate::context::Context;
use crate::domain::binding::{Integration, Runtime, Trigger};
use crate::domain::id::{Conversation, ExpertId, IntegrationId};
use crate::domain::session::Session;

const RELOAD_EVERY: Duration = Duration::from_secs(30);
const RETRY_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const SUBSCRIBE_LIMIT: Duration = Duration::from_secs(2);
const PAGE_ROWS: u32 = 500;
const CHANGES_MAX: usize = 1024;
/// How often a reload starts anew because a change overtook it; the next reload is never far.
const OVERTAKEN_MAX: u32 = 5;

/// What became different. Whoever hears of it reads again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Integration(IntegrationId),
    /// The binding of this integration.
    Trigger(IntegrationId),
    Runtime(ExpertId),
}

impl Change {
    fn subject(&self) -> String {
        match self {
            Self::Integration(id) => format!("dt.changed.integration.{id}"),
            Self::Trigger(id) => format!("dt.changed.trigger.{id}"),
            Self::Runtime(id) => format!("dt.changed.runtime.{id}"),
        }
    }

    fn parse(subject: &str) -> Option<Self> {
        let (kind, id) = subject.strip_prefix("dt.changed.")?.split_once('.')?;
        match kind {
            "integration" => IntegrationId::parse(id).ok().map(Self::Integration),
            "trigger" => IntegrationId::parse(id).ok().map(Self::Trigger),
            "runtime" => ExpertId::parse(id).ok().map(Self::Runtime),
            _ => None,
        }
    }
}

/// Cheap to clone; all clones share one cache.
#[derive(Clone)]
pub struct Routing {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    nats: Option<async_nats::Client>,
    /// Tells our own hints from those of others.
    nonce: String,
    tables: RwLock<Tables>,
    /// Counts changes; a read is only kept if none began meanwhile.
    generation: AtomicU64,
    read_again: Mutex<BTreeMap<IntegrationId, Instant>>,
    changes: broadcast::Sender<Change>,
    reload: Notify,
}

impl Routing {
    /// Reads everything once, then keeps it fresh until the process stops.
    pub async fn start(
        context: &Context,
        store: Store,
        nats: Option<async_nats::Client>,
    ) -> Result<Self, Error> {
        let routing = Self {
            inner: Arc::new(Inner {
                store,
                nats: nats.clone(),
                nonce: Uuid::new_v4().to_string(),
                tables: RwLock::default(),
                generation: AtomicU64::new(0),
                read_again: Mutex::default(),
                changes: broadcast::channel(CHANGES_MAX).0,
                reload: Notify::new(),
            }),
        };
        let hints = match &nats {
            Some(nats) => subscribe(nats).await,
            None => None,
        };
        routing.reload().await?;
        let stop = context.stop().clone();
        let task = routing.clone();
        context.spawn(async move {
            stop.run_until_cancelled(task.keep_fresh()).await;
        });
        if let Some(hints) = hints {
            let stop = context.stop().clone();
            let task = routing.clone();
            context.spawn(async move {
                stop.run_until_cancelled(task.listen(hints)).await;
            });
        }
        Ok(routing)
    }

    pub async fn integration(&self, id: &IntegrationId) -> Result<Option<Arc<Integration>>, Error> {
        if let Some(known) = self.read(|tables| tables.integrations.get(id).cloned()) {
            return Ok(Some(known));
        }
        self.refresh_integration(id).await
    }

    /// For a signature or a decryption that failed: the secrets may have changed a moment ago. Asks
    /// SQL at most once a second for each id.
    pub async fn integration_again(
        &self,
        id: &IntegrationId,
    ) -> Result<Option<Arc<Integration>>, Error> {
        let known = self.read(|tables| tables.integrations.get(id).cloned());
        if known.is_some() && !self.may_read_again(id) {
            return Ok(known);
        }
        match self.refresh_integration(id).await {
            Err(_) if known.is_some() => Ok(known),
            outcome => outcome,
        }
    }

    pub fn integrations(&self) -> Vec<Arc<Integration>> {
        self.read(|tables| tables.integrations.values().cloned().collect())
    }

    /// The enabled binding, from memory.
    pub fn trigger_of(&self, id: &IntegrationId) -> Option<Arc<Trigger>> {
        self.read(|tables| tables.triggers.get(id).cloned())
    }

    /// The enabled binding of an expert, from memory.
    pub fn trigger_for(&self, expert: &ExpertId) -> Option<Arc<Trigger>> {
        self.read(|tables| {
            tables.triggers.values().find(|trigger| trigger.expert == *expert).cloned()
        })
    }

    /// The enabled binding straight from SQL, for the opening of a session.
    pub async fn trigger_fresh(&self, id: &IntegrationId) -> Result<Option<Arc<Trigger>>, Error> {
        self.take_over(&Change::Trigger(id.clone())).await?;
        Ok(self.trigger_of(id))
    }

    pub async fn runtime(&self, expert: &ExpertId) -> Result<Option<Arc<Runtime>>, Error> {
        match self.read(|tables| tables.runtimes.get(expert).cloned()) {
            Some(known) => Ok(Some(known)),
            None => self.runtime_fresh(expert).await,
        }
    }

    /// Straight from SQL, before a turn is parked.
    pub async fn runtime_fresh(&self, expert: &ExpertId) -> Result<Option<Arc<Runtime>>, Error> {
        self.take_over(&Change::Runtime(expert.clone())).await?;
        Ok(self.read(|tables| tables.runtimes.get(expert).cloned()))
    }

    /// The last session that SQL knows of a conversation, unless it was ended.
    pub async fn last_session(&self, of: &Conversation) -> Result<Option<Session>, Error> {
        let row = self.inner.store.conversation(&of.key).await?.filter(|row| !row.is_ended);
        Ok(row.filter(|row| row.conversation == *of).map(|row| Session {
            epoch: row.epoch,
            expert: row.expert,
            timeout: row.timeout,
            last_activity: row.last_activity,
        }))
    }

    /// A receiver that lags has missed some and reads everything again.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.inner.changes.subscribe()
    }

    /// After the commit of a change: this process acts on it when this returns, others when the hint
    /// reaches them.
    pub async fn announce(&self, change: Change) {
        self.inner.generation.fetch_add(1, Ordering::SeqCst);
        if let Err(error) = self.take_over(&change).await {
            tracing::warn!(%error, "a change could not be read back and is read again");
            self.inner.reload.notify_one();
        }
        if let Some(nats) = &self.inner.nats {
            #[expect(clippy::disallowed_methods, reason = "a hint that may be lost, no record")]
            let sent = nats.publish(change.subject(), self.inner.nonce.clone().into()).await;
            if let Err(error) = sent {
                tracing::warn!(%error, "other processes learn of a change with their next reload");
            }
        }
        self.tell(change);
    }

    fn read<T>(&self, pick: impl FnOnce(&Tables) -> T) -> T {
        pick(&self.inner.tables.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self, change: Change) {
        // Fails only where nobody listens.
        self.inner.changes.send(change).ok();
    }

    fn may_read_again(&self, id: &IntegrationId) -> bool {
        let mut read = self.inner.read_again.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let may = read.get(id).is_none_or(|at| now.duration_since(*at) >= AGAIN_AFTER);
        if may {
            read.insert(id.clone(), now);
        }
        may
    }

    async fn refresh_integration(
        &self,
        id: &IntegrationId,
    ) -> Result<Option<Arc<Integration>>, Error> {
        self.take_over(&Change::Integration(id.clone())).await?;
        Ok(self.read(|tables| tables.integrations.get(id).cloned()))
    }

    /// Reads one row into memory, again if a change began while it was read.
    async fn take_over(&self, change: &Change) -> Result<(), Error> {
        let store = &self.inner.store;
        loop {
            let began = self.inner.generation.load(Ordering::SeqCst);
            match change {
                Change::Integration(id) => {
                    let row = store.integration(id).await?.map(|record| record.integration);
                    if self.keep(began, |tables| tables.put_integration(id, row)) {
                        return Ok(());
                    }
                }
                Change::Trigger(id) => {
                    let row = store.trigger_of(id).await?.map(|record| record.trigger);
                    if self.keep(began, |tables| tables.put_trigger(id, row)) {
                        return Ok(());
                    }
                }
                Change::Runtime(id) => {
                    let row = store.runtime(id).await?.map(|record| record.runtime);
                    if self.keep(began, |tables| put(&mut tables.runtimes, id, row)) {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// False, and nothing kept, if a change was announced since `began`.
    fn keep(&self, began: u64, store: impl FnOnce(&mut Tables)) -> bool {
        let mut tables = self.inner.tables.write().unwrap_or_else(PoisonError::into_inner);
        let is_current = self.inner.generation.load(Ordering::SeqCst) == began;
        if is_current {
            store(&mut tables);
        }
        is_current
    }

    async fn keep_fresh(self) {
        let mut wait = RELOAD_EVERY;
        loop {
            tokio::time::timeout(wait, self.inner.reload.notified()).await.ok();
            wait = match self.reload().await {
                Ok(()) => RELOAD_EVERY,
                Err(error) => {
                    tracing::warn!(%error, "routing stays as it was last read");
                    RETRY_AFTER
                }
            };
        }
    }

    async fn listen(self, mut hints: async_nats::Subscriber) {
        while let Some(hint) = hints.next().await {
            let Some(change) = Change::parse(&hint.subject) else { continue };
            if hint.payload == self.inner.nonce.as_bytes() {
                continue;
            }
            self.inner.generation.fetch_add(1, Ordering::SeqCst);
            if self.take_over(&change).await.is_err() {
                self.inner.reload.notify_one();
            }
            self.tell(change);
        }
    }

    /// Reads all three tables and tells of each difference.
    async fn reload(&self) -> Result<(), Error> {
        for _ in 0..OVERTAKEN_MAX {
            let began = self.inner.generation.load(Ordering::SeqCst);
            let mut next = load(&self.inner.store).await?;
            if self.keep(began, |tables| std::mem::swap(tables, &mut next)) {
                let before = next;
                for change in self.read(|tables| differences(&before, tables)) {
                    self.tell(change);
                }
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The subscription stands at the broker before the tables are read, so that no change falls between.
/// While the broker is away the client keeps it, and the reload covers the time until it is back.
async fn subscribe(nats: &async_nats::Client) -> Option<async_nats::Subscriber> {
    let hints = nats.subscribe("dt.changed.>").await.ok();
    tokio::time::timeout(SUBSCRIBE_LIMIT, nats.flush()).await.ok();
    hints
}

async fn load(store: &Store) -> Result<Tables, Error> {
    let mut tables = Tables::default();
    let mut page = Page { after: None, limit: PAGE_ROWS };
    loop {
        let rows = store.integrations(&page).await?;
        let Some(last) = rows.last() else { break };
        page.after = Some(last.integration.id.to_string());
        let rows = rows.into_iter().map(|row| row.integration);
        tables.integrations.extend(rows.map(|row| (row.id.clone(), Arc::new(row))));
    }
    page.after = None;
    loop {
        let rows = store.triggers(&page).await?;
        let Some(last) = rows.last() else { break };
        page.after = Some(last.trigger.expert.to_string());
        let rows = rows.into_iter().map(|row| row.trigger).filter(|row| row.is_enabled);
        for row in rows {
            tables.put_trigger(&row.integration.clone(), Some(row));
        }
    }
    page.after = None;
    loop {
        let rows = store.runtimes(&page).await?;
        let Some(last) = rows.last() else { break };
        page.after = Some(last.runtime.expert.to_string());
        let rows = rows.into_iter().map(|row| row.runtime);
        tables.runtimes.extend(rows.map(|row| (row.expert.clone(), Arc::new(row))));
    }
    Ok(tables)
}
