//! Callbacks in the clear: the header signatures of robot messages and of card callbacks.
//!
//! Neither covers the body, so a captured pair can be used for an hour: that what was taken once is
//! known by its message id, and then without effect, is left to the edge and the log. Both times count in
//! the same window, on both sides of now.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::Error;
use crate::domain::time::Timestamp;

pub const ROBOT_TIMESTAMP: &str = "timestamp";
pub const ROBOT_SIGN: &str = "sign";
pub const CARD_TIMESTAMP: &str = "x-ddpaas-signature-timestamp";
pub const CARD_SIGN: &str = "x-ddpaas-signature";

pub const WINDOW: Duration = Duration::from_secs(3600);

/// The headers `timestamp` and `sign` of a robot message, under the app's secret. Gives when it was
/// signed.
pub fn verify_robot(
    secret: &str,
    timestamp: Option<&str>,
    sign: Option<&str>,
    now: Timestamp,
) -> Result<Timestamp, Error> {
    let timestamp = timestamp.ok_or(Error::SignatureMissing("the header timestamp"))?;
    let sign = sign.ok_or(Error::SignatureMissing("the header sign"))?;
    compare(&robot_sign(secret, timestamp), sign)?;
    check_window("the header timestamp", timestamp, now)
}

/// The headers `x-ddpaas-signature-timestamp` and `x-ddpaas-signature` of a card callback, under the
/// secret that was given when the callback was registered. Gives when it was signed.
pub fn verify_card(
    api_secret: &str,
    timestamp: Option<&str>,
    sign: Option<&str>,
    now: Timestamp,
) -> Result<Timestamp, Error> {
    let timestamp =
        timestamp.ok_or(Error::SignatureMissing("the header x-ddpaas-signature-timestamp"))?;
    let sign = sign.ok_or(Error::SignatureMissing("the header x-ddpaas-signature"))?;
    compare(&card_sign(api_secret, timestamp), sign)?;
    check_window("the header x-ddpaas-signature-timestamp", timestamp, now)
}

pub fn robot_sign(secret: &str, timestamp: &str) -> String {
    mac(secret, &format!("{timestamp}\n{secret}"))
}

pub fn card_sign(api_secret: &str, timestamp: &str) -> String {
    mac(api_secret, timestamp)
}

fn mac(key: &str, text: &str) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

fn compare(expected: &str, given: &str) -> Result<(), Error> {
    if bool::from(expected.as_bytes().ct_eq(given.as_bytes())) {
        Ok(())
    } else {
        Err(Error::SignatureMismatch)
    }
}

fn check_window(part: &'static str, timestamp: &str, now: Timestamp) -> Result<Timestamp, Error> {
    let at = Timestamp(timestamp.parse().map_err(|_| Error::Malformed(part))?);
    if now.since(at).max(at.since(now)) > WINDOW {
        return Err(Error::TimestampOutOfWindow);
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn signatures_are_those_of_the_documented_samples() {
        let robot = |timestamp| robot_sign("this is a secret", timestamp);
        assert_eq!(robot("1577262236757"), "DJrE6qdyVGCQz9z5r2MDuNcNAhwYnuAkyj13cx169CA=");
        assert_eq!(robot("1612345678901"), "GTDFg246lPSBFMXnex1yo5qJSboljQh7XiwN4thewtg=");
        assert_eq!(
            card_sign("example-secret", "1700000000000"),
            "I85VWQbGCqbDkjEb7rsCEkTKI9QSL3wzLms54MiwXlg="
        );
    }

    #[test]
    fn a_signature_holds_for_one_hour_on_both_sides() {
        let hour = 3_600_000;
        let at = 1_700_000_000_000_i64;
        let signed = Ok(Timestamp(at));
        let cases = [
            (at, signed),
            (at + hour, signed),
            (at - hour, signed),
            (at + hour + 1, Err(Error::TimestampOutOfWindow)),
            (at - hour - 1, Err(Error::TimestampOutOfWindow)),
            (i64::MAX, Err(Error::TimestampOutOfWindow)),
        ];
        let text = at.to_string();
        for (now, expected) in cases {
            let now = Timestamp(now);
            let robot = verify_robot("s", Some(&text), Some(&robot_sign("s", &text)), now);
            let card = verify_card("s", Some(&text), Some(&card_sign("s", &text)), now);
            assert_eq!((robot, card), (expected, expected), "{now:?}");
        }
    }

    #[test]
    fn what_is_missing_wrong_or_unreadable_is_told_apart() {
        let now = Timestamp(0);
        let sign = robot_sign("s", "0");
        let odd = robot_sign("s", "soon");
        let cases = [
            (None, Some(sign.as_str()), Error::SignatureMissing("the header timestamp")),
            (Some("0"), None, Error::SignatureMissing("the header sign")),
            (Some("0"), Some("DJrE6qdyVGC"), Error::SignatureMismatch),
            (Some("1"), Some(&sign), Error::SignatureMismatch),
            (Some("soon"), Some(&odd), Error::Malformed("the header timestamp")),
        ];
        for (timestamp, sign, expected) in cases {
            assert_eq!(verify_robot("s", timestamp, sign, now), Err(expected));
        }
    }

    proptest! {
        #[test]
        fn any_headers_are_judged_without_a_panic(timestamp: String, sign: String, now: i64) {
            prop_assert!(verify_robot("s", Some(&timestamp), Some(&sign), Timestamp(now)).is_err());
            let good = card_sign("s", &timestamp);
            verify_card("s", Some(&timestamp), Some(&good), Timestamp(now)).ok();
        }
    }
}
