//! The headers by which a stage, and a person with `nats stream view`, know a record without decoding it.
//!
//! Every record of ours says what it is and whose; a record's own file decides in which words. Headers of
//! one stage alone stand with that stage.

use crate::domain::id::{Conversation, Seq, TurnId};

/// What a record is, in a word.
pub const KIND: &str = "Dt-Kind";

/// The id under which an entry was stored.
pub const MSG_ID: &str = "Dt-Msg-Id";

/// The turn that a record belongs to; of a timer, a token or a slot, the one that ends at its entry.
pub const TURN: &str = "Dt-Turn";

/// What stands under [`TURN`]: the id of the turn that ends at `last`.
pub fn turn(conversation: &Conversation, last: Seq) -> String {
    TurnId { conversation: conversation.clone(), last }.to_string()
}
