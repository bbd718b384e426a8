//! Whether a callback is what it claims to be, and what it comes to.
//!
//! In two steps: what the head proves, before a byte of the body is read, and what the body is. Guarantees that
//! nothing but one field is parsed before a signature matched, and that each signature is checked once for each
//! state of the integration. What a payload means is decided in [`accept`].

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use rand::RngExt;
use rand::distr::Alphanumeric;
use serde::Deserialize;
use serde_json::error::Category;
use serde_json_borrow::Value;

use crate::context::body::Held;
use crate::domain::binding::Integration;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::edge::Edge;
use crate::edge::accept::{self, Decision, Payload};
use crate::protocol::callback::signed::{
    CARD_SIGN, CARD_TIMESTAMP, ROBOT_SIGN, ROBOT_TIMESTAMP, WINDOW, verify_card, verify_robot,
};
use crate::protocol::callback::{Envelopes, Error, Stamp};
use crate::protocol::loose;

const BODY: &str = "the body";
const DECRYPTED: &str = "the decrypted text";
const SIGNATURE: &str = "the headers timestamp and sign, or the query parameter signature";
/// The log keeps an entry for seven days. An envelope from before that could act a second time.
const ENVELOPE_AGE_MAX: Duration = Duration::from_secs((7 * 24 - 1) * 3600);

/// What the head of a request proves of a callback in the clear: when it was signed, for each kind of
/// signature. Neither covers the body.
pub struct Proof {
    robot: Result<Timestamp, Error>,
    card: Result<Timestamp, Error>,
    /// The body may be an envelope, which proves itself.
    is_stamped: bool,
}

impl Proof {
    pub fn of(edge: &Edge, integration: &Integration, head: &Parts) -> Self {
        let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        let now = edge.context.clock.now();
        let card = match (header(CARD_TIMESTAMP), header(CARD_SIGN)) {
            (None, None) => Err(Error::SignatureMissing(CARD_SIGN)),
            (at, sign) => {
                let verify = |secret: Secret| verify_card(secret.expose(), at, sign, now);
                // The callback may have been registered before the last rotation of the master key.
                let mut tried = edge.action_key.card_api_secrets(&integration.id).map(verify);
                let matched = tried.find(|it| *it != Err(Error::SignatureMismatch));
                matched.unwrap_or(Err(Error::SignatureMismatch))
            }
        };
        let robot = match (header(ROBOT_TIMESTAMP), header(ROBOT_SIGN)) {
            (None, None) => Err(Error::SignatureMissing(SIGNATURE)),
            (at, sign) => verify_robot(integration.client_secret.expose(), at, sign, now),
        };
        Self { robot, card, is_stamped: Query::of(head).signature.is_some() }
    }

    /// Whether the body may be read: the head proves something, or an envelope may.
    pub fn admits(&self) -> Result<(), Error> {
        if self.is_stamped { Ok(()) } else { self.of_head() }
    }

    fn of_head(&self) -> Result<(), Error> {
        match (self.robot, self.card) {
            (Ok(_), _) | (_, Ok(_)) => Ok(()),
            (Err(Error::SignatureMissing(SIGNATURE)), Err(error))
                if error != Error::SignatureMissing(CARD_SIGN) =>
            {
                Err(error)
            }
            (Err(error), Err(_)) => Err(error),
        }
    }

    /// When a payload was signed, by the signature of its kind.
    fn of_payload(&self, payload: &Payload) -> Result<Timestamp, Error> {
        match payload {
            Payload::Card => self.card,
            Payload::Robot | Payload::Event(_) => self.robot,
        }
    }
}

/// The query parameters of an envelope, as far as they are there.
struct Query<'a> {
    signature: Option<Cow<'a, str>>,
    timestamp: Option<Cow<'a, str>>,
    nonce: Option<Cow<'a, str>>,
}

