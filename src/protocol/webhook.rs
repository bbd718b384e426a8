//! Standard Webhooks: how a turn is signed for a callback runtime, and how its late answer is checked.
//!
//! The signature covers id, time and the exact bytes of the body. Checking is constant-time, refuses
//! what is older or newer than five minutes, and accepts any of several signatures, so that a secret
//! can be changed without a gap.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;

const TOLERANCE_S: u64 = 5 * 60;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("secret must be `whsec_` and the base64 of 24 to 64 bytes")]
    Secret,
    #[error("the header webhook-timestamp must be seconds since 1970")]
    Timestamp,
    #[error("webhook-timestamp lies more than five minutes away from now")]
    OutOfWindow,
    #[error("no signature in webhook-signature fits id, timestamp and body")]
    Mismatch,
}

pub struct Key(Vec<u8>);

/// The three headers of a signed request.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a> {
    pub id: &'a str,
    pub timestamp: &'a str,
    pub signature: &'a str,
}

impl Headers<'_> {
    /// The time alone, before the body is there.
    pub fn check_time(&self, now: Timestamp) -> Result<(), Error> {
        let seconds: i64 = self.timestamp.parse().map_err(|_| Error::Timestamp)?;
        if seconds.abs_diff(now.0.div_euclid(1000)) > TOLERANCE_S {
            return Err(Error::OutOfWindow);
        }
        Ok(())
    }
}

impl Key {
    pub fn parse(secret: &Secret) -> Result<Self, Error> {
        let text = secret.expose().strip_prefix("whsec_").ok_or(Error::Secret)?;
        let bytes = STANDARD.decode(text).map_err(|_| Error::Secret)?;
        if (24..=64).contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(Error::Secret) }
    }

    /// The value of `webhook-signature`.
    pub fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let tag = self.mac(id, &timestamp_s.to_string(), body).finalize().into_bytes();
        format!("v1,{}", STANDARD.encode(tag))
    }

    pub fn verify(&self, headers: Headers<'_>, body: &[u8], now: Timestamp) -> Result<(), Error> {
        headers.check_time(now)?;
        let mac = self.mac(headers.id, headers.timestamp, body);
        let fits = headers
            .signature
            .split_ascii_whitespace()
            .filter_map(|signature| signature.strip_prefix("v1,"))
            .filter_map(|text| STANDARD.decode(text).ok())
            .any(|tag| mac.clone().verify_slice(&tag).is_ok());
        if fits { Ok(()) } else { Err(Error::Mismatch) }
    }

    fn mac(&self, id: &str, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of the Standard Webhooks specification.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn key() -> Key {
        Key::parse(&Secret::new(SECRET)).unwrap()
    }

    #[test]
    fn the_published_example_signs_and_verifies() {
        assert_eq!(key().sign(ID, AT, BODY), SIGNATURE);
        let headers = Headers { id: ID, timestamp: "1614265330", signature: SIGNATURE };
        assert_eq!(key().verify(headers, BODY, Timestamp(AT * 1000)), Ok(()));
    }

    #[test]
    fn what_was_changed_on_the_way_is_refused() {
        let good = Headers { id: ID, timestamp: "1614265330", signature: SIGNATURE };
        let several = format!("v1a,zzz v1,AAAA {SIGNATURE}");
        let now = AT * 1000;
        type Case<'a> = (&'a str, Headers<'a>, &'a [u8], i64, Result<(), Error>);
        let table: [Case<'_>; 9] = [
            ("another body", good, b"{}", now, Err(Error::Mismatch)),
            ("another id", Headers { id: "x", ..good }, BODY, now, Err(Error::Mismatch)),
            (
                "another time",
                Headers { timestamp: "1614265331", ..good },
                BODY,
                now,
                Err(Error::Mismatch),
            ),
            ("no time", Headers { timestamp: "", ..good }, BODY, now, Err(Error::Timestamp)),
            ("no signature", Headers { signature: "", ..good }, BODY, now, Err(Error::Mismatch)),
            (
                "no version",
                Headers { signature: SIGNATURE.trim_start_matches("v1,"), ..good },
                BODY,
                now,
                Err(Error::Mismatch),
            ),
            ("one of several", Headers { signature: &several, ..good }, BODY, now, Ok(())),
            ("too old", good, BODY, now + 301_000, Err(Error::OutOfWindow)),
            ("too new", good, BODY, now - 301_000, Err(Error::OutOfWindow)),
        ];
        for (what, headers, body, at, expected) in table {
            assert_eq!(key().verify(headers, body, Timestamp(at)), expected, "{what}");
        }
    }

    #[test]
    fn a_secret_needs_its_prefix_and_a_fair_length() {
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        for good in [of(24), of(64)] {
            assert!(Key::parse(&Secret::new(good)).is_ok());
        }
        for bad in [of(23), of(65), "MfKQ".to_owned(), "whsec_***".to_owned(), String::new()] {
            assert!(Key::parse(&Secret::new(bad.clone())).is_err(), "{bad}");
        }
    }
}
