//! What a planned turn is: asked of an expert, answered by the service, ended, or buried.
//!
//! An existing, unexpired session wins over the trigger; opening one reads the binding from SQL.

use std::sync::Arc;
use std::time::Duration;

use super::bulkhead::{self, Bulkhead};
use crate::context::Context;
use crate::domain::answer::Answer;
use crate::domain::binding::{Language, Runtime};
use crate::domain::entry::{Control, ControlKind, Entry, Logged, Query, QueryKind, Replay};
use crate::domain::id::{Conversation, ExpertId, Seq};
use crate::domain::inbound::{Message, Place, Sender};
use crate::domain::plan::{Planned, PlannedKind};
use crate::domain::press::Standing;
use crate::domain::reason::Reason;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::domain::turn::question::Closes;
use crate::domain::turn::{Availability, Ending, Head, NewTurn, Opening, Parked, TurnKind};
use crate::domain::words::Word;
use crate::io::dead::DeadLetters;
use crate::io::lease;
use crate::io::live::Live;
use crate::io::routing::Routing;
use crate::io::store;

#[derive(Clone)]
pub struct Resolver {
    pub context: Context,
    pub live: Live,
    pub routing: Routing,
    pub bulkhead: Bulkhead,
    pub dead: DeadLetters,
    /// `DT_ENTRY_MAX_AGE`: what is older is buried, before the log drops it.
    pub entry_age_max: Duration,
}

/// An expert that can be asked, held for as long as it is.
pub struct Reach {
    pub availability: Availability,
    pub runtime: Option<Arc<Runtime>>,
    pub permit: Option<bulkhead::Permit>,
}

pub enum Resolved {
    Turn {
        turn: Box<NewTurn>,
        reach: Option<Reach>,
        says: Option<Answer>,
    },
    /// What knows more of it is away.
    Unknown,
}

/// The turn to resolve, and when.
pub struct Question<'a> {
    pub conversation: &'a Conversation,
    pub head: &'a Head,
    pub planned: Planned,
    pub entries: &'a [Logged],
    pub language: Language,
    /// Of the action that the turn is, if it is one.
    pub standing: Standing,
    pub now: Timestamp,
}

impl Resolver {
    pub async fn resolve(&self, question: &Question<'_>) -> Resolved {
        let Some(newest) = question.entries.last() else { return Resolved::Unknown };
        let ends = |ending| Opening::End { ending, closes: Closes::Nothing };
        let (kind, opening, says) = match (question.planned.kind, &newest.entry) {
            (PlannedKind::Stopped { .. }, _) => (TurnKind::Messages, ends(Ending::Stopped), None),
            (PlannedKind::Gone, _) => (TurnKind::Unreadable, ends(Ending::Lost), None),
            (_, Entry::Query(_)) => (TurnKind::Control, ends(Ending::Delivered), None),
            (_, Entry::Control(control)) => obey(control),
            (_, Entry::Undecodable { why, .. }) => {
                let opening = Opening::Bury { reason: Reason::Decode, detail: why.as_str().into() };
                (TurnKind::Unreadable, opening, None)
            }
            _ if question.now.since(newest.at) >= self.entry_age_max => {
                let detail = "it came to its turn later than DT_ENTRY_MAX_AGE allows".into();
                (TurnKind::Messages, Opening::Bury { reason: Reason::Expired, detail }, None)
            }
            // Counted, never answered: whoever is not listed is none of the expert's business.
            (_, Entry::Message(Message { place, sender, .. }))
                if self.is_refused(question, place, sender) =>
            {
                self.context.metrics.limit_breached("allow_list");
                (TurnKind::Messages, ends(Ending::Delivered), None)
            }
            (_, Entry::Message(message)) if message.is_unsupported() => {
                let opening = Opening::Say { segments: 1, closes: Closes::Nothing };
                (TurnKind::Messages, opening, Some(Word::Unsupported))
            }
            (_, Entry::Action(_)) if question.standing != Standing::Counts => {
                let opening = Opening::Say { segments: 1, closes: Closes::Nothing };
                let is_foreign = question.standing == Standing::Foreign;
                let word = if is_foreign { Word::ActionForeign } else { Word::ActionExpired };
                (TurnKind::Action, opening, Some(word))
            }
            (_, Entry::Replay(replay)) => return self.replay(question, replay, newest.at).await,
            (_, Entry::Action(_)) => return self.in_session(question, TurnKind::Action).await,
            (_, Entry::Message(_) | Entry::Gone) => {
                return self.in_session(question, TurnKind::Messages).await;
            }
        };
        let says = says
            .map(|word| Answer { text: word.text(question.language).to_owned(), interrupt: None });
        Resolved::Turn { turn: Box::new(self.new_turn(question, kind, opening)), reach: None, says }
    }

