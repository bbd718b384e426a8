//! The frame of every record in our streams: a version byte, then a postcard body.
//!
//! Wire types are private to this layer and versioned by appending; golden bytes in
//! `tests/fixtures/wire` pin them. A reader tells bytes it cannot read from bytes that only a newer
//! release can read: the latter are left to that release.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version this release writes.
pub const VERSION: u8 = 1;

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
    postcard::to_extend(body, bytes).expect("a wire type has no unsized sequence or map")
}

pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    match bytes.split_first() {
        None => Err(Error::Empty),
        Some((&VERSION, body)) => {
            postcard::from_bytes(body).map_err(|e| Error::Undecodable(e.to_string()))
        }
        Some((&version, _)) if version > VERSION => Err(Error::Newer(version)),
        Some((&version, _)) => Err(Error::Undecodable(format!("version {version} never was"))),
    }
}
