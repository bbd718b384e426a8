//! A model of the broker: the log, timers that become tokens, slots that come again when nobody
//! acknowledges them, the journal with its compare-and-set, the hand-off index, dead letters.
//!
//! Kept as small as its promises; that the real broker keeps them is shown in `tests/it/broker.rs`.

use std::collections::{BTreeMap, BTreeSet};

use dingtalk_trigger::domain::debounce::Token;
use dingtalk_trigger::domain::entry::{Entry, Logged};
use dingtalk_trigger::domain::id::Seq;
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::domain::turn::{Head, Phase, Step};
use dingtalk_trigger::protocol::token::Slot;

/// A conversation, by its number.
pub(crate) type Place = usize;

/// A message of a work queue, in hands or not.
#[derive(Clone)]
pub(crate) struct Held<T> {
    pub(crate) id: u64,
    pub(crate) place: Place,
    pub(crate) body: T,
    visible_at: i64,
    pub(crate) deliveries: u64,
}

pub(crate) struct Queue<T> {
    held: Vec<Held<T>>,
    ack_wait_ms: i64,
    last_id: u64,
}

impl<T: Clone> Queue<T> {
    pub(crate) fn new(ack_wait_ms: i64) -> Self {
        Self { held: vec![], ack_wait_ms, last_id: 0 }
    }

    pub(crate) fn put(&mut self, place: Place, body: T) {
        self.last_id += 1;
        self.held.push(Held { id: self.last_id, place, body, visible_at: 0, deliveries: 0 });
    }

    /// One of the messages that nobody holds now, chosen by `pick`.
    pub(crate) fn take(&mut self, now: i64, pick: u64) -> Option<Held<T>> {
        let free: Vec<_> =
            (0..self.held.len()).filter(|i| self.held[*i].visible_at <= now).collect();
        let index = *free.get(usize::try_from(pick).unwrap_or(0) % free.len().max(1))?;
        let held = &mut self.held[index];
        held.visible_at = now + self.ack_wait_ms;
        held.deliveries += 1;
        Some(held.clone())
    }

    pub(crate) fn renew(&mut self, id: u64, now: i64) {
        for held in self.held.iter_mut().filter(|held| held.id == id) {
            held.visible_at = now + self.ack_wait_ms;
        }
    }

    pub(crate) fn ack(&mut self, id: u64) {
        self.held.retain(|held| held.id != id);
    }

    pub(crate) fn has(&self, place: Place) -> bool {
        self.held.iter().any(|held| held.place == place)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(crate) fn next_at(&self) -> Option<i64> {
        self.held.iter().map(|held| held.visible_at).min()
    }
}

/// A journal record with what its answer was made of.
#[derive(Clone, Default)]
pub(crate) struct Record {
    pub(crate) seq: Seq,
    pub(crate) nonce: u64,
    pub(crate) count: u32,
    pub(crate) step: Option<Step>,
    pub(crate) head: Head,
    /// The attempt whose answer this record brings.
    pub(crate) answers: Option<u32>,
}

pub(crate) struct Broker {
    pub(crate) log: Vec<(Place, Logged)>,
    pub(crate) intake: Queue<Logged>,
    pub(crate) due: Queue<Token>,
    pub(crate) slots: Queue<Slot>,
    pub(crate) timers: BTreeMap<(Place, String), (Timestamp, Token)>,
    pub(crate) journal: BTreeMap<Place, Vec<Record>>,
    /// Where a conversation stands in the line, and the beginning of the turn that waits.
    pub(crate) index: BTreeMap<Place, (u64, Seq)>,
    /// Letters by sequence, with the turn they bury.
    pub(crate) dead: BTreeMap<u64, (Place, Seq)>,
    pub(crate) buried: BTreeMap<(Place, Seq), u64>,
    /// The message ids that the log knows.
    stored: BTreeSet<String>,
    last_seq: u64,
}

impl Broker {
    pub(crate) fn new() -> Self {
        Self {
            log: vec![],
            intake: Queue::new(5_000),
            due: Queue::new(5_000),
            slots: Queue::new(15_000),
            timers: BTreeMap::new(),
            journal: BTreeMap::new(),
            index: BTreeMap::new(),
            dead: BTreeMap::new(),
            buried: BTreeMap::new(),
            stored: BTreeSet::new(),
            last_seq: 0,
        }
    }

