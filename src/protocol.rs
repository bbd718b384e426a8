//! Bytes to types and back: DingTalk's formats, Xpert's API, our own wire records, signatures.
//!
//! No I/O and no policy. Input never panics: what cannot be read is an error that names the part.
#![warn(clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]

// our own streams
pub mod host;
pub mod subject;
pub mod envelope;
pub mod entry;
pub mod record;
pub mod token;
pub mod dead;
pub mod advisory;
pub mod rate;
pub mod live;
pub mod trace;
// DingTalk
pub mod surrogate;
pub mod loose;
pub mod callback;
pub mod robot;
pub mod card;
pub mod action;
pub mod stream;
pub mod send;
pub mod reaction;
pub mod media;
pub mod magic;
// runtimes
pub mod mask;
pub mod http;
pub mod runtime;
pub mod webhook;
pub mod sse;
pub mod foreign;
pub mod xpert;
// those who look on
pub mod otlp;
