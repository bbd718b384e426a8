//! Signed links: how a person without a card confirms, rejects or ends.
//!
//! Guarantees that no altered link verifies: the signature covers every parameter but itself. A link
//! holds until its time; that it acts only once is the log's business. Which words the page shows is
//! left to the edge.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::domain::id::{IntegrationId, TurnId};
use crate::domain::inbound::PlaceKind;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;

pub const PATH: &str = "/api/dingtalk/action";

/// Signs links and cards' callbacks. Derived from the master key, so every pod has the same one; what the
/// key before a rotation signed still verifies.
#[derive(Clone)]
pub struct Key {
    now: [u8; 32],
    before: Option<[u8; 32]>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Key {
    pub fn derive(master: &[u8], old_master: Option<&[u8]>) -> Self {
        let derive = |master| mac(master, b"dingtalk-trigger action links 1");
        Self { now: derive(master), before: old_master.map(derive) }
    }

    /// The `apiSecret` under which DingTalk signs the card callbacks of an integration in HTTP mode:
    /// whoever registers the callback gives it.
    pub fn card_api_secret(&self, integration: &IntegrationId) -> Secret {
        card_api_secret(&self.now, integration)
    }

    /// That one, and the one that an earlier registration gave: the edge verifies by them.
    pub fn card_api_secrets(&self, integration: &IntegrationId) -> impl Iterator<Item = Secret> {
        self.all().map(|key| card_api_secret(key, integration))
    }

    fn sign(&self, pairs: &[(String, String)]) -> String {
        sign(&self.now, pairs)
    }

    fn has_signed(&self, pairs: &[(String, String)], signature: &str) -> bool {
        let is_by =
            |key: &[u8; 32]| bool::from(sign(key, pairs).as_bytes().ct_eq(signature.as_bytes()));
        self.all().any(is_by)
    }

    fn all(&self) -> impl Iterator<Item = &[u8; 32]> {
        std::iter::once(&self.now).chain(&self.before)
    }
}

fn card_api_secret(key: &[u8], integration: &IntegrationId) -> Secret {
    Secret::new(HEX.encode(&mac(key, format!("card callback {integration}").as_bytes())))
}

/// Over the parameters in order of their names; lengths go first, so that no two sets are alike.
fn sign(key: &[u8], pairs: &[(String, String)]) -> String {
    let mut sorted: Vec<&(String, String)> = pairs.iter().collect();
    sorted.sort_unstable();
    let mut text = Vec::new();
    for (name, value) in sorted {
        for part in [name, value] {
            text.extend_from_slice(&(part.len() as u64).to_be_bytes());
            text.extend_from_slice(part.as_bytes());
        }
    }
    URL_SAFE_NO_PAD.encode(mac(key, &text))
}

const HEX: data_encoding::Encoding = data_encoding::HEXLOWER;

fn mac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    End,
    Confirm,
    Reject,
}

impl Kind {
    const ALL: [Self; 3] = [Self::End, Self::Confirm, Self::Reject];

