//! The world of one history: broker, people, experts, pods, time, and what goes wrong.
//!
//! Pods do one effect after the other; between any two of them a pod may die, be stopped for longer
//! than its lease, or let others go first. Everything follows from the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dingtalk_trigger::domain::binding::BusyPolicy;
use dingtalk_trigger::domain::debounce::{TimerKind, Token};
use dingtalk_trigger::domain::id::{Conversation, ExpertId, IntegrationId, Seq};
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::domain::turn::{Availability, Parked, Policy};
use dingtalk_trigger::protocol::subject;
use dingtalk_trigger::protocol::token::Slot;

use crate::broker::{Broker, Place};
use crate::oracle::Oracle;
use crate::people::Pushed;
use crate::rng::Rng;

pub(crate) const PLACES: Place = 3;
pub(crate) const POLICY: Policy = Policy {
    handoff_age_max: Duration::from_secs(3600),
    entry_age_max: Duration::from_secs(5400),
    runtime_timeout: Duration::from_secs(600),
};
pub(crate) const WAIT_LEAST: Duration = Duration::from_secs(60);
/// In the quiet people go on to press what they see for so many rounds.
const PRESSING: u32 = 60;
/// Others that may go first inside others that go first.
const DEPTH_MAX: u32 = 3;

/// A fault of the service, planted to see it caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    PositionMovedEarly,
    SlotIgnored,
    StaleAttemptAccepted,
    TimerLost,
    FollowForgotten,
    /// What was said into a run counts as read.
    OfferTakenForRead,
    /// That a run has read something is not recorded.
    ReadForgotten,
    /// DingTalk gets its answer before the log has the message.
    AnsweredEarly,
    /// What DingTalk pushes again is taken for new.
    DuplicateStored,
    /// A segment that failed is said behind the next one.
    SegmentPassedOver,
    /// An answer that comes after its turn has ended is said all the same.
    LateAnswerSaid,
    /// A press on what was answered already counts.
    UsedPressCounts,
    /// What is delivered of an old session brings that one back.
    SessionRevived,
    /// What is stopped works on at the runtime.
    RunLeft,
    /// The group is told of the links before their asker has them.
    ToldBeforeAsked,
}

/// A runtime took a turn and will answer it.
#[derive(Clone)]
pub(crate) struct Promise {
    pub(crate) place: Place,
    pub(crate) turn: Seq,
    pub(crate) attempt: u32,
    pub(crate) hearing: usize,
    pub(crate) heard: BTreeSet<Seq>,
}

/// A run at the runtime: what it was asked and what it read since, and what was said and not read yet.
#[derive(Clone)]
pub(crate) struct Hearing {
    pub(crate) place: Place,
    /// The turn that began it, and when that one was started.
    pub(crate) of: (Seq, Timestamp),
    pub(crate) heard: BTreeSet<Seq>,
    pub(crate) waiting: Vec<Seq>,
    /// The ends of what was read since it was asked, as the run tells them.
    pub(crate) read: Vec<Seq>,
    pub(crate) has_ended: bool,
}

