//! Encrypted callbacks of DingTalk: signature, AES envelope, receiver check, and the encrypted answer.
//!
//! Guarantees that nothing is decrypted before its signature matched, that signatures are compared in
//! constant time, and that no input panics. Errors name the part and hold nothing of its content.
//! Which integration's keys apply, and what the text says, is left to others.

pub mod signed;
#[cfg(test)]
mod tests;

use aes::Aes256;
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use data_encoding::HEXLOWER;
use serde::Serialize;
use serde::de::IgnoredAny;
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

use crate::domain::binding::Integration;

/// Why a callback is refused. Each variant is one code of the outside interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{0} cannot be read: check what the sender puts there")]
    Malformed(&'static str),
    /// Behind a right signature. The part is for the operator: told to the sender, it would say something of
    /// what was decrypted to a sender who has the token and not the key.
    #[error("what was decrypted cannot be read: check the AES key of the integration")]
    Unreadable(&'static str),
    #[error("{0} is missing: every callback must be signed")]
    SignatureMissing(&'static str),
    #[error("the signature does not match: check the token or the app secret of the integration")]
    SignatureMismatch,
    #[error("the timestamp is more than one hour away from now: check the sender's clock")]
    TimestampOutOfWindow,
    #[error(
        "the callback is for another receiver: check clientId or receiverId of the integration"
    )]
    ReceiverMismatch,
}

impl Error {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Unreadable(_) => "MALFORMED",
            Self::SignatureMissing(_) => "SIGNATURE_MISSING",
            Self::SignatureMismatch => "SIGNATURE_MISMATCH",
            Self::TimestampOutOfWindow => "TIMESTAMP_OUT_OF_WINDOW",
            Self::ReceiverMismatch => "RECEIVER_MISMATCH",
        }
    }

    /// True where newer keys of the same integration could accept what these refused.
    pub fn may_be_stale(&self) -> bool {
        match self {
            // Only a wrong key makes rubbish of an envelope whose signature matched.
            Self::SignatureMismatch | Self::ReceiverMismatch | Self::Unreadable(_) => true,
            Self::Malformed(_) | Self::SignatureMissing(_) | Self::TimestampOutOfWindow => false,
        }
    }
}

/// 43 characters carry 258 bits. The last two are padding that most real keys do not leave at zero.
const KEY_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// DingTalk pads to 32 bytes, twice the block of AES.
const PAD_BYTES: usize = 32;
const RANDOM_BYTES: usize = 16;

/// The 32 bytes of an `EncodingAESKey`; `None` where it is not 43 characters of base64.
pub fn aes_key(text: &str) -> Option<[u8; 32]> {
    if text.len() != 43 {
        return None;
    }
    KEY_BASE64.decode(text).ok()?.try_into().ok()
}

/// What the sender put beside the envelope. All three go into the signature as they stand.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    pub signature: &'a str,
    pub timestamp: &'a str,
    pub nonce: &'a str,
}

/// The encrypted answer, in DingTalk's own spelling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sealed {
    pub msg_signature: String,
    #[serde(rename = "timeStamp")]
    pub timestamp: String,
    pub nonce: String,
    pub encrypt: String,
}

/// The keys of one integration's encrypted callbacks.
pub struct Envelopes {
    token: String,
    key: [u8; 32],
    receiver: String,
}

impl Envelopes {
    /// `None` where the key is not one.
    pub fn new(token: &str, aes_key_text: &str, receiver: &str) -> Option<Self> {
        let key = aes_key(aes_key_text)?;
        Some(Self { token: token.to_owned(), key, receiver: receiver.to_owned() })
    }

    /// `None` where the integration has no token or no usable key.
    pub fn of(integration: &Integration) -> Option<Self> {
        let token = integration.callback_token.as_ref()?;
        let key = integration.callback_aes_key.as_ref()?;
        Self::new(token.expose(), key.expose(), integration.receiver_id())
    }

