//! The wire form of a dead letter (`dt.dead.<stage>.<integration>.<conversation>`).
//!
//! Its entries stand in it as they stood in the log, so that a replay asks what was asked. One that a
//! newer release wrote makes the whole letter newer.

use serde::{Deserialize, Serialize};

use super::entry;
use super::envelope::{self, Error};
use super::record::failed;
use super::record::reason::Reason;
use super::record::wire::Asked;
use crate::domain::dead::DeadLetter;
use crate::domain::entry::Logged;
use crate::domain::id::{InvalidId, Seq};
use crate::domain::time::Timestamp;

#[derive(Serialize, Deserialize)]
struct Letter {
    turn: String,
    reason: Reason,
    detail: String,
    attempts: u32,
    asked: Option<Asked>,
    entries: Vec<LoggedBytes>,
}

/// An entry as it stood in the log, byte for byte where the log still had it.
#[derive(Serialize, Deserialize)]
struct LoggedBytes {
    seq: u64,
    at: i64,
    bytes: Vec<u8>,
}

pub fn encode(letter: &DeadLetter) -> Vec<u8> {
    let body = Letter {
        turn: letter.turn.to_string(),
        reason: letter.reason.into(),
        detail: letter.detail.expose().to_owned(),
        attempts: letter.attempts,
        asked: letter.asked.as_ref().map(Into::into),
        entries: letter
            .entries
            .iter()
            .map(|logged| LoggedBytes {
                seq: logged.seq.0,
                at: logged.at.0,
                bytes: entry::encode(logged.entry.clone()),
            })
            .collect(),
    };
    envelope::encode_with(&body, &failed::write(&letter.failed))
}

pub fn decode(bytes: &[u8]) -> Result<DeadLetter, Error> {
    let (letter, failed) = envelope::decode_with::<Letter, _>(bytes)?;
    let invalid = |e: InvalidId| Error::Undecodable(e.to_string());
    let entries = letter.entries.into_iter().map(|logged| {
        let entry = entry::decode(&logged.bytes)?;
        Ok(Logged { seq: Seq(logged.seq), at: Timestamp(logged.at), trace: None, entry })
    });
    Ok(DeadLetter {
        turn: letter.turn.parse().map_err(invalid)?,
        reason: letter.reason.into(),
        detail: letter.detail.into(),
        attempts: letter.attempts,
        failed: failed::read(failed),
        asked: letter.asked.map(TryInto::try_into).transpose().map_err(invalid)?,
        entries: entries.collect::<Result<_, Error>>()?,
    })
}
