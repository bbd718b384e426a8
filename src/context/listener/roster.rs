//! The connections of one listener: who has a seat, and who must leave it.
//!
//! Guarantees that there are never more than the limit: the oldest connection without a request in progress
//! makes room, then the one whose request has been arriving for longest; if every connection is being
//! answered, the new one is refused. Closing is the connection's own: it is told here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Limits;
use super::phase::{Claim, End, Phase, State};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::seldom::Seldom;

pub(super) struct Roster {
    limits: Limits,
    metrics: Arc<Metrics>,
    what: &'static str,
    seats: Mutex<Seats>,
    full: Seldom,
}

#[derive(Default)]
struct Seats {
    /// By age: the oldest has the least number.
    taken: BTreeMap<u64, Arc<Watch>>,
    next: u64,
    is_draining: bool,
}

/// What is known of one connection; shared by all that is part of it.
pub(super) struct Watch {
    state: Mutex<State>,
    close: Notify,
}

/// A connection's place; given back when it is dropped.
pub(super) struct Seat {
    pub(super) watch: Arc<Watch>,
    number: u64,
    roster: Arc<Roster>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.roster.seats().taken.remove(&self.number);
    }
}

impl Seat {
    /// The limit was broken in a way that only the connection saw.
    pub(super) fn breached(&self, limit: &'static str) {
        self.roster.metrics.limit_breached(limit);
    }
}

impl Roster {
    pub(super) fn new(limits: Limits, metrics: Arc<Metrics>, what: &'static str) -> Self {
        let full = Seldom::new(Duration::from_secs(60));
        Self { limits, metrics, what, seats: Mutex::default(), full }
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.seats().taken.is_empty()
    }

    /// For a new connection; `None` where every other is being answered.
    pub(super) fn seat(self: &Arc<Self>) -> Option<Seat> {
        let now = Instant::now();
        let mut seats = self.seats();
        if seats.taken.len() >= self.limits.connections_max {
            self.breached();
            if !seats.close_one(now) {
                return None;
            }
        }
        let number = seats.next;
        seats.next += 1;
        let watch = Arc::new(Watch { state: Mutex::new(State::new(now)), close: Notify::new() });
        seats.taken.insert(number, watch.clone());
        Some(Seat { watch, number, roster: self.clone() })
    }

    fn breached(&self) {
        self.metrics.limit_breached("connections");
        if let Some(times) = self.full.note() {
            let (what, limit) = (self.what, self.limits.connections_max);
            tracing::warn!(what, limit, times, "connection limit met; closing idle connections");
        }
    }

    /// The process lacks files: one connection is closed, if one can be.
    pub(super) fn make_room(&self) {
        self.metrics.limit_breached("files");
        self.seats().close_one(Instant::now());
    }

    pub(super) fn drain(&self) {
        self.seats().is_draining = true;
        self.close_overdue();
    }

    /// Closes every connection whose time is over.
    pub(super) fn close_overdue(&self) {
        let now = Instant::now();
        let seats = self.seats();
        for watch in seats.taken.values() {
            match watch.state().overdue(now, &self.limits, seats.is_draining) {
                Some(End::Breach(limit)) => {
                    self.metrics.limit_breached(limit);
                    watch.close.notify_one();
                }
                Some(End::Ordinary) => watch.close.notify_one(),
                None => {}
            }
        }
    }
}

impl Seats {
    /// Takes the seat of the connection that has the least claim to it, the oldest first. True where there
    /// was one.
    fn close_one(&mut self, now: Instant) -> bool {
        let mut found: Option<(Claim, u64)> = None;
        for (number, watch) in &self.taken {
            let claim = watch.state().claim(now);
            if let Some(claim) = claim
                && found.is_none_or(|(least, _)| claim < least)
            {
                found = Some((claim, *number));
                if claim == Claim::None {
                    break;
                }
            }
        }
        let watch = found.and_then(|(_, number)| self.taken.remove(&number));
        watch.inspect(|watch| watch.close.notify_one()).is_some()
    }
}

impl Watch {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when the connection is to be closed.
    pub(super) async fn closed(&self) {
        self.close.notified().await;
    }

    /// Bytes have arrived.
    pub(super) fn received(&self) {
        let mut state = self.state();
        if matches!(state.phase, Phase::Fresh | Phase::Idle) {
            *state = State { phase: Phase::Head, since: Instant::now(), ..*state };
        }
    }

    /// A head is complete.
    pub(super) fn begun(&self, has_body: bool) {
        let mut state = self.state();
        // A request that came together with the one before was not seen to arrive.
        if state.phase != Phase::Head {
            state.since = Instant::now();
        }
        state.is_refused = false;
        state.phase = if has_body { Phase::Body } else { Phase::Answering };
    }

    pub(super) fn complete(&self) {
        self.state().phase = Phase::Answering;
    }

    /// The rest of the request is not read.
    pub(super) fn refused(&self) {
        let mut state = self.state();
        (state.phase, state.is_refused) = (Phase::Answering, true);
    }

    /// The answer is written.
    pub(super) fn answered(&self) {
        let mut state = self.state();
        *state = State { phase: Phase::Idle, since: Instant::now(), ..*state };
    }

    /// The connection is closing. True where the client may still be sending a request that is not read:
    /// what comes is thrown away for a moment.
    pub(super) fn lingers(&self) -> bool {
        let mut state = self.state();
        let may_send = state.is_refused || state.phase == Phase::Head;
        if may_send {
            *state =
                State { phase: Phase::Lingering, is_refused: false, ..State::new(Instant::now()) };
        }
        may_send || state.phase == Phase::Lingering
    }

    /// Whether the client takes what is written.
    pub(super) fn stalled(&self, is_stalled: bool) {
        self.state().stalled = is_stalled.then(Instant::now);
    }
}
