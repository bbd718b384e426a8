//! `POST /api/dead/replay`: asks buried turns again, by a new entry at the end of their conversation's
//! log.
//!
//! The entry is stored before the letter counts as replayed: what fails in between is pressed again, and
//! the log recognises it. Guarantees that a second press skips, unless nobody will be answered by the
//! first: its entry went with the log before its turn came, or a command of the person ended it. Then the
//! letter, which is still there, is asked again.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::super::body::Body;
use super::super::problem::Problem;
use super::filter::{Narrow, Wanted};
use crate::domain::binding::RuntimeKind;
use crate::domain::dead::DeadLetter;
use crate::domain::entry::{Action, ActionKind, Again, Entry, Replay};
use crate::domain::id::{ExpertId, Seq};
use crate::domain::reason::Reason;
use crate::domain::turn::Step;
use crate::io::dead::{Buried, DeadLetters, What};
use crate::io::journal::Journal;
use crate::io::log::{self, Appended};
use crate::io::store::dead::State as Settlement;

/// Of one call.
const IDS_MAX: usize = 10_000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Press {
    ids: Option<Vec<Id>>,
    filter: Option<Narrow>,
    dry_run: Option<bool>,
}

/// As the list gives it, or as the number that it is.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(u64),
}

#[derive(Debug, Serialize)]
pub(crate) struct Pressed {
    replayed: Vec<String>,
    skipped: Vec<Skipped>,
}

#[derive(Debug, Serialize)]
struct Skipped {
    id: String,
    why: String,
}

/// Whether effects are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    Dry,
    Real,
}

pub(crate) async fn press(
    State(state): State<super::super::State>,
    Body(press): Body<Press>,
) -> Result<Json<Pressed>, Problem> {
    let run = if press.dry_run == Some(true) { Run::Dry } else { Run::Real };
    let mut pressed = Pressed { replayed: vec![], skipped: vec![] };
    for id in wanted(&state, press).await? {
        match one(&state, &id, run).await? {
            Ok(()) => pressed.replayed.push(id),
            Err(why) => pressed.skipped.push(Skipped { id, why }),
        }
    }
    Ok(Json(pressed))
}

async fn wanted(state: &super::super::State, press: Press) -> Result<Vec<String>, Problem> {
    match (press.ids, press.filter) {
        (Some(ids), None) if ids.len() <= IDS_MAX => Ok(ids
            .into_iter()
            .map(|id| match id {
                Id::Text(text) => text,
                Id::Number(number) => number.to_string(),
            })
            .collect()),
        (Some(_), None) => Err(Problem::field("ids", "ids must be at most 10000")),
        (None, Some(narrow)) => {
            let filter = narrow.filter("filter.")?;
            if filter.state != Wanted::Dead {
                let message = "filter.state must be dead: nothing else can be replayed";
                return Err(Problem::field("filter.state", message));
            }
            // All are named before the first one is asked again: one that dies anew is not among them. Their
            // payloads are not held meanwhile.
            let (mut ids, mut after) = (vec![], Seq(0));
            loop {
                let found = super::unsettled(state, &filter, after, super::CHUNK).await?;
                let Some(last) = found.last() else { return Ok(ids) };
                after = last.seq;
                ids.extend(found.iter().map(|buried| buried.seq.to_string()));
            }
        }
        _ => Err(Problem::field("ids", "give either ids or filter")),
    }
}

/// The inner error says why it is skipped.
async fn one(
    state: &super::super::State,
    id: &str,
    run: Run,
) -> Result<Result<(), String>, Problem> {
    let Ok(seq) = id.parse().map(Seq) else {
        return Ok(Err("there is no such dead letter".into()));
    };
    let buried = DeadLetters::new(&state.nats).at(seq).await?;
    let settled = state.store.dead_settled(seq).await?;
    let is_same = |at| buried.as_ref().is_none_or(|buried| buried.at == at);
    let settled = settled.filter(|settled| is_same(settled.stored_at));
    let id = match (&settled, &buried) {
        (None, None) => return Ok(Err("there is no such dead letter".into())),
        (None, Some(buried)) => Some(message_id(buried)),
        (Some(settled), Some(buried)) if settled.state == Settlement::Replayed => {
            again(state, buried).await?
        }
        (Some(_), Some(_) | None) => None,
    };
    let (Some(id), Some(buried)) = (id, buried) else {
        let was = settled.map_or(Settlement::Replayed, |settled| settled.state);
        return Ok(Err(format!("it was {} already", was.as_str())));
    };
    let (letter, replay) = match entry(state, &buried).await? {
        Ok(found) => found,
        Err(why) => return Ok(Err(why)),
    };
    let written = match state.log.write(Entry::Replay(replay)) {
        Err(error @ log::Error::TooLarge { .. }) => return Ok(Err(error.to_string())),
        outcome => outcome?,
    };
    if run == Run::Dry {
        return Ok(Ok(()));
    }
    let conversation = &letter.turn.conversation;
    let appended = state.log.append_written(conversation, &id, written).await?;
    if matches!(appended, Appended::Duplicate(_))
        && state.log.find(conversation, &id, buried.at).await?.is_none()
    {
        let why = "its entry was taken out of the log a moment ago; press again after \
                   DT_DEDUPE_WINDOW";
        return Ok(Err(why.into()));
    }
    let is_first = super::settle(state, &buried, Settlement::Replayed).await?;
    match appended {
        Appended::Stored(_) if is_first || settled.is_some() => Ok(Ok(())),
        Appended::Stored(_) | Appended::Duplicate(_) => Ok(Err("it was replayed already".into())),
    }
}