    fn as_str(self) -> &'static str {
        match self {
            Self::End => "dingtalk:end",
            Self::Confirm => "dingtalk:confirm",
            Self::Reject => "dingtalk:reject",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub kind: Kind,
    pub integration: IntegrationId,
    /// DingTalk's conversation id.
    pub conversation_id: String,
    /// DingTalk's encrypted id of the person it was made for.
    pub sender_id: String,
    pub staff_id: Option<String>,
    pub place_kind: Option<PlaceKind>,
    /// The turn it answers; only `End` does without.
    pub turn: Option<TurnId>,
    pub expires_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the link is not one of ours, or was altered")]
    Wrong,
    #[error("the link has expired")]
    Expired,
}

impl Link {
    /// The whole address below `public_url`.
    pub fn to_url(&self, public_url: &str, key: &Key) -> String {
        let mut pairs = vec![
            ("action".to_owned(), self.kind.as_str().to_owned()),
            ("integrationId".to_owned(), self.integration.to_string()),
            (
                "conversationUserKey".to_owned(),
                format!("{}:{}:{}", self.integration, self.conversation_id, self.sender_id),
            ),
            // A part of a second more does not matter.
            ("exp".to_owned(), (self.expires_at.0 / 1000).to_string()),
        ];
        let place_kind = self.place_kind.map(|kind| match kind {
            PlaceKind::Private => "1".to_owned(),
            PlaceKind::Group => "2".to_owned(),
        });
        let optional = [
            ("turn", self.turn.as_ref().map(TurnId::to_string)),
            ("staffId", self.staff_id.clone()),
            ("conversationType", place_kind),
        ];
        pairs.extend(
            optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))),
        );
        pairs.push(("sig".to_owned(), key.sign(&pairs)));
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
        format!("{}{PATH}?{query}", public_url.trim_end_matches('/'))
    }

    /// The link that the query of a request makes, if it is ours and still holds.
    /// The second value is its signature: the same link again has the same one.
    pub fn verify(query: &str, key: &Key, now: Timestamp) -> Result<(Self, String), Error> {
        if !is_as_written(query) {
            return Err(Error::Wrong);
        }
        let pairs = form_urlencoded::parse(query.as_bytes()).into_owned();
        let (signatures, rest): (Vec<_>, Vec<_>) = pairs.partition(|(name, _)| name == "sig");
        let [(_, signature)] = &signatures[..] else { return Err(Error::Wrong) };
        if !key.has_signed(&rest, signature) {
            return Err(Error::Wrong);
        }
        let link = Self::read(&rest).ok_or(Error::Wrong)?;
        if now >= link.expires_at {
            return Err(Error::Expired);
        }
        Ok((link, signature.clone()))
    }

    fn read(pairs: &[(String, String)]) -> Option<Self> {
        let get = |wanted: &str| {
            pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
        };
        let action = get("action")?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == action)?;
        let integration = IntegrationId::parse(get("integrationId")?).ok()?;
        // Only the first two colons divide: a sender's id has colons of its own.
        let mut key = get("conversationUserKey")?.splitn(3, ':');
        let named = key.next()?;
        let (conversation_id, sender_id) = (key.next()?.to_owned(), key.next()?.to_owned());
        let turn: Option<TurnId> = get("turn").and_then(|text| text.parse().ok());
        let is_consistent = named == integration.as_str()
            && turn.as_ref().is_none_or(|turn| turn.conversation.integration == integration)
            && (turn.is_some() || kind == Kind::End);
        let exp: i64 = get("exp")?.parse().ok()?;
        let place_kind = match get("conversationType") {
            Some("1") => Some(PlaceKind::Private),
            Some("2") => Some(PlaceKind::Group),
            Some(_) | None => None,
        };
        is_consistent.then(|| Self {
            kind,
            integration,
            conversation_id,
            sender_id,
            staff_id: get("staffId").map(str::to_owned),
            place_kind,
            turn,
            expires_at: Timestamp(exp.saturating_mul(1000)),
        })
    }
}

