//! What attempts met, as it stands behind a journal record or a dead letter: appended to the form of
//! both, and not written where there is nothing of it.
//!
//! A release that does not know of it reads the record all the same, and loses no more than this.

use serde::{Deserialize, Serialize};

use super::reason::Reason;
use crate::domain::time::Timestamp;
use crate::domain::turn::failed::{FailedAttempt, FailedAttempts, Tried};

#[derive(Serialize, Deserialize)]
pub(in crate::protocol) struct Attempt {
    /// `None`: the expert was asked.
    segment: Option<u32>,
    attempt: u32,
    at: i64,
    reason: Reason,
    detail: String,
}

pub(in crate::protocol) fn write(failed: &FailedAttempts) -> Vec<Attempt> {
    let attempt = |met: &FailedAttempt| Attempt {
        segment: match met.tried {
            Tried::Ask => None,
            Tried::Send { segment } => Some(segment),
        },
        attempt: met.attempt,
        at: met.at.0,
        reason: met.reason.into(),
        detail: met.detail.expose().to_owned(),
    };
    failed.as_slice().iter().map(attempt).collect()
}

pub(in crate::protocol) fn read(attempts: Vec<Attempt>) -> FailedAttempts {
    let met = |wire: Attempt| FailedAttempt {
        tried: wire.segment.map_or(Tried::Ask, |segment| Tried::Send { segment }),
        attempt: wire.attempt,
        at: Timestamp(wire.at),
        reason: wire.reason.into(),
        detail: wire.detail.into(),
    };
    attempts.into_iter().map(met).collect()
}
