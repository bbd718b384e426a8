//! Why a send failed, and what its caller does about it.
//!
//! One failure of one route becomes one [`SendError`]; of the failures of several routes the most hopeful
//! one counts. Attempts are counted by the caller, who knows the journal.

use std::time::Duration;

use crate::domain::reason::Reason;
use crate::domain::said::Said;
use crate::io::dingtalk::token;
use crate::protocol::send::codes::{Class, Scope};

/// The organisation's calls of a month are used up: this often the service looks whether it has more.
pub const QUOTA_WAIT: Duration = Duration::from_hours(1);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .reason.as_str())]
pub struct SendError {
    pub class: SendClass,
    /// The message may have been delivered nevertheless.
    pub is_ambiguous: bool,
    /// Another route may take the message.
    pub is_of_route: bool,
    /// What the dead letter says should this be the last attempt.
    pub reason: Reason,
    pub detail: Said,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendClass {
    Permanent,
    /// Worth another attempt, not before `after` where DingTalk said so.
    Retryable {
        after: Option<Duration>,
    },
    /// DingTalk's answer is unknown: worth a few attempts.
    Unknown,
    /// The organisation's calls of this month are used up: worth a look every [`QUOTA_WAIT`].
    Quota,
    /// Not tried: the next permit is that far. No attempt was spent.
    Wait(Duration),
}

impl SendError {
    pub(super) fn of(class: Class, detail: String) -> Self {
        let error = match class {
            Class::Rate { after, .. } => retryable(Some(after), detail),
            Class::Next(_) | Class::Permanent(_) | Class::Template => permanent(detail),
            Class::Quota => Self { class: SendClass::Quota, ..retryable(None, detail) },
            Class::Token => retryable(None, detail),
            Class::Retry { is_ambiguous } => Self { is_ambiguous, ..retryable(None, detail) },
            Class::Unknown { is_ambiguous } => {
                Self { class: SendClass::Unknown, is_ambiguous, ..retryable(None, detail) }
            }
            Class::TooLong | Class::Content => {
                Self { reason: Reason::ReplyContent, ..permanent(detail) }
            }
        };
        let is_of_route = match class {
            Class::Next(_) | Class::Quota => true,
            Class::Rate { scope, .. } => scope == Scope::Webhook,
            // What may have been delivered is not sent by another route.
            Class::Unknown { is_ambiguous } => !is_ambiguous,
            Class::Token
            | Class::Retry { .. }
            | Class::TooLong
            | Class::Content
            | Class::Template
            | Class::Permanent(_) => false,
        };
        Self { is_of_route, ..error }
    }

    /// No token, so the API is closed; a webhook needs none.
    pub(super) fn of_token(error: &token::Error) -> Self {
        let detail = error.to_string();
        match error {
            token::Error::Refused { .. } => Self { is_of_route: true, ..permanent(detail) },
            token::Error::Failed { class, .. } => Self::of(*class, detail),
            token::Error::Unreachable(_) => retryable(None, detail),
        }
    }

    /// Of the failures of two routes the one that decides; the dead letter shows both refusals.
    pub(super) fn after(self, earlier: Option<Self>) -> Self {
        let Some(earlier) = earlier else { return self };
        // What DingTalk says of the text holds for every route.
        if self.reason == Reason::ReplyContent || self.is_ambiguous {
            return self;
        }
        let (mut decides, other) =
            if self.hope() >= earlier.hope() { (self, earlier) } else { (earlier, self) };
        let (first, second) = (decides.detail.expose(), other.detail.expose());
        decides.detail = format!("{first}; {second}").into();
        decides
    }

    fn hope(&self) -> u8 {
        match self.class {
            SendClass::Permanent => 0,
            SendClass::Unknown => 1,
            SendClass::Quota => 2,
            SendClass::Retryable { .. } => 3,
            SendClass::Wait(_) => 4,
        }
    }
}

pub(super) fn permanent(detail: String) -> SendError {
    SendError {
        class: SendClass::Permanent,
        is_ambiguous: false,
        is_of_route: false,
        reason: Reason::ReplyPermanent,
        detail: detail.into(),
    }
}

pub(super) fn retryable(after: Option<Duration>, detail: String) -> SendError {
    SendError {
        class: SendClass::Retryable { after },
        is_ambiguous: false,
        is_of_route: false,
        reason: Reason::ReplyExhausted,
        detail: detail.into(),
    }
}
