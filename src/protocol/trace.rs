//! The trace of a message in the form of W3C Trace Context: the header `traceparent`.
//!
//! It is derived from the message id, so that a redelivery and whatever is done again bear the same one.
//! Who carries it on, and to where, is left to others.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

pub const HEADER: &str = "traceparent";

/// `00-<trace: 16 bytes>-<span: 8 bytes>-01`, in hex.
pub fn of(message_id: &str) -> String {
    let hex = HEXLOWER.encode(&Sha256::digest(message_id.as_bytes()));
    let (trace, rest) = hex.split_at(32);
    let (span, _) = rest.split_at(16);
    format!("00-{trace}-{span}-01")
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
    }
}
