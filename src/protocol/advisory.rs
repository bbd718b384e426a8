//! What the broker says when it gives a message up: advisories, captured by the stream `DT_DEAD`.
//!
//! `None` for any other subject. The message itself is not part of an advisory: whoever needs it reads
//! it from its stream, where it is still there.
//!
//! Of the work queues only what ran out of deliveries is captured: the broker calls a slot or a token
//! terminated as well when, after an election, it delivers one again that was acknowledged and removed.

use serde::Deserialize;

use super::envelope::Error;
use crate::domain::id::Seq;

/// A message that a consumer will not be given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advisory {
    pub kind: Kind,
    pub stream: String,
    pub consumer: String,
    /// The message's sequence in its stream.
    pub seq: Seq,
    pub deliveries: u32,
    /// What whoever terminated it said.
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    MaxDeliveries,
    Terminated,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::MaxDeliveries, Self::Terminated];

    /// Its word beside the reasons of dead letters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MaxDeliveries => "max_deliveries",
            Self::Terminated => "terminated",
        }
    }
}

#[derive(Deserialize)]
struct Wire {
    stream: String,
    consumer: String,
    stream_seq: u64,
    #[serde(default)]
    deliveries: u32,
    reason: Option<String>,
}

/// `None` for a subject that is none of an advisory.
pub fn decode(subject: &str, payload: &[u8]) -> Option<Result<Advisory, Error>> {
    let rest = subject.strip_prefix("$JS.EVENT.ADVISORY.CONSUMER.")?;
    let kind = match rest.split('.').next()? {
        "MAX_DELIVERIES" => Kind::MaxDeliveries,
        "MSG_TERMINATED" => Kind::Terminated,
        _ => return None,
    };
    let wire = serde_json::from_slice::<Wire>(payload);
    Some(wire.map_err(|e| Error::Undecodable(e.to_string())).map(|wire| Advisory {
        kind,
        stream: wire.stream,
        consumer: wire.consumer,
        seq: Seq(wire.stream_seq),
        deliveries: wire.deliveries,
        reason: wire.reason,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advisory_names_the_message_and_who_gave_it_up() {
        let subject = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.DT_IN.intake";
        let payload = br#"{"type":"io.nats.jetstream.advisory.v1.max_deliver","stream":"DT_IN",
            "consumer":"intake","stream_seq":7,"deliveries":3}"#;
        let read = decode(subject, payload).unwrap().unwrap();
        assert_eq!((read.kind, read.seq, read.deliveries), (Kind::MaxDeliveries, Seq(7), 3));
        assert_eq!((read.stream.as_str(), read.consumer.as_str()), ("DT_IN", "intake"));
        assert!(decode(subject, b"{}").unwrap().is_err());
        assert!(decode("dt.dead.dispatch.r.k", payload).is_none());
    }
}
