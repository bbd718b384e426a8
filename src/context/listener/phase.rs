//! What a connection is doing, as far as its limits of time are concerned.
//!
//! Pure: the times are given. Guarantees that a connection in any phase but one has a time by which it must
//! have left it; the exception is a complete request, whose answer takes what its route gives it.

use std::time::Duration;

use tokio::time::Instant;

use super::Limits;

/// A request that began less than this before a stop, or before the last seat was taken, may still come in.
pub(super) const RECENT: Duration = Duration::from_secs(1);
/// How long a client that was refused while it still sends may go on, so that it sees the answer.
pub(super) const LINGER: Duration = Duration::from_millis(500);
/// How long a client may take none of its answer.
pub(super) const STALLED_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Accepted; nothing has arrived yet.
    Fresh,
    /// Between two requests.
    Idle,
    /// The head of a request is arriving.
    Head,
    /// The head is complete, the body is not.
    Body,
    /// The request is complete, or is refused before it is.
    Answering,
    /// Answered; what the client still sends is thrown away.
    Lingering,
}

/// A phase and when it began. [`Phase::Body`] keeps the beginning of its head.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) since: Instant,
    /// Since when the client takes nothing of what is written.
    pub(super) stalled: Option<Instant>,
    /// The request was answered before all of it had arrived.
    pub(super) is_refused: bool,
}

/// Which connection goes first if there are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Claim {
    /// No request is in progress.
    None,
    /// Its request has been arriving for longer than [`RECENT`].
    Slow,
}

impl State {
    pub(super) fn new(now: Instant) -> Self {
        Self { phase: Phase::Fresh, since: now, stalled: None, is_refused: false }
    }

    /// The limit that is broken at `now`; a name for `dt_limit_breaches_total`, or none where the end is an
    /// ordinary one.
    pub(super) fn overdue(&self, now: Instant, limits: &Limits, is_draining: bool) -> Option<End> {
        let age = now.saturating_duration_since(self.since);
        let stalled = self.stalled.map(|since| now.saturating_duration_since(since));
        if stalled.is_some_and(|stalled| stalled >= STALLED_MAX) {
            return Some(End::Breach("answer_stalled"));
        }
        let (limit, end) = match self.phase {
            Phase::Fresh => (limits.head_timeout, End::Breach("head_seconds")),
            Phase::Head => (limits.head_timeout, End::Breach("head_seconds")),
            Phase::Body => (limits.receive_timeout, End::Breach("receive_seconds")),
            Phase::Idle => (limits.idle_timeout, End::Ordinary),
            // The connection ends that by itself: this is the net below.
            Phase::Lingering => (LINGER * 2, End::Ordinary),
            Phase::Answering => return None,
        };
        if age >= limit {
            return Some(end);
        }
        (is_draining && (self.phase == Phase::Idle || age >= RECENT)).then_some(End::Ordinary)
    }

    /// `None` where the connection keeps its seat.
    pub(super) fn claim(&self, now: Instant) -> Option<Claim> {
        match self.phase {
            Phase::Fresh | Phase::Idle | Phase::Lingering => Some(Claim::None),
            Phase::Head | Phase::Body => {
                (now.saturating_duration_since(self.since) >= RECENT).then_some(Claim::Slow)
            }
            Phase::Answering => None,
        }
    }
}

/// Why a connection is closed from our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Ordinary,
    Breach(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(phase: Phase, since: Instant) -> State {
        State { phase, ..State::new(since) }
    }

    #[tokio::test]
    async fn every_phase_but_the_answer_has_its_limit() {
        let (limits, start) = (Limits::default(), Instant::now());
        let cases = [
            (Phase::Fresh, 5.0, Some(End::Breach("head_seconds"))),
            (Phase::Head, 5.0, Some(End::Breach("head_seconds"))),
            (Phase::Body, 10.0, Some(End::Breach("receive_seconds"))),
            (Phase::Idle, 75.0, Some(End::Ordinary)),
            (Phase::Lingering, 1.0, Some(End::Ordinary)),
            (Phase::Answering, 1e6, None),
        ];
        for (phase, seconds, expected) in cases {
            let due = start + Duration::from_secs_f64(seconds);
            let before = due.checked_sub(Duration::from_millis(1)).unwrap();
            assert_eq!(at(phase, start).overdue(due, &limits, false), expected, "{phase:?}");
            assert_eq!(at(phase, start).overdue(before, &limits, false), None, "{phase:?}");
        }
    }

    #[tokio::test]
    async fn a_stop_ends_what_is_not_a_complete_request() {
        let (limits, start) = (Limits::default(), Instant::now());
        let cases = [
            (Phase::Fresh, RECENT, Duration::ZERO),
            (Phase::Head, RECENT, Duration::ZERO),
            (Phase::Body, RECENT, Duration::ZERO),
            (Phase::Idle, Duration::ZERO, Duration::MAX),
        ];
        for (phase, ended, kept) in cases {
            let state = at(phase, start);
            assert_eq!(
                state.overdue(start + ended, &limits, true),
                Some(End::Ordinary),
                "{phase:?}"
            );
            if kept != Duration::MAX {
                assert_eq!(state.overdue(start + kept, &limits, true), None, "{phase:?}");
            }
        }
        let answering = at(Phase::Answering, start);
        assert_eq!(answering.overdue(start + Duration::from_secs(60), &limits, true), None);
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_of_its_answer_is_cut_off() {
        let (limits, start) = (Limits::default(), Instant::now());
        let state = State { stalled: Some(start), ..at(Phase::Answering, start) };
        assert_eq!(state.overdue(start + STALLED_MAX / 2, &limits, false), None);
        let expected = Some(End::Breach("answer_stalled"));
        assert_eq!(state.overdue(start + STALLED_MAX, &limits, false), expected);
    }

    #[tokio::test]
    async fn a_seat_is_taken_from_the_idle_first_and_never_from_an_answer() {
        let start = Instant::now();
        let cases = [
            (Phase::Fresh, Some(Claim::None), Some(Claim::None)),
            (Phase::Idle, Some(Claim::None), Some(Claim::None)),
            (Phase::Lingering, Some(Claim::None), Some(Claim::None)),
            (Phase::Head, None, Some(Claim::Slow)),
            (Phase::Body, None, Some(Claim::Slow)),
            (Phase::Answering, None, None),
        ];
        for (phase, young, old) in cases {
            let state = at(phase, start);
            assert_eq!(
                (state.claim(start), state.claim(start + RECENT)),
                (young, old),
                "{phase:?}"
            );
        }
        assert!(Claim::None < Claim::Slow);
    }
}
