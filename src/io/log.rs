//! The log: the stream `DT_IN`, every conversation's entries in the order the broker stored them.

use crate::domain::id::Seq;

/// What the log did with an entry. Both mean that it is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    Stored(Seq),
    /// It was there before: a redelivery.
    Duplicate(Seq),
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the entry has {bytes} bytes, more than DT_ENTRY_MAX_BYTES = {max}")]
    TooLarge { bytes: usize, max: usize },
    #[error("the log did not confirm the entry: {0}")]
    NotDurable(String),
}
