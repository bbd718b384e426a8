//! Records of our own streams, whoever wrote them.
//!
//! What is read is written again as something that reads the same, so that no release can lose what it
//! took over from another; a version byte above our own is always told from damage.

use std::fmt::Debug;

use dingtalk_trigger::protocol::envelope::{Error, VERSION};
use dingtalk_trigger::protocol::live::{self, Lease, Link, Member};
use dingtalk_trigger::protocol::{advisory, dead, entry, rate, record, subject, token};

pub(super) fn check(data: &[u8]) {
    check_record(data, entry::decode, |entry| entry::encode(entry.clone()));
    check_record(data, record::decode, record::encode);
    check_record(data, token::decode_token, token::encode_token);
    check_record(data, token::decode_slot, token::encode_slot);
    check_record(data, token::decode_waiting, |first| token::encode_waiting(*first));
    check_record(data, dead::decode, dead::encode);
    if let Some(bucket) = rate::decode(data) {
        assert_eq!(rate::decode(&rate::encode(bucket)), Some(bucket));
    }
    check_json(data);
}

fn check_record<T: PartialEq + Debug>(
    data: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, Error>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    match decode(data) {
        Ok(value) => assert_eq!(decode(&encode(&value)).as_ref(), Ok(&value)),
        // A variant that this release does not know has its own version. A dead letter holds entries of any.
        Err(Error::Newer(version)) => assert!(version >= VERSION),
        Err(Error::Empty) => assert!(data.is_empty() || data.first() == Some(&VERSION)),
        Err(Error::Undecodable(_)) => {
            assert!(data.first().is_some_and(|version| *version <= VERSION));
        }
    }
}

fn check_json(data: &[u8]) {
    if let Ok(link) = live::read::<Link>("k", data) {
        let again: Link = live::read("k", &live::write(&link)).expect("our own record");
        assert_eq!(again, link);
    }
    live::read::<Member>("k", data).ok();
    live::read::<Lease>("k", data).ok();
    let text = String::from_utf8_lossy(data);
    if let Some(conversation) = subject::conversation_of(&text) {
        let log = subject::log(&conversation);
        assert_eq!(subject::conversation_of(&log), Some(conversation));
    }
    let consumer = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.DT_IN.intake";
    for subject in [consumer, &text] {
        advisory::decode(subject, data).map(|read| read.is_ok());
    }
}
