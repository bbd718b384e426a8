//! A span: one piece of the work on a message, as a tracing system shows it.
//!
//! It holds ids, numbers and words of ours; no text that a person or an expert wrote has a place in it,
//! and why something failed is a word of a fixed list. How it is written is `protocol::otlp`'s.

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(pub [u8; 8]);

/// A place in a trace: what is done there stands below its span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Spot {
    pub trace: TraceId,
    pub span: SpanId,
}

/// Which side of a call it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Internal,
    /// Somebody called us.
    Server,
    /// We call somebody.
    Client,
    /// A stored message is handled.
    Consumer,
}

/// An id, a word of ours, or a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Number(i64),
}

/// Something that happened within a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub name: &'static str,
    pub at_ns: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub spot: Spot,
    /// `None`: the trace begins here.
    pub parent: Option<SpanId>,
    pub name: &'static str,
    pub kind: Kind,
    pub began_ns: u64,
    pub ended_ns: u64,
    pub attributes: Vec<(&'static str, Value)>,
    pub moments: Vec<Moment>,
    /// Where the other messages of the same work have their traces.
    pub links: Vec<Spot>,
    pub failure: Option<&'static str>,
}
