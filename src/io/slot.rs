//! The slot: a subject of the work queue `DT_RUN` that can hold one message. It is the job and the
//! lock of a conversation at once.
//!
//! Taken means stored: some worker will run. Who holds it, and for how long, is the consumer's and
//! `worker::lease`'s.

use async_nats::HeaderMap;

use super::header::{self, KIND, TURN};
use super::nats::publish::PublishError;
use super::nats::{self, Nats};
use super::settled::{self, Queue};
use super::timer::LEFT_SINCE;
use crate::domain::id::{Conversation, ExpertId, Seq};
use crate::domain::time::Timestamp;
use crate::protocol::subject;
use crate::protocol::token::{self, Slot};

pub const STREAM: &str = "DT_RUN";

/// The header of a slot that a message brought, and not its coming back: nobody was told yet that it waits.
const FIRST: &str = "Dt-First";

/// The header of a slot that woke a conversation from the index: see [`Woken`].
const WOKEN: &str = "Dt-Woken";

const QUEUE: Queue = Queue { stream: STREAM, consumer: "dispatch", filter: "dt.run.>" };

#[derive(Clone)]
pub struct Slots {
    nats: Nats,
}

/// Whether the conversation got its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    Taken,
    /// A run is waiting or in flight.
    Occupied,
}

impl Slots {
    pub fn new(nats: &Nats) -> Self {
        Self { nats: nats.clone() }
    }

    pub async fn offer(
        &self,
        conversation: &Conversation,
        slot: &Slot,
    ) -> Result<Offered, PublishError> {
        self.publish(conversation, slot, HeaderMap::new()).await
    }

    /// Offers the slot that a message brings. Where it waits all the same, whoever finds that out says so:
    /// the caller if it is occupied, else the run that finds a turn open; nobody else ever does.
    pub async fn offer_first(
        &self,
        conversation: &Conversation,
        slot: &Slot,
    ) -> Result<Offered, PublishError> {
        let mut headers = HeaderMap::new();
        headers.insert(FIRST, "1");
        self.publish(conversation, slot, headers).await
    }

    /// Offers the slot of a conversation that waits in the index. That it is taken makes the offer the claim:
    /// the subject holds one message, so one worker wins, and its death loses nothing.
    pub async fn wake(
        &self,
        conversation: &Conversation,
        slot: &Slot,
        woken: &Woken,
    ) -> Result<Offered, PublishError> {
        let mut headers = HeaderMap::new();
        headers.insert(WOKEN, format!("{} {} {}", woken.worker, woken.entry, woken.expert));
        self.publish(conversation, slot, headers).await
    }

    /// Offers a slot for what has been left to a newer release since `since`.
    pub async fn offer_left(
        &self,
        conversation: &Conversation,
        slot: &Slot,
        since: Timestamp,
    ) -> Result<Offered, PublishError> {
        let mut headers = HeaderMap::new();
        headers.insert(LEFT_SINCE, since.0.to_string());
        self.publish(conversation, slot, headers).await
    }

    async fn publish(
        &self,
        conversation: &Conversation,
        slot: &Slot,
        mut headers: HeaderMap,
    ) -> Result<Offered, PublishError> {
        headers.insert(KIND, "run");
        headers.insert(TURN, header::turn(conversation, slot.to));
        let payload = token::encode_slot(slot).into();
        match self.nats.publish(&subject::slot(conversation), headers, payload).await {
            Ok(_) => Ok(Offered::Taken),
            Err(PublishError::Occupied) => Ok(Offered::Occupied),
            Err(e) => Err(e),
        }
    }

    /// Takes out slots that are confirmed already, which would keep their conversations occupied for ever.
    /// Gives how many there were.
    pub async fn clear(&self) -> Result<usize, nats::Error> {
        settled::clear(&self.nats, QUEUE).await
    }
}

/// What a slot says that woke a conversation: whose permit it has, and what it was woken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Woken {
    /// The worker process that keeps the permit.
    pub worker: String,
    /// The conversation's entry in the index of those who wait for `expert`.
    pub entry: Seq,
    pub expert: ExpertId,
}

/// `None` for a slot that woke nothing.
pub fn woken(headers: &HeaderMap) -> Option<Woken> {
    let mut words = headers.get(WOKEN)?.as_str().split(' ');
    let worker = words.next()?.to_owned();
    let entry = Seq(words.next()?.parse().ok()?);
    Some(Woken { worker, entry, expert: ExpertId::parse(words.next()?).ok()? })
}

/// Whether a message brought this slot.
pub fn is_first(headers: &HeaderMap) -> bool {
    headers.get(FIRST).is_some()
}
