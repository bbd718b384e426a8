//! dingtalk-trigger carries people's DingTalk messages to AI experts and their answers back, without
//! losing, doubling or reordering one.
//!
//! # Layers
//! Imports go down only; `tests/it/tidy.rs` holds it.
//!
//! | layer | modules | may use |
//! |---|---|---|
//! | L0 | [`domain`] | std: pure decisions |
//! | L1 | [`protocol`] | `domain`: bytes to types and back |
//! | – | [`context`], [`telemetry`] | `domain`: clock, shutdown, metrics |
//! | L2 | [`io`] | all above: the only users of NATS, SQL and the HTTP client |
//! | L3 | [`edge`], [`mod@reply`], [`worker`], [`console`], [`ops`], `sim`, [`mod@bench`] | all above, never each other |
//! | – | [`config`], [`commands`], `main` | everything: environment, commands, exit codes |

pub mod domain;
pub mod protocol;
pub mod context;
pub mod telemetry;
pub mod io;
pub mod edge;
pub mod reply;
pub mod worker;
pub mod console;
pub mod ops;
#[cfg(feature = "sim")]
pub mod sim;
pub mod config;
pub mod commands;
pub mod bench;
