//! The entry to the hand-off machine: which transition an event asks for.
//!
//! Total: an event that does not fit the state changes nothing.

use super::machine::Machine;
use super::{Decision, Event, Head, Policy};
use crate::domain::id::{Conversation, TurnId};
use crate::domain::reason::Reason;
use crate::domain::turn::{opening, question};

/// What `event` means for the conversation, under the bounds of `policy`.
pub fn decide(head: Head, conversation: &Conversation, event: Event, policy: Policy) -> Decision {
    let Some(turn) = head.turn.clone() else { return idle(head, event, policy) };
    let id = TurnId { conversation: conversation.clone(), last: turn.last };
    let machine = Machine { head, turn, id, policy };
    match event {
        // The open turn comes first, whatever is offered now.
        Event::Opened { .. } | Event::Idle { .. } => machine.unchanged(),
        Event::Taken { runtime, at } => machine.taken(runtime, at),
        Event::Poisoned { deliveries } => {
            let detail = format!("the slot was delivered {deliveries} times without an end");
            machine.bury(Reason::Poison, detail.into())
        }
        Event::Unrecordable { why } => machine.bury(Reason::Limit, why.into()),
        Event::Unreadable { why } => machine.bury(Reason::Decode, why.into()),
        Event::RunNamed { attempt, run } => machine.run_named(attempt, run),
        Event::Answered { attempt, answered } => machine.answered(attempt, answered),
        Event::Accepted { attempt, at } => machine.accepted(attempt, at),
        Event::Failed { attempt, failure, at } => machine.failed(attempt, failure, at),
        Event::Sent { webhook_free_at, at } => machine.sent(webhook_free_at, at),
        Event::SendFailed { failure, tries, at } => machine.send_failed(failure, tries, at),
        Event::AskedInPrivate => machine.asked_in_private(),
        Event::SendHeld { until } => machine.send_held(until),
        Event::DeadSettled { at } => machine.delivered(at),
        Event::Buried => machine.buried(),
        Event::Controlled { by } => machine.controlled(by),
        Event::Vanished => machine.lost(),
        Event::Widened { last, accepted_at, at } => machine.widened(last, accepted_at, at),
        Event::Steered { last, accepted_at } => machine.steered(last, accepted_at),
    }
}

/// Without an open turn only a new one changes the head, and the time that goes by.
fn idle(head: Head, event: Event, policy: Policy) -> Decision {
    match event {
        Event::Opened { turn, at } => opening::open(head, turn, at, policy),
        Event::Idle { at } => question::idle(head, at),
        Event::Taken { .. }
        | Event::Poisoned { .. }
        | Event::Unrecordable { .. }
        | Event::Unreadable { .. }
        | Event::RunNamed { .. }
        | Event::Answered { .. }
        | Event::Accepted { .. }
        | Event::Failed { .. }
        | Event::Sent { .. }
        | Event::SendFailed { .. }
        | Event::AskedInPrivate
        | Event::SendHeld { .. }
        | Event::DeadSettled { .. }
        | Event::Buried
        | Event::Controlled { .. }
        | Event::Vanished
        | Event::Widened { .. }
        | Event::Steered { .. } => Decision { head, record: None, commands: vec![] },
    }
}
