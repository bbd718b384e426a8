//! The wire form of a journal record (`dt.journal.<integration>.<conversation>`).
//!
//! A record holds the whole state of its conversation. The answer stands only in the record that brought
//! it; later records refer to it by sequence.

pub(in crate::protocol) mod wire;
mod told;

use super::envelope::{self, Error};
use crate::domain::answer::Answer;
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
    envelope::encode(&wire::Record::from(record))
}

pub fn decode(bytes: &[u8]) -> Result<Record, Error> {
    envelope::decode::<wire::Record>(bytes)?
        .try_into()
        .map_err(|e: crate::domain::id::InvalidId| Error::Undecodable(e.to_string()))
}
