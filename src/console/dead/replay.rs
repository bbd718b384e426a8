//! `POST /api/dead/replay`: asks buried turns again, by a new entry at the end of their conversation's
//! log.
//!
//! The entry is stored before the letter counts as replayed: what fails in between is pressed again, and
//! the log recognises it. Guarantees that a second press skips, unless the entry went with the log before
//! its turn came: then the letter, which is still there, is asked again.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::super::body::Body;
use super::super::problem::Problem;
use super::filter::{Narrow, Wanted};
use crate::domain::dead::DeadLetter;
use crate::domain::entry::{Entry, Replay};
use crate::domain::id::{ExpertId, Seq};
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
    if let Some(settled) = &settled {
        let replayed = buried.as_ref().filter(|_| settled.state == Settlement::Replayed);
        let is_lost = match replayed {
            Some(buried) => is_lost(state, buried).await?,
            None => false,
        };
        if !is_lost {
            return Ok(Err(format!("it was {} already", settled.state.as_str())));
        }
    }
    let Some(buried) = buried else { return Ok(Err("there is no such dead letter".into())) };
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
    let (conversation, message_id) = (&letter.turn.conversation, message_id(seq));
    let appended = state.log.append_written(conversation, &message_id, written).await?;
    let is_first = super::settle(state, &buried, Settlement::Replayed).await?;
    match (appended, &settled) {
        (Appended::Stored(_), Some(_)) => Ok(Ok(())),
        (Appended::Stored(_), None) if is_first => Ok(Ok(())),
        (Appended::Duplicate(_), Some(_)) => {
            let why = "its entry was taken out of the log a moment ago; press again after \
                       DT_DEDUPE_WINDOW";
            Ok(Err(why.into()))
        }
        (Appended::Stored(_) | Appended::Duplicate(_), None) => {
            Ok(Err("it was replayed already".into()))
        }
    }
}

/// The log takes it once.
fn message_id(dead: Seq) -> String {
    format!("replay:{dead}")
}

/// Whether the entry that asks a replayed letter again is neither in the log nor in the journal: an
/// operator's hand took it before its turn came.
async fn is_lost(state: &super::super::State, buried: &Buried) -> Result<bool, Problem> {
    let Some(conversation) = &buried.conversation else { return Ok(false) };
    let (id, since) = (message_id(buried.seq), buried.at);
    if state.log.find(conversation, &id, since).await?.is_some() {
        return Ok(false);
    }
    let journal = Journal::new(&state.nats);
    // The oldest goes first: while the end of the letter's own turn is on record, so is a replay of it.
    // Without that nobody knows, and it stays replayed.
    let What::Letter(letter) = &buried.what else { return Ok(false) };
    if journal.history(&letter.turn).await?.is_empty() {
        return Ok(false);
    }
    Ok(!journal.has_replay(conversation, buried.seq, since).await?)
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
    if messages.is_empty() {
        return Ok(Err("it holds no message that could be asked again".to_owned()));
    }
    let Some((expert, epoch)) = target(state, letter).await? else {
        return Ok(Err("no trigger binds its integration to an expert; publish one".to_owned()));
    };
    Ok(Ok((letter, Replay { dead: buried.seq, expert, epoch, messages })))
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
