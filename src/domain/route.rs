//! Which way to DingTalk is open for an answer.
//!
//! The session webhook first, because it needs no token and may mention people; then the robot's
//! own API. A webhook about to expire is tried only if the API refuses: a send that fails in flight costs
//! an ambiguity.

use std::time::Duration;

use super::entry::Origin;
use super::inbound::PlaceKind;
use super::time::Timestamp;

/// A webhook that expires sooner than this is the last resort.
pub const WEBHOOK_MARGIN: Duration = Duration::from_mins(5);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `POST` to the session webhook.
    Webhook { url: String },
    /// `oToMessages/batchSend` to one person.
    Direct { staff_id: String },
    /// `groupMessages/send`.
    Group { conversation_id: String },
}

impl Route {
    /// The word for it in `dt_sends_total{route}`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Direct { .. } => "oto",
            Self::Group { .. } => "group",
        }
    }
}

/// What is known of the session webhook beyond its expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Webhook {
    Usable,
    /// DingTalk said that the session is gone, or its host is not allowed.
    Unusable,
}

/// Nothing is open, and nothing will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    #[error(
        "the session webhook is not usable and the sender has no staff id for a direct message"
    )]
    NoStaffId,
    #[error("the session webhook is not usable and the group has no conversation id")]
    NoConversation,
}

/// The routes that may take the message, in the order in which they are tried: a later one only if
/// DingTalk refuses the ones before it. A webhook about to expire comes last.
pub fn routes(origin: &Origin, webhook: Webhook, now: Timestamp) -> Result<Vec<Route>, NoRoute> {
    let mut routes = Vec::with_capacity(2);
    let mut late = None;
    if let (Some(session), Webhook::Usable) = (&origin.webhook, webhook) {
        let route = Route::Webhook { url: session.url.clone() };
        if session.expires_at > now.after(WEBHOOK_MARGIN) {
            routes.push(route);
        } else if session.expires_at > now {
            late = Some(route);
        }
    }
    let refusal = match origin.place.kind {
        PlaceKind::Private => match origin.sender.staff_id.as_deref() {
            Some(staff_id) if !staff_id.is_empty() => {
                routes.push(Route::Direct { staff_id: staff_id.to_owned() });
                None
            }
            Some(_) | None => Some(NoRoute::NoStaffId),
        },
        PlaceKind::Group if origin.place.id.is_empty() => Some(NoRoute::NoConversation),
        PlaceKind::Group => {
            routes.push(Route::Group { conversation_id: origin.place.id.clone() });
            None
        }
    };
    routes.extend(late);
    match refusal {
        Some(refusal) if routes.is_empty() => Err(refusal),
        Some(_) | None => Ok(routes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::inbound::{Place, Sender, SessionWebhook};

    fn origin(kind: PlaceKind, staff_id: Option<&str>, expires_at: Option<i64>) -> Origin {
        Origin {
            place: Place { id: "cid+A==".into(), kind, title: None },
            sender: Sender {
                id: "$:LWCP".into(),
                staff_id: staff_id.map(Into::into),
                name: "N".into(),
                corp_id: None,
            },
            robot_code: None,
            webhook: expires_at.map(|at| SessionWebhook {
                url: "https://oapi.dingtalk.com/x".into(),
                expires_at: Timestamp(at),
            }),
        }
    }

    #[test]
    fn the_webhook_comes_first_while_it_lives_long_enough_and_then_the_open_api() {
        use PlaceKind::{Group, Private};
        let now = Timestamp(1_000_000);
        let table = [
            (Private, Some("s"), Some(1_300_001), Webhook::Usable, Ok("webhook oto")),
            (Private, Some("s"), Some(1_300_000), Webhook::Usable, Ok("oto webhook")),
            (Private, Some("s"), Some(1_000_000), Webhook::Usable, Ok("oto")),
            (Private, Some("s"), Some(9_999_999), Webhook::Unusable, Ok("oto")),
            (Private, Some("s"), None, Webhook::Usable, Ok("oto")),
            (Private, None, Some(9_999_999), Webhook::Usable, Ok("webhook")),
            (Private, None, Some(1_300_000), Webhook::Usable, Ok("webhook")),
            (Private, None, None, Webhook::Usable, Err(NoRoute::NoStaffId)),
            (Private, Some(""), None, Webhook::Usable, Err(NoRoute::NoStaffId)),
            (Group, None, Some(9_999_999), Webhook::Usable, Ok("webhook group")),
            (Group, None, Some(1), Webhook::Usable, Ok("group")),
            (Group, Some("s"), Some(9_999_999), Webhook::Unusable, Ok("group")),
        ];
        for (kind, staff_id, expires_at, webhook, expected) in table {
            let chosen = routes(&origin(kind, staff_id, expires_at), webhook, now);
            let found =
                chosen.map(|routes| routes.iter().map(Route::as_str).collect::<Vec<_>>().join(" "));
            assert_eq!(
                found.as_deref().map_err(|e| *e),
                expected,
                "{kind:?} {staff_id:?} {expires_at:?} {webhook:?}"
            );
        }
    }
}
