//! The wire form of a press, and of one that is asked again in place of messages.
//!
//! They share it, so that a press is asked again as it was pressed. Variants and fields are appended, never
//! reordered.

use serde::{Deserialize, Serialize};

use super::{WirePlace, WireSender};
use crate::domain::entry::{Action, ActionKind, Again, Replay};
use crate::domain::id::{ExpertId, InvalidId, Seq};

#[derive(Serialize, Deserialize)]
pub(super) struct WireAction {
    turn: String,
    kind: WireActionKind,
    by: WireSender,
    place: Option<WirePlace>,
    params: String,
}

#[derive(Serialize, Deserialize)]
enum WireActionKind {
    Confirm,
    Reject,
    Custom(String),
    End,
}

#[derive(Serialize, Deserialize)]
pub(super) struct WirePressAgain {
    pub(super) dead: u64,
    pub(super) expert: String,
    pub(super) epoch: u64,
    pub(super) action: WireAction,
    pub(super) run: Option<String>,
}

impl From<Action> for WireAction {
    fn from(action: Action) -> Self {
        Self {
            turn: action.turn.to_string(),
            kind: match action.kind {
                ActionKind::Confirm => WireActionKind::Confirm,
                ActionKind::Reject => WireActionKind::Reject,
                ActionKind::Custom(name) => WireActionKind::Custom(name),
                ActionKind::End => WireActionKind::End,
            },
            by: action.by.into(),
            place: action.place.map(Into::into),
            params: action.params,
        }
    }
}

impl TryFrom<WireAction> for Action {
    type Error = InvalidId;

    fn try_from(wire: WireAction) -> Result<Self, InvalidId> {
        Ok(Self {
            turn: wire.turn.parse()?,
            kind: match wire.kind {
                WireActionKind::Confirm => ActionKind::Confirm,
                WireActionKind::Reject => ActionKind::Reject,
                WireActionKind::Custom(name) => ActionKind::Custom(name),
                WireActionKind::End => ActionKind::End,
            },
            by: wire.by.into(),
            place: wire.place.map(Into::into),
            params: wire.params,
        })
    }
}

impl TryFrom<WirePressAgain> for Replay {
    type Error = InvalidId;

    fn try_from(wire: WirePressAgain) -> Result<Self, InvalidId> {
        let action = Box::new(wire.action.try_into()?);
        let again = Again::Press { action, run: wire.run };
        let (dead, epoch) = (Seq(wire.dead), Seq(wire.epoch));
        Ok(Self { dead, expert: ExpertId::parse(&wire.expert)?, epoch, again })
    }
}
