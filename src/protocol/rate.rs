//! The record of a send bucket in the KV bucket `DT_RATE`: a version byte and a postcard body.
//!
//! Keys are `<integration>.<api>`. A record that cannot be read counts as a fresh bucket at its caller:
//! it only paces, it decides nothing.

use serde::{Deserialize, Serialize};

use crate::domain::id::IntegrationId;
use crate::domain::rate::Bucket;

pub const STREAM: &str = "KV_DT_RATE";
const VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
struct V1 {
    next_us: i64,
    share: u16,
    changed_us: i64,
}

/// `api` is one of our own words: `webhook`, `oto`, `group`, `card`.
pub fn subject(integration: &IntegrationId, api: &str) -> String {
    format!("$KV.DT_RATE.{integration}.{api}")
}

pub fn encode(bucket: Bucket) -> Vec<u8> {
    let record = V1 { next_us: bucket.next_us, share: bucket.share, changed_us: bucket.changed_us };
    postcard::to_extend(&record, vec![VERSION]).expect("numbers always serialize")
}

pub fn decode(bytes: &[u8]) -> Option<Bucket> {
    let (version, body) = bytes.split_first()?;
    if *version != VERSION {
        return None;
    }
    let V1 { next_us, share, changed_us } = postcard::from_bytes(body).ok()?;
    Some(Bucket { next_us, share, changed_us })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_keeps_its_bytes() {
        let bucket = Bucket { next_us: 1_700_000_000_000_000, share: 500, changed_us: -1 };
        let bytes = encode(bucket);
        let golden = [1, 128, 128, 242, 129, 131, 137, 133, 6, 244, 3, 1];
        assert_eq!(bytes, golden);
        assert_eq!(decode(&bytes), Some(bucket));
        for broken in [&[][..], &[1], &[9, 0, 0, 0], &[1, 128]] {
            assert_eq!(decode(broken), None);
        }
    }
}
