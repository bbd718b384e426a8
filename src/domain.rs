//! The pure core: what a conversation is and what happens next in it.
//!
//! Everything here is total and deterministic: no clock, no randomness, no I/O, no serde. A decision
//! takes a state and an event by value and returns the next state and the commands that carry it out.
//! Bytes are the business of `protocol`, effects of `io`.
#![warn(clippy::wildcard_enum_match_arm)]

pub mod id;
pub mod time;
pub mod said;
pub mod secret;
pub mod binding;
pub mod inbound;
pub mod answer;
pub mod invocation;
pub mod attachment;
pub mod entry;
pub mod command;
pub mod session;
pub mod plan;
pub mod steer;
pub mod debounce;
pub mod turn;
pub mod mark;
pub mod press;
pub mod foresight;
pub mod status;
pub mod dead;
pub mod words;
pub mod reason;
pub mod retry;
pub mod poison;
pub mod rate;
pub mod share;
pub mod skew;
pub mod reply;
pub mod route;
pub mod reconnect;
pub mod rendezvous;
pub mod members;
pub mod span;
