//! Who may answer a turn: its runtime, by Standard Webhooks with its secret, or an operator.
//!
//! Comparisons take the same time however much is right.

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Replies;
use super::refusal::Refusal;
use crate::domain::binding::RuntimeKind;
use crate::domain::id::{ExpertId, TurnId};
use crate::protocol::webhook::{Headers, Key};

pub(super) async fn check(
    replies: &Replies,
    id: &TurnId,
    expert: Option<&ExpertId>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(), Refusal> {
    let text =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if let Some(token) = bearer(text(header::AUTHORIZATION.as_str())) {
        return if is_admin(replies, token) { Ok(()) } else { Err(Refusal::Unauthorized) };
    }
    let signed = Headers {
        id: text("webhook-id"),
        timestamp: text("webhook-timestamp"),
        signature: text("webhook-signature"),
    };
    if signed.signature.is_empty() {
        return Err(Refusal::Unauthorized);
    }
    // An answer that was signed for another turn is none to this one.
    if signed.id.parse::<TurnId>().is_ok_and(|named| named != *id) {
        return Err(Refusal::Unauthorized);
    }
    let Some(expert) = expert else { return Err(Refusal::Unknown) };
    let now = replies.context.clock.now();
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
        if Key::parse(secret).is_ok_and(|key| key.verify(signed, body, now).is_ok()) {
            return Ok(());
        }
    }
    Err(Refusal::Unauthorized)
}

fn is_admin(replies: &Replies, given: &str) -> bool {
    let Some(expected) = &replies.config.admin_token else { return false };
    // Digests are of one length, so the comparison does not tell how long the token is.
    Sha256::digest(given).ct_eq(&Sha256::digest(expected.expose())).into()
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
