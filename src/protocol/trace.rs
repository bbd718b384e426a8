//! The trace of a message in the form of W3C Trace Context: the header `traceparent`.
//!
//! It is derived from the message id, so that a redelivery and whatever is done again bear the same one.
//! Who carries it on, and to where, is left to others.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

pub const HEADER: &str = "traceparent";

/// The flag "sampled": whoever gets it records what it does.
const SAMPLED: &str = "01";

/// `00-<trace: 16 bytes>-<span: 8 bytes>-00`, in hex. A broker takes every message apart whose trace is
/// sampled, so that the flag stays out of the streams.
pub fn of(message_id: &str) -> String {
    let digest = Sha256::digest(message_id.as_bytes());
    let (trace, rest) = digest.split_at(16);
    let (span, _) = rest.split_at(8);
    let mut text = String::with_capacity(55);
    text.push_str("00-");
    HEXLOWER.encode_append(trace, &mut text);
    text.push('-');
    HEXLOWER.encode_append(span, &mut text);
    text.push_str("-00");
    text
}

/// A trace as it goes to others, who shall record it.
pub fn sampled(trace: &str) -> String {
    match trace.rsplit_once('-') {
        Some((ids, _)) => format!("{ids}-{SAMPLED}"),
        None => trace.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_has_its_form_and_is_the_same_for_the_same_message() {
        let trace = of("robot:msg1");
        let lengths: Vec<_> = trace.split('-').map(str::len).collect();
        assert_eq!(lengths, [2, 32, 16, 2]);
        assert!(trace.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()));
        assert_eq!(trace, of("robot:msg1"));
        assert_ne!(trace, of("robot:msg2"));
        let (ids, flags) = trace.rsplit_once('-').unwrap();
        assert_eq!((flags, sampled(&trace)), ("00", format!("{ids}-01")));
    }
}
