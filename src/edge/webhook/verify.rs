//! Whether a callback is what it claims to be, and what it comes to.
//!
//! Waits for nothing, so that what it reads lives no longer than the reading. Guarantees that nothing is
//! decided before the signature matched. What a payload means is decided in [`accept`].

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use rand::RngExt;
use rand::distr::Alphanumeric;
use serde_json_borrow::Value;

use crate::domain::binding::Integration;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::edge::Edge;
use crate::edge::accept::{self, Decision, Payload};
use crate::protocol::callback::signed::{
    CARD_SIGN, CARD_TIMESTAMP, ROBOT_SIGN, ROBOT_TIMESTAMP, verify_card, verify_robot,
};
use crate::protocol::callback::{Envelopes, Error, Stamp};
use crate::protocol::loose;

const DECRYPTED: &str = "the decrypted text";

/// A request as it was received.
pub struct Callback {
    pub head: Parts,
    pub body: Bytes,
}

/// A callback that is what it claims to be.
pub struct Verified {
    pub decision: Decision,
    pub answer: Answer,
    pub signed_at: Timestamp,
}

/// How success is told to the sender.
pub enum Answer {
    Plain,
    /// With what the card shows from now on.
    Card,
    /// Encrypted as the question was.
    Envelope(Envelopes),
}

impl Callback {
    /// Verifies and decrypts it with the keys of `integration` as it is known now.
    pub fn decide(&self, edge: &Edge, integration: &Integration) -> Result<Verified, Error> {
        let body = read(&self.body, "the body")?;
        if let Some(encrypt) = loose::field(&body, "encrypt") {
            return self.decide_envelope(integration, encrypt);
        }
        let payload = accept::payload(&body);
        let signed_at = self.verify(edge, integration, payload.as_ref())?;
        let payload = payload.ok_or(Error::Malformed("the body"))?;
        let answer = match payload {
            Payload::Card => Answer::Card,
            Payload::Robot | Payload::Event(_) => Answer::Plain,
        };
        Ok(Verified { decision: decide(integration, &payload, &body)?, answer, signed_at })
    }

    fn decide_envelope(
        &self,
        integration: &Integration,
        encrypt: &Value<'_>,
    ) -> Result<Verified, Error> {
        let query = self.head.uri.query().unwrap_or_default();
        let query: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        let get = |names: &[&str], missing| {
            let value = names.iter().find_map(|wanted| {
                query.iter().find(|(name, _)| name == wanted).map(|(_, value)| &**value)
            });
            value.filter(|value| !value.is_empty()).ok_or(Error::SignatureMissing(missing))
        };
        let stamp = Stamp {
            signature: get(&["msg_signature", "signature"], "the query parameter signature")?,
            timestamp: get(&["timestamp", "timeStamp"], "the query parameter timestamp")?,
            nonce: get(&["nonce"], "the query parameter nonce")?,
        };
        let encrypt = encrypt.as_str().ok_or(Error::Malformed("encrypt"))?;
        // Without token and key nothing can match.
        let envelopes = Envelopes::of(integration).ok_or(Error::SignatureMismatch)?;
        let plain = envelopes.decrypt(&stamp, encrypt)?;
        let value = read(&plain, DECRYPTED)?;
        let payload = accept::payload(&value).ok_or(Error::Malformed(DECRYPTED))?;
        let decision = decide(integration, &payload, &value)?;
        let signed_at = signed_at(stamp.timestamp);
        Ok(Verified { decision, answer: Answer::Envelope(envelopes), signed_at })
    }

    /// A callback in the clear, by the signature in its headers.
    fn verify(
        &self,
        edge: &Edge,
        integration: &Integration,
        payload: Option<&Payload>,
    ) -> Result<Timestamp, Error> {
        let header = |name| self.head.headers.get(name).and_then(|value| value.to_str().ok());
        let now = edge.context.clock.now();
        if payload == Some(&Payload::Card) {
            let verify = |secret: Secret| {
                verify_card(secret.expose(), header(CARD_TIMESTAMP), header(CARD_SIGN), now)
            };
            // The callback may have been registered before the last rotation of the master key.
            let mut verified = edge.action_key.card_api_secrets(&integration.id).map(verify);
            let matched = verified.find(|it| *it != Err(Error::SignatureMismatch));
            matched.unwrap_or(Err(Error::SignatureMismatch))
        } else {
            let secret = integration.client_secret.expose();
            verify_robot(secret, header(ROBOT_TIMESTAMP), header(ROBOT_SIGN), now)
        }
    }
}

/// When an envelope was signed: in milliseconds, or in seconds as in DingTalk's older samples. What is
/// neither is older than all that it might repeat.
fn signed_at(stamp: &str) -> Timestamp {
    const SECONDS_MAX: i64 = 100_000_000_000;
    match stamp.parse::<i64>() {
        Ok(seconds @ 0..SECONDS_MAX) => Timestamp(seconds * 1000),
        Ok(millis) => Timestamp(millis),
        Err(_) => Timestamp(0),
    }
}

fn read<'a>(bytes: &'a [u8], what: &'static str) -> Result<Value<'a>, Error> {
    // All of it at once is checked sooner than text by text.
    let text = std::str::from_utf8(bytes).map_err(|_| Error::Malformed(what))?;
    loose::parse(text).ok_or(Error::Malformed(what))
}

fn decide(
    integration: &Integration,
    payload: &Payload,
    value: &Value<'_>,
) -> Result<Decision, Error> {
    accept::decide(integration, payload, value).map_err(|error| Error::Malformed(error.0))
}

/// Success for what has no card to change.
pub fn plain() -> Response {
    const SUCCESS: &str = r#"{"msgtype":"empty"}"#;
    let mut response = Response::new(Body::from(SUCCESS));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// Success, encrypted.
pub fn sealed(envelopes: &Envelopes, now: Timestamp) -> Response {
    let nonce = String::from_utf8_lossy(&random::<8>()).into_owned();
    Json(envelopes.encrypt(b"success", random(), &now.0.to_string(), &nonce)).into_response()
}

/// Letters and digits, as DingTalk's own samples use.
fn random<const N: usize>() -> [u8; N] {
    let mut generator = rand::rng();
    std::array::from_fn(|_| generator.sample(Alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_stamped_in_milliseconds_or_in_seconds() {
        for (stamp, expected) in [
            ("1783610513000", 1_783_610_513_000),
            ("1783610513", 1_783_610_513_000),
            ("0", 0),
            ("-1", -1),
            ("soon", 0),
            ("99999999999999999999", 0),
        ] {
            assert_eq!(signed_at(stamp), Timestamp(expected), "{stamp}");
        }
    }
}
