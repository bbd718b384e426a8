//! Version 2, as a later release might have it: every record has one field more.
//!
//! The field stands behind the record, so the form of version 1 is read as it ever was; a record of
//! version 2 without the field, or with another value, cannot be read. That shows that the newer program
//! of the test reads what it wrote, and not just what the older one would have.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Error, unreadable};

#[derive(Serialize, Deserialize)]
struct Added {
    written_by: String,
}

const NAME: &str = "wire-next";

pub(super) fn append(record: Vec<u8>) -> Vec<u8> {
    let added = Added { written_by: NAME.to_owned() };
    postcard::to_extend(&added, record).expect("a text always serializes")
}

pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    let (record, rest) = postcard::take_from_bytes(body).map_err(unreadable)?;
    let added: Added = postcard::from_bytes(rest).map_err(unreadable)?;
    if added.written_by != NAME {
        return Err(Error::Undecodable("the added field is damaged".to_owned()));
    }
    Ok(record)
}
