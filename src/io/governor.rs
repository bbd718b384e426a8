//! The one place every send to DingTalk passes: permits of each API of each app, shared by all pods.
//!
//! A pod takes up to 250 ms worth of permits by one compare-and-set and hands them out itself; nobody
//! else touches the key. With a rate of 0 there is no pacing and no broker traffic. A long wait is
//! returned, not slept, so that the caller can give its slot back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;

use crate::context::Context;
use crate::domain::id::{IntegrationId, Seq};
use crate::domain::rate::{Bucket, Reservation};
use crate::io::nats::publish::PublishError;
use crate::io::nats::{self, Nats};
use crate::protocol::rate::{STREAM, decode, encode, subject};

/// How often a pod tries again when others keep changing the key.
const CONFLICTS_MAX: u32 = 20;

pub struct Config {
    /// Permits a second of each API of each app; 0 is off.
    pub rate_per_s: u32,
    /// How much one reservation may take.
    pub batch: Duration,
    /// A longer wait is returned to the caller.
    pub wait_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { rate_per_s: 20, batch: Duration::from_millis(250), wait_max: Duration::from_secs(2) }
    }
}

/// What is limited by itself within an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    Webhook,
    Direct,
    Group,
    Card,
    Reaction,
}

impl Api {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Direct => "oto",
            Self::Group => "group",
            Self::Card => "card",
            Self::Reaction => "reaction",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    Granted,
    /// Come back after this long.
    Wait(Duration),
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read the send bucket: {0}")]
    Read(#[source] nats::Error),
    #[error("write the send bucket: {0}")]
    Write(#[source] PublishError),
    #[error("other pods changed the send bucket {CONFLICTS_MAX} times in a row")]
    Contended,
}

#[derive(Clone)]
pub struct Governor {
    context: Context,
    nats: Nats,
    config: Arc<Config>,
    reservers: Arc<Mutex<Reservers>>,
}

#[derive(Default)]
struct Reservers(BTreeMap<(IntegrationId, Api), Arc<Reserver>>);

/// One bucket as this pod sees it.
struct Reserver {
    subject: String,
    /// Callers that want a permit now: how many the next reservation should take.
    waiting: AtomicU32,
    /// Held while the broker is asked: that is what makes this pod one reserver.
    held: tokio::sync::Mutex<Held>,
}

#[derive(Default)]
struct Held {
    bucket: Bucket,
    /// The revision of `bucket`, zero where the key is new; `None` before it was read.
    revision: Option<Seq>,
    left: Option<Reservation>,
}

impl Governor {
    pub fn new(context: Context, nats: &Nats, config: Config) -> Self {
        let nats = nats.clone();
        Self { context, nats, config: Arc::new(config), reservers: Arc::default() }
    }

    /// Waits for a permit to send, if it comes soon.
    pub async fn permit(&self, integration: &IntegrationId, api: Api) -> Result<Permit, Error> {
        if self.config.rate_per_s == 0 {
            return Ok(Permit::Granted);
        }
        let reserver = self.reserver(integration, api);
        let ticket = Waiting::new(&reserver.waiting);
        let mut held = reserver.held.lock().await;
        let at_us = match held.take() {
            Some(at_us) => at_us,
            None => match self.reserve(&reserver, &mut held).await? {
                Permit::Granted => held.take().unwrap_or_default(),
                wait @ Permit::Wait(_) => return Ok(wait),
            },
        };
        drop(held);
        drop(ticket);
        let wait_us = at_us.saturating_sub(self.context.clock.now().0.saturating_mul(1000));
        tokio::time::sleep(Duration::from_micros(u64::try_from(wait_us).unwrap_or(0))).await;
        Ok(Permit::Granted)
    }

    /// DingTalk complained about the rate: half of it from now on, and nothing for `pause`.
    pub async fn slow_down(
        &self,
        integration: &IntegrationId,
        api: Api,
        pause: Duration,
    ) -> Result<(), Error> {
        if self.config.rate_per_s == 0 {
            return Ok(());
        }
        let reserver = self.reserver(integration, api);
        let mut held = reserver.held.lock().await;
        held.left = None;
        for _ in 0..CONFLICTS_MAX {
            self.refresh(&reserver, &mut held).await?;
            let slowed = held.bucket.slowed(self.context.clock.now(), pause);
            if self.store(&reserver, &mut held, slowed).await? {
                return Ok(());
            }
        }
        Err(Error::Contended)
    }

    /// Fills `held` with permits that are near, or says how far they are.
    async fn reserve(&self, reserver: &Reserver, held: &mut Held) -> Result<Permit, Error> {
        for _ in 0..CONFLICTS_MAX {
            self.refresh(reserver, held).await?;
            let now = self.context.clock.now();
            let wait = held.bucket.wait(now);
            if wait > self.config.wait_max {
                return Ok(Permit::Wait(wait));
            }
            let wanted = reserver.waiting.load(Ordering::Relaxed);
            let (next, reservation) =
                held.bucket.reserve(now, self.config.rate_per_s, wanted, self.config.batch);
            if self.store(reserver, held, next).await? {
                held.left = Some(reservation);
                return Ok(Permit::Granted);
            }
        }
        Err(Error::Contended)
    }

    /// Reads the bucket from the leader unless its revision is known.
    async fn refresh(&self, reserver: &Reserver, held: &mut Held) -> Result<(), Error> {
        if held.revision.is_some() {
            return Ok(());
        }
        let last = self.nats.last(STREAM, &reserver.subject).await.map_err(Error::Read)?;
        let (bucket, revision) = match last {
            Some(record) => (decode(&record.payload).unwrap_or_default(), record.seq),
            None => (Bucket::default(), Seq::default()),
        };
        held.bucket = bucket;
        held.revision = Some(revision);
        Ok(())
    }

    /// True when `next` is stored; false on a conflict, after which the revision is unknown.
    async fn store(
        &self,
        reserver: &Reserver,
        held: &mut Held,
        next: Bucket,
    ) -> Result<bool, Error> {
        // Taken first: after an error or a dropped call nobody knows what the key holds.
        let revision = held.revision.take().unwrap_or_default();
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, revision.to_string());
        match self.nats.publish(&reserver.subject, headers, encode(next).into()).await {
            Ok(stored) => {
                held.bucket = next;
                held.revision = Some(stored.seq);
                Ok(true)
            }
            Err(PublishError::Conflict) => Ok(false),
            Err(
                error @ (PublishError::Occupied
                | PublishError::Full(_)
                | PublishError::BeingStored
                | PublishError::TooLarge
                | PublishError::Failed(_)),
            ) => Err(Error::Write(error)),
        }
    }

    fn reserver(&self, integration: &IntegrationId, api: Api) -> Arc<Reserver> {
        let mut reservers = self.reservers.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            Arc::new(Reserver {
                subject: subject(integration, api.as_str()),
                waiting: AtomicU32::new(0),
                held: tokio::sync::Mutex::default(),
            })
        };
        Arc::clone(reservers.0.entry((integration.clone(), api)).or_insert_with(new))
    }
}

impl Held {
    /// The time of the next permit at hand, in microseconds. One that is long past is still good.
    fn take(&mut self) -> Option<i64> {
        let left = self.left.as_mut()?;
        let at_us = left.first_us;
        left.first_us = left.first_us.saturating_add(left.interval_us);
        left.count -= 1;
        if left.count == 0 {
            self.left = None;
        }
        Some(at_us)
    }
}

/// Counts a caller for as long as it wants a permit, however its call ends.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicU32) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
