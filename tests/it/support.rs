//! What the integration tests stand on: servers of their own, databases of their own, waiting for a
//! condition, and a watch over the log.
//!
//! Each helper belongs to one test and cleans up after itself. Dropping one asserts that nothing is left
//! over: no ERROR in the log, no occupied slot, no timer, no pending message.

#[expect(dead_code, reason = "tests/chaos uses the rest")]
pub(crate) mod env;
pub(crate) mod wait;
pub(crate) mod logs;
pub(crate) mod server;
pub(crate) mod nats;
pub(crate) mod cluster;
pub(crate) mod database;
#[expect(dead_code, reason = "tests/chaos uses the rest")]
pub(crate) mod program;
pub(crate) mod outside;
pub(crate) mod service;
pub(crate) mod oracle;
pub(crate) mod hands;
pub(crate) mod collector;