impl<'a> Query<'a> {
    fn of(head: &'a Parts) -> Self {
        let query = head.uri.query().unwrap_or_default();
        let query: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        let get = |names: &[&str]| {
            let value = names.iter().find_map(|wanted| {
                query.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
            });
            value.filter(|value| !value.is_empty())
        };
        Self {
            signature: get(&["msg_signature", "signature"]),
            timestamp: get(&["timestamp", "timeStamp"]),
            nonce: get(&["nonce"]),
        }
    }

    fn stamp(&self) -> Result<Stamp<'_>, Error> {
        let given = |value: Option<_>, missing| value.ok_or(Error::SignatureMissing(missing));
        Ok(Stamp {
            signature: given(self.signature.as_deref(), "the query parameter signature")?,
            timestamp: given(self.timestamp.as_deref(), "the query parameter timestamp")?,
            nonce: given(self.nonce.as_deref(), "the query parameter nonce")?,
        })
    }
}

/// A request as it was received.
pub struct Callback {
    pub head: Parts,
    pub body: Held,
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

/// All that is read of a body that may be an envelope: the rest is skipped.
#[derive(Deserialize)]
struct Sealed<'a> {
    #[serde(borrow)]
    encrypt: Option<Cow<'a, str>>,
}

impl Callback {
    /// Verifies and decrypts it with the keys of `integration`, for which the head proves `proof`.
    pub fn decide(
        &self,
        proof: &Proof,
        integration: &Integration,
        now: Timestamp,
    ) -> Result<Verified, Error> {
        if proof.is_stamped
            && let Some(encrypt) = envelope(&self.body.bytes)?
        {
            return self.decide_envelope(integration, &encrypt, now);
        }
        proof.of_head()?;
        let body = read(&self.body.bytes, Error::Malformed(BODY))?;
        if loose::field(&body, "encrypt").is_some() {
            return Err(Error::SignatureMissing("the query parameter signature"));
        }
        let payload = accept::payload(&body).ok_or(Error::Malformed(BODY))?;
        let signed_at = proof.of_payload(&payload)?;
        let answer = match payload {
            Payload::Card => Answer::Card,
            Payload::Robot | Payload::Event(_) => Answer::Plain,
        };
        Ok(Verified { decision: decide(integration, &payload, &body)?, answer, signed_at })
    }

    fn decide_envelope(
        &self,
        integration: &Integration,
        encrypt: &str,
        now: Timestamp,
    ) -> Result<Verified, Error> {
        let query = Query::of(&self.head);
        let stamp = query.stamp()?;
        // Without token and key nothing can match.
        let envelopes = Envelopes::of(integration).ok_or(Error::SignatureMismatch)?;
        let plain = envelopes.decrypt(&stamp, encrypt)?;
        let value = read(&plain, Error::Unreadable(DECRYPTED))?;
        let signed_at = signed_at(stamp.timestamp);
        // Timestamp and nonce are signed without a border between them, so that a digit can move: a stamp may
        // be made to look older, or far ahead.
        if now.since(signed_at) > ENVELOPE_AGE_MAX || signed_at.since(now) > WINDOW {
            return Err(Error::TimestampOutOfWindow);
        }
        let payload = accept::payload(&value).ok_or(Error::Malformed(DECRYPTED))?;
        let decision = decide(integration, &payload, &value)?;
        Ok(Verified { decision, answer: Answer::Envelope(envelopes), signed_at })
    }
}

/// The envelope in a body, if there is one.
fn envelope(body: &[u8]) -> Result<Option<Cow<'_, str>>, Error> {
    match serde_json::from_slice::<Sealed<'_>>(body) {
        Ok(sealed) => Ok(sealed.encrypt),
        Err(error) if error.classify() == Category::Data => Err(Error::Malformed("encrypt")),
        Err(_) => Err(Error::Malformed(BODY)),
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

fn read(bytes: &[u8], otherwise: Error) -> Result<Value<'_>, Error> {
    // All of it at once is checked sooner than text by text.
    let text = std::str::from_utf8(bytes).map_err(|_| otherwise)?;
    loose::parse(text).ok_or(otherwise)
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
