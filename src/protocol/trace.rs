//! The trace of a message in the form of W3C Trace Context: the header `traceparent`.
//!
//! It is derived from the message id, so that a redelivery and whatever is done again bear the same one.
//! Who carries it on, and to where, is left to others.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::domain::span::{SpanId, Spot, TraceId};

pub const HEADER: &str = "traceparent";

/// The flag "sampled": whoever gets it records what it does.
const SAMPLED: &str = "01";
const UNSAMPLED: &str = "00";

/// Where the trace of a message begins: the span that accepted it.
pub fn beginning(message_id: &str) -> Spot {
    let digest = Sha256::digest(message_id.as_bytes());
    let trace = digest.first_chunk().copied().unwrap_or_default();
    let span = digest.get(16..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
    Spot { trace: TraceId(trace), span: SpanId(span) }
}

/// The header of what is stored for a message.
pub fn of(message_id: &str) -> String {
    carried(beginning(message_id))
}

/// `00-<trace: 16 bytes>-<span: 8 bytes>-00`, in hex. A broker takes every message apart whose trace is
/// sampled, so that the flag stays out of the streams.
pub fn carried(spot: Spot) -> String {
    write(spot, UNSAMPLED)
}

/// The header of a request whose answerer shall record what it does, below this spot.
pub fn below(spot: Spot) -> String {
    write(spot, SAMPLED)
}

fn write(spot: Spot, flags: &str) -> String {
    let mut text = String::with_capacity(55);
    text.push_str("00-");
    HEXLOWER.encode_append(&spot.trace.0, &mut text);
    text.push('-');
    HEXLOWER.encode_append(&spot.span.0, &mut text);
    text.push('-');
    text.push_str(flags);
    text
}

/// A trace as it goes to others, who shall record it.
pub fn sampled(trace: &str) -> String {
    match trace.rsplit_once('-') {
        Some((ids, _)) => format!("{ids}-{SAMPLED}"),
        None => trace.to_owned(),
    }
}

/// The spot that a header names. `None`: it has another form than ours.
pub fn parse(header: &str) -> Option<Spot> {
    let mut parts = header.split('-');
    let (version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = |text: &str| HEXLOWER.decode(text.as_bytes()).ok();
    let trace = TraceId(bytes(trace)?.try_into().ok()?);
    let span = SpanId(bytes(span)?.try_into().ok()?);
    (version == "00").then_some(Spot { trace, span })
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
        assert_eq!(sampled(&trace), below(beginning("robot:msg1")));
    }

    #[test]
    fn a_header_reads_back_as_its_spot_and_others_as_none() {
        assert_eq!(parse(&of("robot:msg1")), Some(beginning("robot:msg1")));
        for bad in ["", "00", "00-ab-cd-00", "ff-0-0", "00--", &of("x").replace("00-", "01-")] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