    fn next_seq(&mut self) -> u64 {
        self.last_seq += 1;
        self.last_seq
    }

    pub(crate) fn append(&mut self, place: Place, at: i64, entry: Entry) {
        let logged = Logged { seq: Seq(self.next_seq()), at: Timestamp(at), trace: None, entry };
        self.log.push((place, logged.clone()));
        self.intake.put(place, logged);
    }

    pub(crate) fn entries(&self, place: Place, after: Seq, to: Seq) -> Vec<Logged> {
        let begin = self.log.partition_point(|(_, logged)| logged.seq <= after);
        let rest = self.log[begin..].iter().take_while(|(_, logged)| logged.seq <= to);
        rest.filter(|(of, _)| *of == place).map(|(_, logged)| logged.clone()).collect()
    }

    pub(crate) fn newest(&self, place: Place) -> Option<Logged> {
        let newest = self.log.iter().rev().find(|(of, _)| *of == place);
        newest.map(|(_, logged)| logged.clone())
    }

    pub(crate) fn at(&self, place: Place, seq: Seq) -> Option<&Logged> {
        let index = self.log.binary_search_by_key(&seq, |(_, logged)| logged.seq).ok()?;
        self.log.get(index).filter(|(of, _)| *of == place).map(|(_, logged)| logged)
    }

    pub(crate) fn has_stored(&self, id: &str) -> bool {
        self.stored.contains(id)
    }

    pub(crate) fn note_stored(&mut self, id: &str) {
        self.stored.insert(id.to_owned());
    }

    pub(crate) fn last(&self, place: Place) -> Record {
        self.journal.get(&place).and_then(|records| records.last()).cloned().unwrap_or_default()
    }

    /// Stores behind `after` or not at all.
    pub(crate) fn compare_and_set(&mut self, place: Place, after: Seq, mut record: Record) -> bool {
        if self.last(place).seq != after {
            return false;
        }
        record.seq = Seq(self.next_seq());
        if let Some(turn) = &mut record.head.turn
            && let Phase::Sending(sending) = &mut turn.phase
        {
            sending.answer = sending.answer.or(Some(record.seq));
        }
        self.journal.entry(place).or_default().push(record);
        true
    }

    /// A turn that is in the index keeps its place; another one's entry is replaced.
    pub(crate) fn enter(&mut self, place: Place, turn: Seq) {
        if self.index.get(&place).is_none_or(|(_, of)| *of != turn) {
            let seq = self.next_seq();
            self.index.insert(place, (seq, turn));
        }
    }

    /// Once for each turn.
    pub(crate) fn bury(&mut self, place: Place, last: Seq) {
        if !self.buried.contains_key(&(place, last)) {
            let seq = self.next_seq();
            self.buried.insert((place, last), seq);
            self.dead.insert(seq, (place, last));
        }
    }

    /// Fires what is due.
    pub(crate) fn tick(&mut self, now: i64) {
        let ripe: Vec<_> = self
            .timers
            .iter()
            .filter(|(_, (at, _))| at.0 <= now)
            .map(|(key, (_, token))| (key.clone(), *token))
            .collect();
        for (key, token) in ripe {
            self.due.put(key.0, token);
            self.timers.remove(&key);
        }
    }

    pub(crate) fn next_at(&self) -> Option<i64> {
        let timers = self.timers.values().map(|(at, _)| at.0).min();
        let queues = [self.intake.next_at(), self.due.next_at(), self.slots.next_at()];
        queues.into_iter().chain([timers]).flatten().min()
    }
}
