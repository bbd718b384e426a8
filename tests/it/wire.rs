//! The wire forms are promises to releases before and after this one: golden bytes pin every record and
//! variant, and no bytes whatever make a reader panic.
//!
//! A line of `tests/fixtures/wire` is a name and its bytes. A line is never changed; a new variant is a
//! new line.

mod samples;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;

use dingtalk_trigger::domain::dead::DeadLetter;
use dingtalk_trigger::domain::entry::Entry;
use dingtalk_trigger::domain::id::Seq;
use dingtalk_trigger::domain::turn::failed::FailedAttempts;
use dingtalk_trigger::protocol::envelope::{self, Error};
use dingtalk_trigger::protocol::{dead, entry, record, token};
use proptest::prelude::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(text.get(at..at + 2).expect("pairs of digits"), 16);
    (0..text.len()).step_by(2).map(|at| digit(at).expect("hex digits")).collect()
}

fn golden(file: &str) -> BTreeMap<String, Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wire").join(file);
    let text = std::fs::read_to_string(&path).expect("read the golden bytes");
    let pair = |line: &str| {
        let (name, bytes) = line.split_once(' ').expect("a name and its bytes");
        (name.to_owned(), unhex(bytes))
    };
    text.lines().map(pair).collect()
}

/// Every sample is written as its golden bytes and read from them, and there is no line without a sample.
fn check<T: PartialEq + Debug>(
    file: &str,
    samples: Vec<(&str, T)>,
    encode: impl Fn(&T) -> Vec<u8>,
    decode: impl Fn(&[u8]) -> Result<T, Error>,
) {
    let mut golden = golden(file);
    let mut wrong = Vec::new();
    for (name, sample) in samples {
        let bytes = encode(&sample);
        match golden.remove(name) {
            Some(pinned) if pinned == bytes => {
                assert_eq!(decode(&pinned).as_ref(), Ok(&sample), "{file} {name}");
            }
            _ => wrong.push(format!("{name} {}", hex(&bytes))),
        }
        let mut newer = bytes;
        newer[0] = envelope::VERSION + 1;
        assert_eq!(decode(&newer), Err(Error::Newer(envelope::VERSION + 1)), "{file} {name}");
    }
    wrong.extend(golden.keys().map(|name| format!("{name} has no sample")));
    assert!(wrong.is_empty(), "{file} does not have:\n{}\n", wrong.join("\n"));
}

#[test]
fn entries_are_written_as_they_ever_were() {
    check("entry.hex", samples::entries(), |entry| entry::encode(entry.clone()), entry::decode);
}

#[test]
fn journal_records_are_written_as_they_ever_were() {
    check("record.hex", samples::records(), record::encode, record::decode);
}

#[test]
fn tokens_are_written_as_they_ever_were() {
    check("token.hex", samples::tokens(), token::encode_token, token::decode_token);
}

#[test]
fn slots_are_written_as_they_ever_were() {
    check("slot.hex", samples::slots(), token::encode_slot, token::decode_slot);
}

#[test]
fn those_who_wait_are_written_as_they_ever_were() {
    let encode = |first: &Seq| token::encode_waiting(*first);
    check("waiting.hex", samples::waiting(), encode, token::decode_waiting);
}

#[test]
fn dead_letters_are_written_as_they_ever_were() {
    check("dead.hex", samples::letters(), dead::encode, dead::decode);
}

/// Who knows only the form that a record had at first stops reading where that ends.
#[test]
fn what_was_appended_stands_behind_what_an_older_release_reads() {
    for (name, mut record) in samples::records() {
        let whole = record::encode(&record);
        if let Some(turn) = &mut record.head.turn {
            turn.failed = FailedAttempts::default();
        }
        assert!(whole.starts_with(&record::encode(&record)), "record {name}");
    }
    for (name, letter) in samples::letters() {
        let before = DeadLetter { failed: FailedAttempts::default(), ..letter.clone() };
        assert!(dead::encode(&letter).starts_with(&dead::encode(&before)), "letter {name}");
    }
}

/// No reader may panic; the result is of no interest.
fn read_by_all(bytes: &[u8]) {
    entry::decode(bytes).ok();
    record::decode(bytes).ok();
    token::decode_token(bytes).ok();
    token::decode_slot(bytes).ok();
    token::decode_waiting(bytes).ok();
    dead::decode(bytes).ok();
}

#[test]
fn no_record_is_empty_and_no_version_is_forgotten() {
    assert_eq!(record::decode(&[]), Err(Error::Empty));
    assert!(matches!(record::decode(&[0]), Err(Error::Undecodable(_))));
    assert_eq!(record::decode(&[255, 1, 2]), Err(Error::Newer(255)));
    let unknown_variant = entry::decode(&[envelope::VERSION, 77]);
    assert_eq!(unknown_variant, Err(Error::Newer(envelope::VERSION)));
    let cut = entry::decode(&[envelope::VERSION, 0]);
    assert!(matches!(cut, Ok(Entry::Undecodable { bytes, .. }) if bytes == [envelope::VERSION, 0]));
}

/// All golden bytes, to be damaged.
fn all() -> Vec<Vec<u8>> {
    let files = ["entry.hex", "record.hex", "token.hex", "slot.hex", "waiting.hex", "dead.hex"];
    files.iter().flat_map(|file| golden(file).into_values()).collect()
}

proptest! {
    #[test]
    fn random_bytes_never_make_a_reader_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_by_all(&bytes);
        bytes.insert(0, envelope::VERSION);
        read_by_all(&bytes);
    }

    #[test]
    fn damaged_records_never_make_a_reader_panic(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = which.get(&all()).clone();
        let place = at.index(bytes.len());
        bytes[place] = byte;
        read_by_all(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        read_by_all(&bytes);
    }

    #[test]
    fn whatever_is_written_is_read(
        text in "\\PC{0,40}",
        optional in prop::option::of("\\PC{0,8}"),
        number in any::<u64>(),
        at in any::<i64>(),
    ) {
        let message = samples::message(&text, optional.clone(), at);
        prop_assert_eq!(entry::decode(&entry::encode(message.clone())), Ok(message));
        let written = samples::record(number, at, optional, &text);
        prop_assert_eq!(record::decode(&record::encode(&written)), Ok(written));
    }
}