/// The signature covers what the query says, not how: a byte in another case would say the same.
fn is_as_written(query: &str) -> bool {
    let mut escapes = query.split('%');
    escapes.next();
    let is_upper = |rest: &str| rest.bytes().take(2).all(|byte| !byte.is_ascii_lowercase());
    escapes.all(is_upper) && !query.contains(' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn key() -> Key {
        Key::derive(&[7; 32], None)
    }

    fn link(kind: Kind) -> Link {
        Link {
            kind,
            integration: IntegrationId::parse("robot-1").unwrap(),
            conversation_id: "cid6EU+/sg==".to_owned(),
            sender_id: "$:LWCP_v1:$BvMhAv9".to_owned(),
            staff_id: Some("staff 1&2".to_owned()),
            place_kind: Some(PlaceKind::Group),
            turn: Some("robot-1.abcdefghijklmnopqrstuvwx23.42".parse().unwrap()),
            expires_at: Timestamp(NOW.0 + 60_000),
        }
    }

    fn query(url: &str) -> &str {
        url.split_once('?').unwrap().1
    }

    fn written(pairs: &[(String, String)]) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
    }

    #[test]
    fn a_link_reads_back_what_it_was_made_of() {
        for kind in Kind::ALL {
            let made = link(kind);
            let url = made.to_url("https://bots.example/", &key());
            assert!(url.starts_with("https://bots.example/api/dingtalk/action?action=dingtalk%3A"));
            assert_eq!(Link::verify(query(&url), &key(), NOW).unwrap().0, made);
        }
        let bare = Link { turn: None, staff_id: None, place_kind: None, ..link(Kind::End) };
        let url = bare.to_url("", &key());
        assert_eq!(Link::verify(query(&url), &key(), NOW).unwrap().0, bare);
    }

    #[test]
    fn an_expired_link_is_told_from_a_wrong_one() {
        let made = link(Kind::Confirm);
        let url = made.to_url("", &key());
        assert_eq!(Link::verify(query(&url), &key(), made.expires_at).err(), Some(Error::Expired));
        let other = Key::derive(&[8; 32], None);
        assert_eq!(Link::verify(query(&url), &other, made.expires_at).err(), Some(Error::Wrong));
    }

    #[test]
    fn a_link_outlives_one_rotation_of_the_key() {
        let made = link(Kind::Confirm);
        let url = made.to_url("", &key());
        for (old, expected) in [(Some([7; 32]), Ok(&made)), (None, Err(Error::Wrong))] {
            let rotated = Key::derive(&[8; 32], old.as_ref().map(<[u8; 32]>::as_slice));
            let found = Link::verify(query(&url), &rotated, NOW);
            assert_eq!(found.as_ref().map(|(link, _)| link), expected.as_ref().copied());
            let anew = made.to_url("", &rotated);
            assert_eq!(Link::verify(query(&anew), &key(), NOW).err(), Some(Error::Wrong));
        }
    }

    #[test]
    fn a_link_that_contradicts_itself_is_wrong_even_when_signed() {
        let turn = Some("robot-2.abcdefghijklmnopqrstuvwx23.42".parse().unwrap());
        for made in [
            Link { turn: None, ..link(Kind::Confirm) },
            Link { turn: None, ..link(Kind::Reject) },
            Link { turn, ..link(Kind::End) },
        ] {
            let url = made.to_url("", &key());
            assert_eq!(Link::verify(query(&url), &key(), NOW).err(), Some(Error::Wrong), "{url}");
        }
    }

    #[test]
    fn added_doubled_and_missing_parameters_are_wrong() {
        let url = link(Kind::End).to_url("", &key());
        let good: Vec<_> = form_urlencoded::parse(query(&url).as_bytes()).into_owned().collect();
        let wrong = |pairs: Vec<_>| {
            let found = Link::verify(&written(&pairs), &key(), NOW);
            assert_eq!(found.err(), Some(Error::Wrong), "{pairs:?}");
        };
        wrong(Vec::new());
        for index in 0..good.len() {
            let mut fewer = good.clone();
            let taken = fewer.remove(index);
            wrong(fewer.clone());
            fewer.extend([taken.clone(), taken]);
            wrong(fewer);
        }
        let mut more = good;
        more.push(("utm".to_owned(), "x".to_owned()));
        wrong(more);
    }

    #[test]
    fn a_link_with_any_other_byte_at_any_place_is_wrong() {
        let url = link(Kind::Confirm).to_url("", &key());
        let good = query(&url).as_bytes();
        assert!(Link::verify(query(&url), &key(), NOW).is_ok());
        for at in 0..good.len() {
            for byte in 0..128_u8 {
                let mut altered = good.to_vec();
                altered[at] = byte;
                let altered = String::from_utf8(altered).unwrap();
                let found = Link::verify(&altered, &key(), NOW);
                assert_eq!(found.is_ok(), byte == good[at], "{altered}");
            }
        }
    }

    #[test]
    fn each_integration_has_its_own_card_secret() {
        let of = |id| key().card_api_secret(&IntegrationId::parse(id).unwrap());
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
        assert_eq!(format!("{:?} {:?}", of("a"), key()), "*** ***");
    }

    proptest! {
        #[test]
        fn any_parameters_are_judged_without_a_panic(pairs: Vec<(String, String)>) {
            let mut signed = pairs.clone();
            signed.push(("sig".to_owned(), key().sign(&pairs)));
            prop_assert!(Link::verify(&written(&pairs), &key(), NOW).is_err());
            prop_assert!(Link::verify(&written(&signed), &key(), NOW).is_err());
        }

        #[test]
        fn any_text_is_judged_without_a_panic(query: String) {
            prop_assert!(Link::verify(&query, &key(), NOW).is_err());
        }
    }
}