/// The log takes it once. Of a stream that was made anew or put back another letter may have the same
/// sequence, but not the same time.
fn message_id(buried: &Buried) -> String {
    format!("replay:{}:{}", buried.seq, buried.at.0)
}

/// The id of the entry that asks a replayed letter once more, where nobody was answered and nobody will
/// be: an operator's hand took the entry before its turn came, or a command ended it. `None` while it
/// waits or is asked, and where it came to an end of its own.
async fn again(state: &super::super::State, buried: &Buried) -> Result<Option<String>, Problem> {
    let What::Letter(letter) = &buried.what else { return Ok(None) };
    let conversation = &letter.turn.conversation;
    let (id, since) = (message_id(buried), buried.at);
    // The release before this one named it by its sequence alone.
    let former = format!("replay:{}", buried.seq);
    let is_it = |found: &str| {
        let rest = found.strip_prefix(&id);
        found == former || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    };
    let journal = Journal::new(&state.nats);
    // An entry that is gone from the log may have its turn.
    let logged = state.log.find_last(conversation, since, is_it).await?;
    let begun = journal.replay(conversation, buried.seq, since).await?;
    match logged.max(begun) {
        // The log may remember the id of the one that ended.
        Some(seq) => match journal.ending(conversation, seq, since).await? {
            Some(Step::Stopped | Step::Lost) => Ok(Some(format!("{id}:{seq}"))),
            Some(_) | None => Ok(None),
        },
        // The oldest goes first: while the end of the letter's own turn is on record, so is a replay of it.
        // Without that nobody knows, and it stays replayed.
        None => {
            let is_known = !journal.history(&letter.turn).await?.is_empty();
            Ok(is_known.then_some(id))
        }
    }
}

/// The letter and the entry that asks it again, or why there is none.
async fn entry<'a>(
    state: &super::super::State,
    buried: &'a Buried,
) -> Result<Result<(&'a DeadLetter, Replay), String>, Problem> {
    let letter = match &buried.what {
        What::Letter(letter) => letter.as_ref(),
        What::Advisory(_) => {
            let why = "the broker gave it up, not a stage: the log still has the message, and the \
                       sweep brings its conversation back";
            return Ok(Err(why.to_owned()));
        }
        What::Unreadable(why) => return Ok(Err(format!("it cannot be read: {why}"))),
    };
    let messages: Vec<_> = letter.messages().cloned().collect();
    let again = match letter.action() {
        Some(action) => match press_again(state, letter, action).await? {
            Ok(again) => again,
            Err(why) => return Ok(Err(why.to_owned())),
        },
        None if messages.is_empty() => {
            return Ok(Err("it holds no message that could be asked again".to_owned()));
        }
        None => Again::Messages(messages),
    };
    let Some((expert, epoch)) = target(state, letter).await? else {
        return Ok(Err("no trigger binds its integration to an expert; publish one".to_owned()));
    };
    Ok(Ok((letter, Replay { dead: buried.seq, expert, epoch, again })))
}

/// The inner error says why a press is not put to the expert again. What is asked next in a session answers
/// its open question: a press of before must not answer a later one.
async fn press_again(
    state: &super::super::State,
    letter: &DeadLetter,
    action: &Action,
) -> Result<Result<Again, &'static str>, Problem> {
    let Some(asked) = &letter.asked else {
        return Ok(Err("no expert was asked by this press: the person asks anew"));
    };
    let journal = Journal::new(&state.nats);
    let head = journal.last(&letter.turn.conversation).await?.head;
    let is_of_session = head.session.is_some_and(|session| session.epoch == asked.epoch);
    if is_of_session && head.interrupted.is_some_and(|open| open.turn != action.turn.last) {
        return Ok(Err("a later question of the expert is open: replay it when that is answered"));
    }
    let is_decision = matches!(action.kind, ActionKind::Confirm | ActionKind::Reject);
    let is_taken = matches!(
        letter.reason,
        Reason::ReplyPermanent | Reason::ReplyExhausted | Reason::ReplyContent
    );
    if is_decision
        && is_taken
        && let Some(runtime) = state.routing.runtime(&asked.expert).await?
        && matches!(runtime.kind, RuntimeKind::Xpert { .. })
    {
        return Ok(Err("Xpert has taken this decision, which it does once: the person asks anew"));
    }
    let of_before = letter.entries.last().map(|logged| &logged.entry);
    if let Some(Entry::Replay(Replay { again, .. })) = of_before {
        return Ok(Ok(again.clone()));
    }
    let run = match journal.question(&action.turn).await? {
        Some(question) => question.run,
        // What is waited for by now may be another decision.
        None if is_decision => {
            return Ok(Err(
                "nobody knows the question of this press any more: the person asks anew",
            ));
        }
        // It begins a run of its own.
        None => None,
    };
    Ok(Ok(Again::Press { action: Box::new(action.clone()), run }))
}

/// The session of its own time; for one that never had any, a session with who is bound now.
async fn target(
    state: &super::super::State,
    letter: &DeadLetter,
) -> Result<Option<(ExpertId, Seq)>, Problem> {
    if let Some(asked) = &letter.asked {
        return Ok(Some((asked.expert.clone(), asked.epoch)));
    }
    let trigger = state.routing.trigger_fresh(&letter.turn.conversation.integration).await?;
    let first = letter.entries.first().map_or(letter.turn.last, |logged| logged.seq);
    Ok(trigger.map(|trigger| (trigger.expert.clone(), first)))
}