    /// The buried turn again, in the session and with the expert of its own time. A press is not judged
    /// again: the operator has the word.
    async fn replay(&self, question: &Question<'_>, replay: &Replay, at: Timestamp) -> Resolved {
        let kind = TurnKind::Replay { dead: replay.dead };
        match self.dead.at(replay.dead).await {
            Ok(Some(buried)) if buried.is_asked_by(question.conversation, replay) => {}
            // Answered by an earlier press: the letter goes before the answer is on record.
            Ok(Some(_) | None) => {
                let opening = Opening::End { ending: Ending::Delivered, closes: Closes::Nothing };
                let turn = Box::new(self.new_turn(question, kind, opening));
                return Resolved::Turn { turn, reach: None, says: None };
            }
            Err(error) => {
                tracing::debug!(%error, "the dead letter is looked up later");
                return Resolved::Unknown;
            }
        }
        let session = Session {
            epoch: replay.epoch,
            expert: replay.expert.clone(),
            timeout: question.head.session.as_ref().map_or(DEFAULT_TIMEOUT, |s| s.timeout),
            last_activity: at,
        };
        self.ask(question, kind, session, false).await
    }

    /// The session of the conversation, or a new one with the expert that the trigger names now.
    async fn in_session(&self, question: &Question<'_>, kind: TurnKind) -> Resolved {
        let (Some(first), Some(newest)) = (question.entries.first(), question.entries.last())
        else {
            return Resolved::Unknown;
        };
        let Ok(known) = self.session(question).await else { return Resolved::Unknown };
        let existing = known.filter(|session| !session.is_expired(first.at));
        if let Some(session) = existing {
            return self.ask(question, kind, session.touched(newest.at), false).await;
        }
        let bound = self.routing.trigger_fresh(&question.conversation.integration).await;
        let Ok(bound) = bound else { return Resolved::Unknown };
        let Some(trigger) = bound else {
            let detail = "no enabled trigger names this integration".into();
            let opening = Opening::Bury { reason: Reason::Unbound, detail };
            let turn = Box::new(self.new_turn(question, kind, opening));
            return Resolved::Turn { turn, reach: None, says: None };
        };
        let session = Session {
            epoch: first.seq,
            expert: trigger.expert.clone(),
            timeout: trigger.session_timeout,
            last_activity: newest.at,
        };
        self.ask(question, kind, session, true).await
    }

    fn new_turn(&self, question: &Question<'_>, kind: TurnKind, opening: Opening) -> NewTurn {
        let newest = question.entries.last();
        NewTurn {
            first: question.planned.first,
            last: question.planned.last,
            kind,
            accepted_at: newest.map_or(question.now, |logged| logged.at),
            heard_at: newest
                .filter(|logged| self.is_heard(question, &logged.entry))
                .map(|logged| logged.at),
            opening,
        }
    }

    /// Whether this is a person who writes to the robot and is listened to. Presses that count are asked
    /// in their session; others change nothing.
    fn is_heard(&self, question: &Question<'_>, entry: &Entry) -> bool {
        match entry {
            Entry::Message(message) => !self.is_refused(question, &message.place, &message.sender),
            Entry::Query(Query { kind: QueryKind::Unheeded, .. }) => false,
            Entry::Query(Query { origin, .. })
            | Entry::Control(Control { origin: Some(origin), .. }) => {
                !self.is_refused(question, &origin.place, &origin.sender)
            }
            Entry::Control(Control { origin: None, .. })
            | Entry::Action(_)
            | Entry::Replay(_)
            | Entry::Undecodable { .. }
            | Entry::Gone => false,
        }
    }

