//! The runtime's question: which turn closes it, and what follows from that.
//!
//! Whatever is asked of the expert next in the question's session answers it, be it a press or a message;
//! a control entry ends it, and so does the end of its session. What is neither asked nor ends anything,
//! such as a press that does not count, leaves it open.

use super::machine::Machine;
use super::{Command, Decision, Head, OpenTurn, Phase, Sending, Step, TurnKind};
use crate::domain::id::{ExpertId, Seq};
use crate::domain::time::Timestamp;

/// The runtime's question to the person. It stays on record while the turn that closes it is open, so that
/// the next run of that turn closes it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interrupted {
    /// The last entry of the turn that asked.
    pub turn: Seq,
    pub run: Option<String>,
}

/// What a turn of the service itself puts an end to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closes {
    Nothing,
    /// What the runtime waits for.
    Question,
    /// The session, and with it what the runtime waits for.
    Session,
}

/// Whether an answer ends with a question, and how far that one is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    Nothing,
    /// The last segment is the question.
    Openly,
    /// Its asker has it already; the last segment tells the group of that.
    InPrivate,
}

impl Asking {
    pub(super) fn of(has_interrupt: bool) -> Self {
        if has_interrupt { Self::Openly } else { Self::Nothing }
    }

    pub fn is_question(self) -> bool {
        self != Self::Nothing
    }
}

/// A run whose answer nobody waits for any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abandoned {
    pub expert: ExpertId,
    /// Of the session whose thread it runs in.
    pub epoch: Seq,
    /// `None` where the runtime has not named it.
    pub run: Option<String>,
}

/// Why a question is open no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// By a press, or by a message instead of one.
    Answered,
    Stopped,
    /// Its session was ended.
    Ended,
    /// Its session ran out.
    Expired,
}

impl Machine {
    /// It goes on record before the group hears of it: nobody is promised what was not sent.
    pub(super) fn asked_in_private(mut self) -> Decision {
        let is_asked = |sending: &Sending| {
            sending.asks == Asking::Openly && sending.sent + 1 == sending.segments
        };
        let Some(sending) = self.unsent().filter(is_asked) else { return self.unchanged() };
        let (segment, asks) = (sending.sent, Asking::InPrivate);
        self.turn.phase = Phase::Sending(Sending { asks, attempt: 1, not_before: None, ..sending });
        self.goes_on(Step::Sending, vec![Command::Send { segment }])
    }
}

/// What shows that `turn` closes the open question, if it does.
pub fn close(head: &Head, turn: &OpenTurn) -> Option<Command> {
    let question = head.interrupted.as_ref().filter(|question| question.turn < turn.first)?.turn;
    let current = head.session.as_ref().map(|session| session.epoch);
    let how = match (&turn.asked, turn.kind) {
        (Some(asked), _) if Some(asked.epoch) != current => return None,
        (Some(asked), _) if question < asked.epoch => Closing::Expired,
        (Some(_), _) => Closing::Answered,
        (None, TurnKind::Control) if current.is_some() => Closing::Stopped,
        (None, TurnKind::Control) => Closing::Ended,
        (
            None,
            TurnKind::Messages | TurnKind::Action | TurnKind::Replay { .. } | TurnKind::Unreadable,
        ) => return None,
    };
    Some(Command::Close { question, how })
}

/// What waits at the runtime for the answer to a question that `closes` puts an end to.
pub(super) fn abandon(head: &Head, closes: Closes) -> Option<Command> {
    let (question, session) = (head.interrupted.as_ref()?, head.session.as_ref()?);
    (closes != Closes::Nothing).then(|| {
        Command::CancelRun(Abandoned {
            expert: session.expert.clone(),
            epoch: session.epoch,
            run: question.run.clone(),
        })
    })
}

/// What may still run at the runtime for a turn that ends before its time, or waits there.
pub(super) fn abandon_run(head: &Head, turn: &OpenTurn) -> Option<Command> {
    // A press goes on with the run that asked.
    let question = head.interrupted.as_ref().filter(|_| turn.kind == TurnKind::Action);
    let run = turn.run.clone().or_else(|| question?.run.clone());
    let is_left = match &turn.phase {
        Phase::Running | Phase::Waiting { .. } => true,
        // It may have outlived the attempt that began it, also where its name never came.
        Phase::Retry { .. } | Phase::Parked { .. } => turn.is_repeat || run.is_some(),
        // It waits for the answer to a question that is not asked to its end.
        Phase::Sending(sending) => sending.asks.is_question() && run.is_some(),
        Phase::Burying { .. } => false,
    };
    let asked = turn.asked.as_ref().filter(|_| is_left)?;
    let (expert, epoch) = (asked.expert.clone(), asked.epoch);
    Some(Command::CancelRun(Abandoned { expert, epoch, run }))
}

/// Puts an end to what `closes` says, at once.
pub(super) fn end(head: &mut Head, closes: Closes) -> Vec<Command> {
    let abandoned = abandon(head, closes);
    let how = match closes {
        Closes::Nothing => return vec![],
        Closes::Question => Closing::Stopped,
        Closes::Session => Closing::Ended,
    };
    if closes == Closes::Session {
        head.session = None;
    }
    let close = head.interrupted.take().map(|it| Command::Close { question: it.turn, how });
    close.into_iter().chain(abandoned).collect()
}

/// Nothing follows: a question whose session has run out meanwhile is closed.
pub(super) fn idle(mut head: Head, at: Timestamp) -> Decision {
    let is_over = head.session.as_ref().is_none_or(|session| session.is_expired(at));
    let question = head.interrupted.take_if(|_| is_over);
    let close = question.map(|it| Command::Close { question: it.turn, how: Closing::Expired });
    let record = close.is_some().then_some(Step::Noted);
    Decision { head, record, commands: close.into_iter().collect() }
}