    /// The plaintext of an envelope that is signed, readable and meant for this receiver.
    pub fn decrypt(&self, stamp: &Stamp<'_>, encrypt: &str) -> Result<Vec<u8>, Error> {
        let expected = self.signature(stamp.timestamp, stamp.nonce, encrypt);
        let given = stamp.signature.to_ascii_lowercase();
        if !bool::from(expected.as_bytes().ct_eq(given.as_bytes())) {
            return Err(Error::SignatureMismatch);
        }
        let cipher = STANDARD.decode(encrypt).map_err(|_| Error::Unreadable("the base64"))?;
        let padded = self.decrypt_raw(&cipher).ok_or(Error::Unreadable("the blocks"))?;
        let (message, receiver) = split(unpad(&padded)).ok_or(Error::Unreadable("the length"))?;
        if bool::from(receiver.ct_eq(self.receiver.as_bytes())) {
            return Ok(message.to_vec());
        }
        // Under a wrong key this is rubbish, and what rubbish there is must not be told apart.
        Err(if is_object(message) {
            Error::ReceiverMismatch
        } else {
            Error::Unreadable("the receiver")
        })
    }

    /// `random` must be fresh for each call; it is a parameter so that this stays a function.
    pub fn encrypt(
        &self,
        message: &[u8],
        random: [u8; RANDOM_BYTES],
        timestamp: &str,
        nonce: &str,
    ) -> Sealed {
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let mut plain = Vec::with_capacity(message.len() + self.receiver.len() + 64);
        plain.extend_from_slice(&random);
        plain.extend_from_slice(&length.to_be_bytes());
        plain.extend_from_slice(message);
        plain.extend_from_slice(self.receiver.as_bytes());
        pad(&mut plain);
        let encrypt = STANDARD.encode(self.encrypt_raw(&plain));
        Sealed {
            msg_signature: self.signature(timestamp, nonce, &encrypt),
            timestamp: timestamp.to_owned(),
            nonce: nonce.to_owned(),
            encrypt,
        }
    }

    fn signature(&self, timestamp: &str, nonce: &str, encrypt: &str) -> String {
        let mut parts = [self.token.as_str(), timestamp, nonce, encrypt];
        parts.sort_unstable();
        let mut hash = Sha1::new();
        for part in parts {
            hash.update(part);
        }
        HEXLOWER.encode(&hash.finalize())
    }

    fn vector(&self) -> [u8; 16] {
        self.key.first_chunk().copied().unwrap_or_default()
    }

    fn decrypt_raw(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        cbc::Decryptor::<Aes256>::new(&self.key.into(), &self.vector().into())
            .decrypt_padded_vec::<NoPadding>(cipher)
            .ok()
    }

    fn encrypt_raw(&self, padded: &[u8]) -> Vec<u8> {
        cbc::Encryptor::<Aes256>::new(&self.key.into(), &self.vector().into())
            .encrypt_padded_vec::<NoPadding>(padded)
    }
}

fn is_object(message: &[u8]) -> bool {
    message.starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(message).is_ok()
}

fn pad(plain: &mut Vec<u8>) {
    let missing = PAD_BYTES - plain.len() % PAD_BYTES;
    let value = u8::try_from(missing).unwrap_or_default();
    plain.resize(plain.len() + missing, value);
}

/// As DingTalk's own samples do it: the last byte decides, and a value that is no padding cuts nothing.
fn unpad(padded: &[u8]) -> &[u8] {
    let last = padded.last().copied().map_or(0, usize::from);
    let cut = if (1..=PAD_BYTES).contains(&last) { last } else { 0 };
    let end = padded.len().saturating_sub(cut);
    padded.get(..end).unwrap_or_default()
}

/// `16 random bytes | length | message | receiver` to (message, receiver).
fn split(plain: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = plain.get(RANDOM_BYTES..)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    rest.split_at_checked(length)
}