    /// A refused person is neither told nor asked for: nobody published anything for them.
    fn is_refused(&self, question: &Question<'_>, place: &Place, sender: &Sender) -> bool {
        let trigger = self.routing.trigger_of(&question.conversation.integration);
        trigger.is_some_and(|trigger| !trigger.allows(place, sender))
    }

    /// The session as the journal has it, or, where the conversation has no journal, as SQL had it last.
    async fn session(&self, question: &Question<'_>) -> Result<Option<Session>, store::Error> {
        let head = question.head;
        let known = match &head.session {
            None if head.position == Seq(0) => {
                self.routing.last_session(question.conversation).await?
            }
            known => known.clone(),
        };
        let published = self.routing.trigger_of(&question.conversation.integration);
        Ok(known.map(|session| session.under(published.as_deref())))
    }

    async fn ask(
        &self,
        question: &Question<'_>,
        kind: TurnKind,
        session: Session,
        is_new: bool,
    ) -> Resolved {
        let reach = self.reach(question.conversation, &session.expert, question.head).await;
        let opening = Opening::Ask { session, is_new, runtime: reach.availability };
        let turn = Box::new(self.new_turn(question, kind, opening));
        Resolved::Turn { turn, reach: Some(reach), says: None }
    }

    /// Whether the expert can be asked now; holds one of its permits if it can.
    pub async fn reach(
        &self,
        conversation: &Conversation,
        expert: &ExpertId,
        head: &Head,
    ) -> Reach {
        let away =
            |why| Reach { availability: Availability::Away(why), runtime: None, permit: None };
        let integration = self.routing.integration(&conversation.integration).await;
        if integration.ok().flatten().is_some_and(|integration| integration.is_paused) {
            return away(Parked::Paused);
        }
        let runtime = match self.routing.runtime(expert).await {
            Ok(Some(runtime)) if runtime.is_paused => return away(Parked::Paused),
            Ok(Some(runtime)) if self.is_there(&runtime, head).await => runtime,
            Ok(Some(_) | None) => return away(Parked::Missing),
            Err(error) => {
                tracing::warn!(expert = %expert, %error, "the expert's runtime is unknown");
                let availability = Availability::Unknown;
                return Reach { availability, runtime: None, permit: None };
            }
        };
        match self.bulkhead.enter(conversation, expert).await {
            Some(permit) => Reach {
                availability: Availability::Ready,
                runtime: Some(runtime),
                permit: Some(permit),
            },
            None => away(Parked::Busy),
        }
    }
}

impl Resolver {
    /// A lease that may have lapsed for want of a broker, or that cannot be read, is no reason to tell
    /// people that their expert is away. Who knows that it is waits for a heartbeat.
    async fn is_there(&self, runtime: &Runtime, head: &Head) -> bool {
        let now = self.context.clock.now();
        let is_there = match head.is_told_away {
            true => lease::is_alive(&self.live, runtime, now).await,
            false => lease::has_lapsed(&self.live, runtime, now).await.map(|lapsed| !lapsed),
        };
        is_there.unwrap_or_else(|error| {
            tracing::debug!(%error, expert = %runtime.expert, "the lease is unknown");
            !head.is_told_away
        })
    }
}

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3600);

fn obey(control: &Control) -> (TurnKind, Opening, Option<Word>) {
    let closes = match control.kind {
        ControlKind::Stop => Closes::Question,
        ControlKind::New | ControlKind::End => Closes::Session,
    };
    let word = match control.kind {
        ControlKind::Stop => Word::Stopped,
        ControlKind::New => Word::SessionNew,
        ControlKind::End => Word::SessionEnded,
    };
    // An operator's hand has nobody to answer.
    match control.origin {
        Some(_) => (TurnKind::Control, Opening::Say { segments: 1, closes }, Some(word)),
        None => {
            let ending = Ending::Delivered;
            (TurnKind::Control, Opening::End { ending, closes }, None)
        }
    }
}
