//! Who may answer a turn: its runtime, by Standard Webhooks with its secret, or an operator.
//!
//! In two steps: what the head alone can tell is checked before anything is looked up or read, the signature once the
//! body is there. Everyone without proof gets the same answer, whether the turn exists or not.

use axum::http::HeaderMap;

use super::Replies;
use super::refusal::Refusal;
use crate::domain::binding::RuntimeKind;
use crate::domain::id::ExpertId;
use crate::io::admin::Shown;
use crate::protocol::webhook::{Headers, Key};

/// What the head of a request claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// Proved.
    Admin,
    /// To be proved by the body.
    Signed,
}

pub(super) async fn claim(
    replies: &Replies,
    turn: &str,
    headers: &HeaderMap,
) -> Result<Claim, Refusal> {
    match replies.config.admin.check(headers).await {
        Shown::Right => return Ok(Claim::Admin),
        Shown::Wrong => return Err(Refusal::Unauthorized),
        Shown::Nothing => {}
    }
    let signed = signed(headers);
    let now = replies.context.clock.now();
    // An answer that was signed for another turn is none to this one.
    if signed.id != turn || signed.signature.is_empty() || signed.check_time(now).is_err() {
        return Err(Refusal::Unauthorized);
    }
    Ok(Claim::Signed)
}

/// The signature over the whole request, with the secret of the runtime that the turn asked.
pub(super) async fn verify(
    replies: &Replies,
    expert: &ExpertId,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(), Refusal> {
    let (signed, now) = (signed(headers), replies.context.clock.now());
    let mut known = None;
    // The secret may have been changed a moment ago, or be unknown to this process yet.
    for is_again in [false, true] {
        let found = match is_again {
            false => replies.routing.runtime(expert).await,
            true => replies.routing.runtime_fresh(expert).await,
        };
        let runtime = found.map_err(|_| Refusal::Unavailable)?;
        let Some(RuntimeKind::Callback { secret, .. }) = runtime.as_ref().map(|it| &it.kind) else {
            continue;
        };
        // Each secret is tried once.
        if known.as_ref() == Some(secret) {
            break;
        }
        if Key::parse(secret).is_ok_and(|key| key.verify(signed, body, now).is_ok()) {
            return Ok(());
        }
        known = Some(secret.clone());
    }
    Err(Refusal::Unauthorized)
}

fn signed(headers: &HeaderMap) -> Headers<'_> {
    let text =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Headers {
        id: text("webhook-id"),
        timestamp: text("webhook-timestamp"),
        signature: text("webhook-signature"),
    }
}
