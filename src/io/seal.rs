//! Secrets at rest: AES-256-GCM under the master key.
//!
//! Guarantees that a sealed secret opens only in the place it was sealed for (table, row and column
//! are authenticated) and that the key's id stands in it, so that an older key can be kept until
//! everything is sealed anew. Nothing here prints a secret or a key.

use std::fmt;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::domain::secret::Secret;

const VERSION: u8 = 1;
const KEY_ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 12;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("must be base64 of 32 bytes; make one with `openssl rand -base64 32`")]
    InvalidKey,
    #[error("{place} is not a sealed secret")]
    Malformed { place: String },
    #[error(
        "{place} is sealed under the unknown master key {key}; give that key as DT_MASTER_KEY_OLD"
    )]
    UnknownKey { place: String, key: String },
    #[error("{place} was altered, or belongs to another row")]
    Altered { place: String },
    #[error("{place} could not be sealed")]
    Unsealable { place: String },
}

/// Where a secret is kept.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub table: &'a str,
    pub row: &'a str,
    pub column: &'a str,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} of {}", self.table, self.column, self.row)
    }
}

impl Place<'_> {
    /// None of the three may hold a zero byte, so no two places are written alike.
    fn associated(&self) -> Vec<u8> {
        [self.table, self.row, self.column].join("\0").into_bytes()
    }
}

/// The master key, and the one before it while secrets are being sealed anew.
pub struct Keyring {
    current: Key,
    old: Option<Key>,
}

struct Key {
    id: [u8; KEY_ID_BYTES],
    cipher: Aes256Gcm,
}

impl Keyring {
    pub fn new(current: &Secret, old: Option<&Secret>) -> Result<Self, Error> {
        Ok(Self { current: Key::parse(current)?, old: old.map(Key::parse).transpose()? })
    }

    pub fn seal(&self, place: Place<'_>, secret: &Secret) -> Result<Vec<u8>, Error> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload { msg: secret.expose().as_bytes(), aad: &place.associated() };
        let sealed = self
            .current
            .cipher
            .encrypt(&Nonce::from(nonce), payload)
            .map_err(|_| Error::Unsealable { place: place.to_string() })?;
        Ok([&[VERSION], &self.current.id[..], &nonce, &sealed].concat())
    }

    pub fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Secret, Error> {
        let malformed = || Error::Malformed { place: place.to_string() };
        let rest = sealed.strip_prefix(&[VERSION]).ok_or_else(malformed)?;
        let (id, rest) = rest.split_first_chunk::<KEY_ID_BYTES>().ok_or_else(malformed)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_BYTES>().ok_or_else(malformed)?;
        let key = [Some(&self.current), self.old.as_ref()]
            .into_iter()
            .flatten()
            .find(|key| key.id == *id)
            .ok_or_else(|| Error::UnknownKey { place: place.to_string(), key: hex(id) })?;
        let payload = Payload { msg: text, aad: &place.associated() };
        let opened = key
            .cipher
            .decrypt(&Nonce::from(*nonce), payload)
            .map_err(|_| Error::Altered { place: place.to_string() })?;
        String::from_utf8(opened).map(Secret::new).map_err(|_| malformed())
    }

    /// False where `sealed` needs to be sealed anew.
    pub fn is_current(&self, sealed: &[u8]) -> bool {
        sealed.get(1..=KEY_ID_BYTES) == Some(&self.current.id[..])
    }
}

impl Key {
    fn parse(text: &Secret) -> Result<Self, Error> {
        let bytes = STANDARD.decode(text.expose().trim()).map_err(|_| Error::InvalidKey)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| Error::InvalidKey)?;
        let digest = Sha256::digest(bytes);
        let id = digest.first_chunk::<KEY_ID_BYTES>().copied().ok_or(Error::InvalidKey)?;
        Ok(Self { id, cipher: Aes256Gcm::new(&bytes.into()) })
    }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'static> =
        Place { table: "integrations", row: "robot", column: "client_secret" };

    fn key(byte: u8) -> Secret {
        Secret::new(STANDARD.encode([byte; 32]))
    }

    fn keyring(current: u8, old: Option<u8>) -> Keyring {
        Keyring::new(&key(current), old.map(key).as_ref()).unwrap()
    }

    #[test]
    fn a_sealed_secret_opens_in_its_own_place_only() {
        let keys = keyring(1, None);
        let secret = Secret::new("top secret");
        let sealed = keys.seal(PLACE, &secret).unwrap();
        assert!(!sealed.windows(3).any(|part| part == b"top"));
        assert_eq!(keys.open(PLACE, &sealed).unwrap(), secret);
        for other in [
            Place { table: "runtimes", ..PLACE },
            Place { row: "robot-2", ..PLACE },
            Place { column: "callback_token", ..PLACE },
        ] {
            assert!(matches!(keys.open(other, &sealed), Err(Error::Altered { .. })), "{other}");
        }
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(keys.open(PLACE, &altered).is_err(), "byte {at}");
            assert!(keys.open(PLACE, &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn an_old_key_opens_until_it_is_taken_away() {
        let sealed = keyring(1, None).seal(PLACE, &Secret::new("s")).unwrap();
        let rotating = keyring(2, Some(1));
        assert!(!rotating.is_current(&sealed));
        assert_eq!(rotating.open(PLACE, &sealed).unwrap().expose(), "s");
        let anew = rotating.seal(PLACE, &Secret::new("s")).unwrap();
        assert!(rotating.is_current(&anew));
        assert!(matches!(keyring(2, None).open(PLACE, &sealed), Err(Error::UnknownKey { .. })));
        assert_eq!(keyring(2, None).open(PLACE, &anew).unwrap().expose(), "s");
    }

    #[test]
    fn a_key_is_base64_of_32_bytes() {
        for bad in ["", "short", &STANDARD.encode([1; 31]), &STANDARD.encode([1; 33]), "#"] {
            assert!(Keyring::new(&Secret::new(bad), None).is_err(), "{bad}");
        }
        assert!(Keyring::new(&Secret::new(format!("{}\n", key(1).expose())), None).is_ok());
    }
}
