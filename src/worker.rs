//! The worker role: stages that take from the broker, decide, and act.
//!
//! A pod owns nothing. Any worker may take any message of any stage at any time and may be killed at any
//! instruction; what is unfinished comes back by itself.

pub mod driver;
pub mod intake;
pub mod due;
pub mod lease;
pub mod run;
pub mod watch;
pub mod bulkhead;
pub mod resolve;
pub mod dispatch;
pub mod handoff;
pub mod sweep;
