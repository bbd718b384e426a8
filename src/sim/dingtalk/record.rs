//! What the simulated cloud saw and did, in order and with time.
//!
//! Guarantees that a record's sequence is its place in what happened, so that an oracle can check
//! order and doubling per conversation. Keeps the newest records only, up to a limit.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::sim::locked;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// A person wrote.
    #[default]
    Said,
    /// A frame or callback went out to the service; `detail` is the frame's own message id.
    Pushed,
    /// There was nobody to push to.
    Undelivered,
    /// The service answered a push; `detail` is its code, `body` the whole ack.
    Acked,
    /// An answer to a SYSTEM frame, or one to a push that no longer waits.
    SystemAcked,
    /// The last attempt went unanswered.
    GaveUp,
    /// The robot spoke; `detail` is the route: `webhook`, `oto`, `group`, `sync`.
    Reply,
    /// A reaction was put on a message.
    Reaction,
    /// A card was created, delivered, updated or streamed; `detail` says which.
    Card,
    /// A call was refused; `detail` is its code.
    Refused,
    /// A scripted fault took effect; `detail` is the API.
    Faulted,
    /// A gateway ticket was given out.
    Opened,
    Connected,
    Closed,
    /// An access token was given out.
    Token,
    Download,
    Upload,
    /// A card callback address was registered.
    Registered,
}

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// From 1, without gaps.
    pub seq: u64,
    pub at_ms: i64,
    pub kind: Kind,
    /// The client id of the robot's app.
    pub robot: String,
    /// DingTalk's conversation id.
    pub conversation: String,
    /// Who wrote, pressed, or is written to: a staff id.
    pub person: String,
    /// The message this is about; of a reply its process query key.
    pub msg_id: String,
    pub connection: u64,
    /// Counts the pushes of one message.
    pub attempt: u32,
    pub detail: String,
    pub text: String,
    pub body: Value,
}

/// Totals since the start, for benchmarks that keep no records.
#[derive(Default)]
pub struct Counts {
    pub said: AtomicU64,
    pub acked: AtomicU64,
    pub replies: AtomicU64,
}

pub struct Book {
    records: Mutex<VecDeque<Arc<Record>>>,
    last: watch::Sender<u64>,
    records_max: usize,
    pub counts: Counts,
}

impl Book {
    pub fn new(records_max: usize) -> Self {
        Self {
            records: Mutex::default(),
            last: watch::Sender::new(0),
            records_max,
            counts: Counts::default(),
        }
    }

    /// Gives the record its sequence.
    pub fn append(&self, mut record: Record) {
        match record.kind {
            Kind::Said => self.counts.said.fetch_add(1, Ordering::Relaxed),
            Kind::Acked => self.counts.acked.fetch_add(1, Ordering::Relaxed),
            Kind::Reply => self.counts.replies.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
        let mut records = locked(&self.records);
        let seq = *self.last.borrow() + 1;
        record.seq = seq;
        records.push_back(Arc::new(record));
        if records.len() > self.records_max {
            records.pop_front();
        }
        self.last.send_replace(seq);
    }

    pub fn last(&self) -> u64 {
        *self.last.borrow()
    }

    /// The records after `seq`, oldest first.
    pub fn since(&self, seq: u64, limit: usize) -> Vec<Arc<Record>> {
        let records = locked(&self.records);
        let first = records.front().map_or(1, |record| record.seq);
        let skip = usize::try_from((seq + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        records.iter().skip(skip).take(limit).cloned().collect()
    }

    /// Waits until there is a record after `seq`.
    pub async fn past(&self, seq: u64) {
        let mut last = self.last.subscribe();
        last.wait_for(|last| *last > seq).await.ok(); // the sender lives as long as this book
    }

    /// The first record after `seq` that fits, waiting for it at most `limit`.
    pub async fn wait_for(
        &self,
        seq: u64,
        limit: Duration,
        fits: impl Fn(&Record) -> bool,
    ) -> Option<Arc<Record>> {
        let search = async {
            let mut seen = seq;
            loop {
                for record in self.since(seen, usize::MAX) {
                    seen = record.seq;
                    if fits(&record) {
                        return record;
                    }
                }
                self.past(seen).await;
            }
        };
        tokio::time::timeout(limit, search).await.ok()
    }
}