/// The pod is gone between two effects.
pub(crate) struct Died;

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) now: i64,
    pub(crate) broker: Broker,
    pub(crate) oracle: Oracle,
    pub(crate) bug: Option<Bug>,
    pub(crate) availability: Availability,
    pub(crate) is_calm: bool,
    pub(crate) steps: u64,
    pub(crate) faults: u64,
    /// Runtimes that took a turn and will answer.
    pub(crate) promised: Vec<Promise>,
    /// How many messages there were, and those that DingTalk still pushes.
    pub(crate) said: u64,
    pub(crate) pushed: Vec<Pushed>,
    /// Questions with buttons that people have seen.
    pub(crate) shown: Vec<(Place, Seq)>,
    /// The runs of the runtime, by their number.
    pub(crate) hearings: Vec<Hearing>,
    /// The turns whose runtime answered by itself: such a one has no threads.
    pub(crate) answered_late: BTreeSet<(Place, Seq)>,
    /// Runs that believe they hold their slot: place and time of the last confirmation.
    pub(crate) runs: BTreeMap<u64, (Place, i64)>,
    /// Conversations whose run died after its ack, before it looked at what follows.
    pub(crate) excused: BTreeSet<Place>,
    pub(crate) rescued: u64,
    depth: u32,
    swept_at: i64,
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>) -> Self {
        Self {
            rng: Rng(seed),
            now: 1_000_000,
            broker: Broker::new(),
            oracle: Oracle::default(),
            bug,
            availability: Availability::Ready,
            is_calm: false,
            steps: 0,
            faults: 0,
            promised: vec![],
            said: 0,
            pushed: vec![],
            shown: vec![],
            hearings: vec![],
            answered_late: BTreeSet::new(),
            runs: BTreeMap::new(),
            excused: BTreeSet::new(),
            rescued: 0,
            depth: 0,
            swept_at: 0,
        }
    }

    /// One history: disorder, then quiet, in which everything must come to its end.
    pub(crate) fn run(mut self, acts: u64) -> Self {
        for _ in 0..acts {
            self.act();
            if self.oracle.violation.is_some() {
                return self;
            }
        }
        self.is_calm = true;
        self.availability = Availability::Ready;
        for round in 0..4000 {
            let is_quiet = round >= PRESSING;
            if !is_quiet {
                self.press();
            }
            self.work();
            if self.oracle.violation.is_some() || is_quiet && self.is_finished() {
                break;
            }
        }
        let left = self.left();
        if !left.is_empty() {
            self.oracle.blame(format!("I5: never finished: {left}"));
        }
        self
    }

    /// A pod's clock, corrected by the broker's as far as that goes.
    pub(crate) fn clock(&mut self) -> Timestamp {
        let skew = if self.is_calm { 0 } else { self.rng.millis(400) - 200 };
        Timestamp(self.now + skew)
    }

    /// Between two effects of one pod.
    pub(crate) fn breathe(&mut self) -> Result<(), Died> {
        self.steps += 1;
        self.now += self.rng.millis(30);
        if self.is_calm {
            return Ok(());
        }
        if self.rng.once_in(40) {
            self.faults += 1;
            return Err(Died);
        }
        if self.rng.once_in(60) {
            self.faults += 1;
            self.now += self.rng.millis(40_000);
        }
        if self.depth < DEPTH_MAX && self.rng.once_in(3) {
            self.depth += 1;
            for _ in 0..self.rng.below(4) {
                self.act();
            }
            self.depth -= 1;
        }
        Ok(())
    }

    /// Something happens.
    fn act(&mut self) {
        self.steps += 1;
        self.now += self.rng.millis(300);
        self.broker.tick(self.now);
        let place = usize::try_from(self.rng.below(3)).unwrap_or(0);
        match self.rng.below(100) {
            0..=13 => self.say(place),
            14..=15 => self.command(place),
            16..=17 => self.press_replay(),
            18..=19 => self.move_expert(),
            20..=22 => self.answer_late(),
            23 => self.now += self.rng.millis(700_000),
            24..=30 => self.now += self.rng.millis(6_000),
            31..=34 => self.press(),
            35..=37 => self.push_again(),
            _ => self.work_one(),
        }
    }

    /// The service does what there is to do, one message of one stage.
    fn work_one(&mut self) {
        let pick = self.rng.next();
        match self.rng.below(10) {
            0..=2 => {
                if let Some(held) = self.broker.intake.take(self.now, pick) {
                    self.intake(&held).ok();
                }
            }
            3..=5 => {
                if let Some(held) = self.broker.due.take(self.now, pick) {
                    self.due(&held).ok();
                }
            }
            6..=8 => {
                if let Some(held) = self.broker.slots.take(self.now, pick) {
                    self.dispatch(&held);
                }
            }
            _ => {
                self.hand_off().ok();
                self.sweep();
            }
        }
    }

    /// Calm: everything there is to do now, and then on to what comes next.
    fn work(&mut self) {
        self.broker.tick(self.now);
        for _ in 0..30 {
            self.work_one();
        }
        if let Some(next) = self.broker.next_at() {
            self.now = self.now.max(next);
        }
        self.now += 1_000;
        self.push_again();
        self.answer_late();
    }

    fn move_expert(&mut self) {
        self.availability = match self.rng.below(8) {
            0 => Availability::Away(Parked::Missing),
            1 => Availability::Away(Parked::Busy),
            2 => Availability::Away(Parked::Paused),
            3 => Availability::Unknown,
            _ => Availability::Ready,
        };
    }

    /// What nothing brings back by itself is brought back, and blamed unless a death explains it.
    fn sweep(&mut self) {
        if self.now - self.swept_at < 60_000 {
            return;
        }
        self.swept_at = self.now;
        for place in 0..PLACES {
            let head = self.broker.last(place).head;
            let Some(newest) = self.broker.newest(place) else { continue };
            let now = Timestamp(self.now);
            let overdue = head.turn.as_ref().filter(|turn| turn.is_overdue(now));
            if let Some(to) = overdue.map(|turn| turn.last) {
                self.offer(place, Slot { to, window: Duration::ZERO });
                continue;
            }
            let is_parked = head.turn.as_ref().is_some_and(crate::shell::is_parked);
            let is_on_its_way = self.broker.slots.has(place)
                || self.broker.due.has(place)
                || self.broker.intake.has(place)
                || self.broker.timers.keys().any(|(of, _)| *of == place)
                || is_parked && self.broker.index.contains_key(&place);
            let is_old = self.now - newest.at.0 > 120_000;
            if newest.seq <= head.position || !is_old || is_on_its_way {
                continue;
            }
            // Those that are in somebody's hands at this moment are not stranded.
            if self.depth > 0 {
                continue;
            }
            self.rescued += 1;
            if !self.excused.remove(&place) {
                self.oracle.blame(format!("I5: conversation {place} strands at {}", head.position));
            }
            let window = Duration::ZERO;
            let token = Token { seq: newest.seq, kind: TimerKind::Now, window, refusals: 0 };
            let key = (place, format!("{}w{}", newest.seq, self.now));
            self.broker.timers.insert(key, (Timestamp(self.now), token));
        }
    }

    fn is_finished(&self) -> bool {
        self.left().is_empty()
    }

    /// What is not at its end, in words.
    fn left(&self) -> String {
        let mut left = Vec::new();
        for place in 0..PLACES {
            let head = self.broker.last(place).head;
            let newest = self.broker.newest(place).map_or(Seq(0), |newest| newest.seq);
            if head.position != newest || head.turn.is_some() {
                left.push(format!("{place} at {} of {newest}, {:?}", head.position, head.turn));
            }
        }
        let broker = &self.broker;
        if !(broker.slots.is_empty() && broker.due.is_empty() && broker.intake.is_empty()) {
            left.push("messages".to_owned());
        }
        if !self.pushed.is_empty() {
            left.push("pushes".to_owned());
        }
        if !broker.index.is_empty() {
            left.push(format!("index {:?}", broker.index));
        }
        left.join("; ")
    }
}

/// The window of a conversation's trigger.
pub(crate) fn window(place: Place) -> Duration {
    Duration::from_secs(if place == 0 { 0 } else { 5 })
}

/// The busy policy of a conversation's trigger.
pub(crate) fn busy_policy(place: Place) -> BusyPolicy {
    match place {
        0 => BusyPolicy::Steer,
        1 => BusyPolicy::Interrupt,
        _ => BusyPolicy::Queue,
    }
}

pub(crate) fn expert() -> ExpertId {
    ExpertId::parse("expert").expect("an expert's id")
}

pub(crate) fn conversation(place: Place) -> Conversation {
    let integration = IntegrationId::parse("robot").expect("an integration's id");
    subject::conversation(&integration, &place.to_string(), None)
}
