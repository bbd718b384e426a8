//! The frame of every record in our streams: a version byte, then a postcard body.
//!
//! Wire types are private to this layer and grow by appending; golden bytes in `tests/fixtures/wire` pin them.
//! A reader reads every version up to its own. It tells bytes that no release can read from bytes that only a
//! newer release can read: a higher version, or a variant, kind or reason that it does not know. The latter are
//! left to that release. So that this stays the exception, a release that reads a new form ships before the
//! first one that writes it.
//!
//! The feature `wire-next` makes a program of such a later release, for the test of upgrades: it appends
//! variants and keeps the version byte.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version this release writes, and the newest it reads.
pub const VERSION: u8 = 1;

/// Most records are shorter, so that their bytes are written once.
const USUAL_BYTES: usize = 512;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the record is empty")]
    Empty,
    /// With the version byte, which may be this release's own.
    #[error("a newer release wrote the record (version {0})")]
    Newer(u8),
    #[error("the record cannot be read: {0}")]
    Undecodable(String),
}

pub fn encode<T: Serialize>(body: &T) -> Vec<u8> {
    extend(body, begin())
}

/// With what was appended to the form of `body` since its version was first written. Without any, the
/// record is what it ever was.
pub fn encode_with<T: Serialize, A: Serialize>(body: &T, appended: &[A]) -> Vec<u8> {
    let bytes = extend(body, begin());
    if appended.is_empty() { bytes } else { extend(appended, bytes) }
}

fn begin() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    bytes.push(VERSION);
    bytes
}

fn extend<T: Serialize + ?Sized>(body: &T, bytes: Vec<u8>) -> Vec<u8> {
    postcard::to_extend(body, bytes).expect("a wire type has no unsized sequence or map")
}

pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    postcard::from_bytes(opened(bytes)?).map_err(unreadable)
}

/// The counterpart of [`encode_with`]: nothing appended where the record ends without it.
pub fn decode_with<T: DeserializeOwned, A: DeserializeOwned>(
    bytes: &[u8],
) -> Result<(T, Vec<A>), Error> {
    let (body, rest) = postcard::take_from_bytes(opened(bytes)?).map_err(unreadable)?;
    let appended = match rest {
        [] => Ok(vec![]),
        rest => postcard::from_bytes(rest),
    };
    Ok((body, appended.map_err(unreadable)?))
}

/// What follows the version.
fn opened(bytes: &[u8]) -> Result<&[u8], Error> {
    match bytes.split_first() {
        None => Err(Error::Empty),
        Some((0, _)) => Err(Error::Undecodable("version 0 never was".to_owned())),
        Some((&version, _)) if version > VERSION => Err(Error::Newer(version)),
        Some((_, body)) => Ok(body),
    }
}

/// An unknown variant or word is what a newer release appended: taken for damage, it would end a turn that is
/// under way and drop its session. Damage that looks like one waits for `DT_NEWER_MAX_AGE`.
#[expect(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn unreadable(error: postcard::Error) -> Error {
    let is_unknown = matches!(
        error,
        // Of an enum's variant, and of our own words.
        postcard::Error::SerdeDeCustom
            // A flag or an option that has become an enum keeps its first two bytes.
            | postcard::Error::DeserializeBadBool
            | postcard::Error::DeserializeBadOption
            | postcard::Error::DeserializeBadEnum
    );
    if is_unknown { Error::Newer(VERSION) } else { Error::Undecodable(error.to_string()) }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Now {
        One,
        Two(bool),
    }

    #[derive(Serialize)]
    enum Next {
        _One,
        Two(Flag),
        Three(u8),
    }

    #[derive(Serialize)]
    enum Flag {
        _No,
        Yes,
        Perhaps,
    }

    #[test]
    fn what_a_newer_release_appended_is_newer_and_what_nobody_wrote_is_undecodable() {
        assert_eq!(decode::<Now>(&encode(&Next::Two(Flag::Yes))), Ok(Now::Two(true)));
        for newer in [encode(&Next::Three(7)), encode(&Next::Two(Flag::Perhaps))] {
            assert_eq!(decode::<Now>(&newer), Err(Error::Newer(VERSION)), "{newer:?}");
            let with = decode_with::<Now, bool>(&newer);
            assert_eq!(with, Err(Error::Newer(VERSION)), "{newer:?}");
        }
        let appended = encode_with(&Now::One, &[Flag::Perhaps]);
        assert_eq!(decode_with::<Now, bool>(&appended), Err(Error::Newer(VERSION)));
        assert_eq!(decode::<Now>(&[VERSION + 1, 0]), Err(Error::Newer(VERSION + 1)));
        assert_eq!(decode::<Now>(&[]), Err(Error::Empty));
        for damaged in [&[0, 0][..], &[VERSION], &[VERSION, 1]] {
            let read = decode::<Now>(damaged);
            assert!(matches!(read, Err(Error::Undecodable(_))), "{damaged:?}: {read:?}");
        }
    }
}
