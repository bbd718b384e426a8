//! What became of each conversation, from its log and its journal: the turns, and what does not tile.
//!
//! A turn is a range of the log. The ranges of a conversation follow each other without a gap and without
//! an overlap, and end where the log ends; what was stopped was stopped by a command that the log has behind
//! it. Whatever contradicts that is a fault, in words.

use std::collections::BTreeMap;

use dingtalk_trigger::domain::entry::EntryKind;
use dingtalk_trigger::domain::id::{Conversation, Seq};
use dingtalk_trigger::domain::turn::{Phase, Step};

use crate::scribe::{Logged, Noted, Written};

/// A turn that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) last: Seq,
    pub(crate) step: Step,
    pub(crate) ended: i64,
    /// How often the service knew that it said something again whose outcome was unknown to it: a send
    /// taken over from another run, or repeated after a failure.
    pub(crate) resends: usize,
    /// The highest number that an attempt to ask or to answer had.
    pub(crate) attempts: u32,
}

#[derive(Default)]
pub(crate) struct History {
    /// By its conversation and its last entry.
    pub(crate) turns: BTreeMap<Conversation, BTreeMap<Seq, Turn>>,
    pub(crate) faults: Vec<String>,
    /// Conversations with an entry that no ended turn has.
    pub(crate) unfinished: Vec<String>,
}

#[derive(Default)]
struct Both<'a> {
    log: Vec<&'a Logged>,
    journal: Vec<&'a Noted>,
}

impl Both<'_> {
    /// Whether the turn that this record ends was told to by then: by a command behind it in the log.
    fn is_stopped(&self, noted: &Noted) -> bool {
        let last = noted.record.head.position;
        self.log.iter().any(|logged| {
            logged.kind == EntryKind::Control && logged.seq > last && logged.at <= noted.at
        })
    }
}

impl History {
    pub(crate) fn of(written: &Written) -> Self {
        let mut history = Self::default();
        let mut conversations: BTreeMap<&Conversation, Both<'_>> = BTreeMap::new();
        for logged in &written.log {
            conversations.entry(&logged.conversation).or_default().log.push(logged);
        }
        for noted in &written.journal {
            conversations.entry(&noted.conversation).or_default().journal.push(noted);
        }
        for (conversation, both) in conversations {
            history.read(conversation, &both);
        }
        history
    }

    /// The turn that the entry at `seq` belongs to.
    pub(crate) fn turn_of(&self, conversation: &Conversation, seq: Seq) -> Option<Turn> {
        let turns = self.turns.get(conversation)?;
        turns.range(seq..).next().map(|(_, turn)| *turn)
    }

    fn read(&mut self, conversation: &Conversation, both: &Both<'_>) {
        let mut position = Seq(0);
        let (mut resends, mut attempts) = (0, 0);
        for (index, noted) in both.journal.iter().enumerate() {
            let before = index.checked_sub(1).map(|index| both.journal[index]);
            let head = &noted.record.head;
            let mut fault =
                |what: &str| self.faults.push(format!("{conversation} at {}: {what}", noted.seq));
            if head.position < position {
                fault("the position went back");
            }
            let opened = before.and_then(|before| before.record.head.turn.as_ref());
            if is_resend(before, noted) {
                resends += 1;
            }
            attempts = attempts.max(attempts_of(noted));
            if head.position > position {
                if both.log.iter().all(|logged| logged.seq != head.position) {
                    fault("a turn ends where the log has nothing");
                }
                if opened.is_some_and(|turn| turn.last != head.position) {
                    fault("the turn that ended is not the one that was open");
                }
                let (step, ended) = (noted.record.step, noted.at.0);
                if step == Step::Stopped && !both.is_stopped(noted) {
                    fault("a turn was stopped by nobody");
                }
                let turn = Turn { last: head.position, step, ended, resends, attempts };
                self.turns.entry(conversation.clone()).or_default().insert(turn.last, turn);
                position = head.position;
                (resends, attempts) = (0, 0);
            }
            let mut fault =
                |what: &str| self.faults.push(format!("{conversation} at {}: {what}", noted.seq));
            if let Some(turn) = &head.turn {
                let next = both.log.iter().find(|logged| logged.seq > position);
                if next.map(|logged| logged.seq) != Some(turn.first) {
                    fault("a turn begins behind an entry that belongs to none");
                }
            }
        }
        let is_open = both.journal.last().is_some_and(|noted| noted.record.head.turn.is_some());
        if is_open || both.log.last().is_some_and(|logged| logged.seq > position) {
            let phase = both.journal.last().and_then(|noted| noted.record.head.turn.as_ref());
            let phase = phase.map(|turn| &turn.phase);
            self.unfinished.push(format!("{conversation} after {position}: {phase:?}"));
        }
    }
}

fn attempts_of(noted: &Noted) -> u32 {
    let Some(turn) = &noted.record.head.turn else { return 0 };
    match &turn.phase {
        Phase::Sending(sending) => sending.attempt.max(turn.attempt),
        _ => turn.attempt,
    }
}

/// Whether this record announces that something is said again.
fn is_resend(before: Option<&Noted>, noted: &Noted) -> bool {
    let sending = |noted: &Noted| match noted.record.head.turn.as_ref().map(|turn| &turn.phase) {
        Some(Phase::Sending(sending)) => Some(sending.clone()),
        _ => None,
    };
    let Some((before, was)) = before.and_then(|before| Some((before, sending(before)?))) else {
        return false;
    };
    let Some(is) = sending(noted) else { return false };
    let is_taken_over = before.record.nonce != noted.record.nonce && was.not_before.is_none();
    is_taken_over && is.sent == was.sent || is.attempt > was.attempt && is_unknown(noted)
}

/// Whether nobody knows if the send that failed last was delivered: what DingTalk refused by its words,
/// as too fast or too busy, it did not deliver.
fn is_unknown(noted: &Noted) -> bool {
    let Some(turn) = &noted.record.head.turn else { return false };
    let Some(met) = turn.failed.as_slice().last() else { return false };
    ["DingTalk did not answer", "500: ", "502: ", "504: "]
        .iter()
        .any(|unknown| met.detail.expose().starts_with(unknown))
}
