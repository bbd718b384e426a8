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
    finish(extend(body, begin()))
}

/// With what was appended to the form of `body` since its version was first written. Without any, the
/// record is what it ever was.
pub fn encode_with<T: Serialize, A: Serialize>(body: &T, appended: &[A]) -> Vec<u8> {
    let bytes = extend(body, begin());
    // A version that appends again must know where this ends.
    let is_written = VERSION > 1 || !appended.is_empty();
    finish(if is_written { extend(appended, bytes) } else { bytes })
}

fn begin() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    bytes.push(VERSION);
    bytes
}

fn extend<T: Serialize + ?Sized>(body: &T, bytes: Vec<u8>) -> Vec<u8> {
    postcard::to_extend(body, bytes).expect("a wire type has no unsized sequence or map")
}

fn finish(bytes: Vec<u8>) -> Vec<u8> {
    #[cfg(feature = "wire-next")]
    let bytes = next::append(bytes);
    bytes
}

pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let (version, body) = opened(bytes)?;
    match version {
        #[cfg(feature = "wire-next")]
        2.. => next::read(body),
        _ => postcard::from_bytes(body).map_err(unreadable),
    }
}

/// The counterpart of [`encode_with`]: nothing appended where the record ends without it.
pub fn decode_with<T: DeserializeOwned, A: DeserializeOwned>(
    bytes: &[u8],
) -> Result<(T, Vec<A>), Error> {
    let (version, body) = opened(bytes)?;
    match version {
        #[cfg(feature = "wire-next")]
        2.. => next::read(body),
        _ => {
            let (body, rest) = postcard::take_from_bytes(body).map_err(unreadable)?;
            let appended = match rest {
                [] => Ok(vec![]),
                rest => postcard::from_bytes(rest),
            };
            Ok((body, appended.map_err(unreadable)?))
        }
    }
}

/// The version, and what stands behind it.
fn opened(bytes: &[u8]) -> Result<(u8, &[u8]), Error> {
    match bytes.split_first() {
        None => Err(Error::Empty),
        Some((0, _)) => Err(Error::Undecodable("version 0 never was".to_owned())),
        Some((&version, _)) if version > VERSION => Err(Error::Newer(version)),
        Some((&version, body)) => Ok((version, body)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn unreadable(error: postcard::Error) -> Error {
    Error::Undecodable(error.to_string())
}
