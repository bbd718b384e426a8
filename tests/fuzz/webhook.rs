//! Bodies of webhooks: encrypted envelopes, header signatures, signed links, replies of runtimes.
//!
//! Nothing verifies that was not signed with the right key, and what was signed verifies; an envelope
//! opens to what was put in, and signed rubbish in one is refused without a panic.

use data_encoding::{BASE64, HEXLOWER};
use dingtalk_trigger::domain::binding::Scope;
use dingtalk_trigger::domain::secret::Secret;
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::protocol::action::{Key, Link};
use dingtalk_trigger::protocol::callback::signed::{
    card_sign, robot_sign, verify_card, verify_robot,
};
use dingtalk_trigger::protocol::callback::{Envelopes, Error, Stamp};
use dingtalk_trigger::protocol::webhook;
use sha1::{Digest, Sha1};

use super::{integration, robot};

pub(super) const TOKEN: &str = "callback-token";
pub(super) const AES_KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
const SECRET: &str = "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
const NOW: Timestamp = Timestamp(1_700_000_000_000);

pub(super) fn check(data: &[u8]) {
    let envelopes = Envelopes::of(&integration(Scope::Sender)).expect("keys of the fixtures");
    check_envelope(&envelopes, data);
    check_rubbish(&envelopes, data);
    let text = String::from_utf8_lossy(data);
    check_headers(&text);
    check_reply(&text, data);
    check_link(&text);
    robot::check(data);
}

/// What is encrypted opens to the same bytes; altered or for another it does not.
fn check_envelope(envelopes: &Envelopes, data: &[u8]) {
    let sealed = envelopes.encrypt(data, [7; 16], "1", "nonce");
    let stamp = Stamp { signature: &sealed.msg_signature, timestamp: "1", nonce: "nonce" };
    assert_eq!(envelopes.decrypt(&stamp, &sealed.encrypt).as_deref(), Ok(data));
    let mut altered = sealed.encrypt.clone();
    altered.push('=');
    assert_eq!(envelopes.decrypt(&stamp, &altered), Err(Error::SignatureMismatch));
    let other = Envelopes::new(TOKEN, AES_KEY, "another").expect("keys of the fixtures");
    let refused = other.decrypt(&stamp, &sealed.encrypt);
    assert!(matches!(refused, Err(Error::ReceiverMismatch | Error::Unreadable(_))), "{refused:?}");
}

/// Signed by who knows the token, with anything inside: as base64 text, and as the cipher itself.
fn check_rubbish(envelopes: &Envelopes, data: &[u8]) {
    for encrypt in [String::from_utf8_lossy(data).into_owned(), BASE64.encode(data)] {
        let mut parts = [TOKEN, "1", "n", &encrypt];
        parts.sort_unstable();
        let signature = HEXLOWER.encode(&Sha1::digest(parts.concat()));
        let stamp = Stamp { signature: &signature, timestamp: "1", nonce: "n" };
        let opened = envelopes.decrypt(&stamp, &encrypt);
        assert_ne!(opened, Err(Error::SignatureMismatch));
    }
}

/// A timestamp of the sender's choice, with the right signature and with a wrong one.
fn check_headers(text: &str) {
    let (timestamp, sign) = text.split_once('\n').unwrap_or((text, ""));
    assert!(verify_robot("s", Some(timestamp), Some(sign), NOW).is_err());
    assert!(verify_card("s", Some(timestamp), Some(sign), NOW).is_err());
    let robot = verify_robot("s", Some(timestamp), Some(&robot_sign("s", timestamp)), NOW);
    let card = verify_card("s", Some(timestamp), Some(&card_sign("s", timestamp)), NOW);
    let is_near = timestamp.parse().is_ok_and(|at: i64| NOW.0.abs_diff(at) <= 3_600_000);
    assert_eq!((robot.is_ok(), card.is_ok()), (is_near, is_near), "{timestamp:?}");
}

/// A reply that a runtime signed verifies, and no other body under its signature.
fn check_reply(text: &str, body: &[u8]) {
    let key = webhook::Key::parse(&Secret::new(SECRET)).expect("a secret");
    let seconds = NOW.0 / 1000;
    let signature = key.sign(text, seconds, body);
    let timestamp = seconds.to_string();
    let headers = webhook::Headers { id: text, timestamp: &timestamp, signature: &signature };
    assert_eq!(key.verify(headers, body, NOW), Ok(()));
    let longer = [body, b"x"].concat();
    assert_eq!(key.verify(headers, &longer, NOW), Err(webhook::Error::Mismatch));
    let foreign = webhook::Headers { id: "1", timestamp: &timestamp, signature: text };
    assert_eq!(key.verify(foreign, body, NOW), Err(webhook::Error::Mismatch));
    webhook::Key::parse(&Secret::new(text)).ok();
}

/// The query of an action link: no text but a signed one makes a link.
fn check_link(text: &str) {
    assert!(Link::verify(text, &Key::derive(b"key", None), NOW).is_err());
}
