//! The wire forms of a timer's token (`dt.timer.…` → `dt.due.…`), of a slot (`dt.run.…`) and of an entry
//! in the index of those who wait (`dt.handoff.…`).
//!
//! None holds a person's words: one that is lost or cannot be read costs time, and the log knows the
//! rest. All are versioned like every record of ours.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::envelope::{self, Error};
use crate::domain::debounce::{TimerKind, Token};
use crate::domain::id::Seq;

/// The job of one run: the log up to `to`, merged by `window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub to: Seq,
    pub window: Duration,
}

#[derive(Serialize, Deserialize)]
struct WireToken {
    seq: u64,
    kind: WireKind,
    window_ms: u64,
    refusals: u32,
}

#[derive(Serialize, Deserialize)]
enum WireKind {
    Now,
    Window,
    /// What a later release writes in place of the others.
    #[cfg(feature = "wire-next")]
    Later(Box<Self>),
}

#[derive(Serialize, Deserialize)]
struct WireSlot {
    to: u64,
    window_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct WireWaiting {
    first: u64,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub fn encode_token(token: &Token) -> Vec<u8> {
    envelope::encode(&WireToken {
        seq: token.seq.0,
        kind: token.kind.into(),
        window_ms: millis(token.window),
        refusals: token.refusals,
    })
}

pub fn decode_token(bytes: &[u8]) -> Result<Token, Error> {
    let wire: WireToken = envelope::decode(bytes)?;
    Ok(Token {
        seq: Seq(wire.seq),
        kind: wire.kind.into(),
        window: Duration::from_millis(wire.window_ms),
        refusals: wire.refusals,
    })
}

impl From<TimerKind> for WireKind {
    fn from(kind: TimerKind) -> Self {
        let kind = match kind {
            TimerKind::Now => Self::Now,
            TimerKind::Window => Self::Window,
        };
        #[cfg(feature = "wire-next")]
        let kind = Self::Later(Box::new(kind));
        kind
    }
}

impl From<WireKind> for TimerKind {
    fn from(kind: WireKind) -> Self {
        match kind {
            WireKind::Now => Self::Now,
            WireKind::Window => Self::Window,
            #[cfg(feature = "wire-next")]
            WireKind::Later(kind) => (*kind).into(),
        }
    }
}

pub fn encode_slot(slot: &Slot) -> Vec<u8> {
    envelope::encode(&WireSlot { to: slot.to.0, window_ms: millis(slot.window) })
}

/// A turn that waits, by the entry it begins with: it may grow meanwhile.
pub fn encode_waiting(first: Seq) -> Vec<u8> {
    envelope::encode(&WireWaiting { first: first.0 })
}

pub fn decode_waiting(bytes: &[u8]) -> Result<Seq, Error> {
    let wire: WireWaiting = envelope::decode(bytes)?;
    Ok(Seq(wire.first))
}

pub fn decode_slot(bytes: &[u8]) -> Result<Slot, Error> {
    let wire: WireSlot = envelope::decode(bytes)?;
    Ok(Slot { to: Seq(wire.to), window: Duration::from_millis(wire.window_ms) })
}
