//! The frame of every record in our streams: a version byte, then a postcard body.
//!
//! Wire types are private to this layer and versioned by appending; golden bytes in
//! `tests/fixtures/wire` pin them. A reader reads every version up to its own, and tells bytes it cannot
//! read from bytes that only a newer release can read: the latter are left to that release. So that this
//! stays the exception, a release that reads a new version ships before the first one that writes it.
//!
//! The feature `wire-next` makes a program of such a later release, for the test of upgrades.

#[cfg(feature = "wire-next")]
mod next;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version this release writes, and the newest it reads.
pub const VERSION: u8 = if cfg!(feature = "wire-next") { 2 } else { 1 };

/// Most records are shorter, so that their bytes are written once.
const USUAL_BYTES: usize = 512;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the record is empty")]
    Empty,
    #[error("the record has version {0}, which a newer release wrote")]
    Newer(u8),
    #[error("the record cannot be read: {0}")]
    Undecodable(String),
}

pub fn encode<T: Serialize>(body: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    bytes.push(VERSION);
    let bytes = postcard::to_extend(body, bytes);
    let bytes = bytes.expect("a wire type has no unsized sequence or map");
    #[cfg(feature = "wire-next")]
    let bytes = next::append(bytes);
    bytes
}

pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    match bytes.split_first() {
        None => Err(Error::Empty),
        Some((0, _)) => Err(Error::Undecodable("version 0 never was".to_owned())),
        Some((&version, _)) if version > VERSION => Err(Error::Newer(version)),
        #[cfg(feature = "wire-next")]
        Some((&version, body)) => next::read(version, body),
        #[cfg(not(feature = "wire-next"))]
        Some((_, body)) => {
            postcard::from_bytes(body).map_err(|e| Error::Undecodable(e.to_string()))
        }
    }
}
