//! The wire form of a journal record (`dt.journal.<integration>.<conversation>`).
//!
//! A record holds the whole state of its conversation. The answer stands only in the record that brought
//! it; later records refer to it by sequence.

pub(in crate::protocol) mod wire;
pub(in crate::protocol) mod reason;
pub(in crate::protocol) mod failed;
mod told;

use super::envelope::{self, Error};
use crate::domain::answer::Answer;
use crate::domain::id::InvalidId;
use crate::domain::turn::{Head, Step};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Tells a run's own records from those of any other run.
    pub nonce: u64,
    /// Counts the records of one run, so that a retried append recognises itself.
    pub count: u32,
    pub step: Step,
    pub head: Head,
    pub answer: Option<Answer>,
}

pub fn encode(record: &Record) -> Vec<u8> {
    let turn = record.head.turn.as_ref();
    let failed = turn.map_or_else(Vec::new, |turn| failed::write(&turn.failed));
    envelope::encode_with(&wire::Record::from(record), &failed)
}

pub fn decode(bytes: &[u8]) -> Result<Record, Error> {
    let invalid = |e: InvalidId| Error::Undecodable(e.to_string());
    let (record, failed) = envelope::decode_with::<wire::Record, _>(bytes)?;
    let mut record = Record::try_from(record).map_err(invalid)?;
    if let Some(turn) = &mut record.head.turn {
        turn.failed = failed::read(failed);
    }
    Ok(record)
}
