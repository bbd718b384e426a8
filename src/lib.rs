//! dingtalk-trigger carries people's DingTalk messages to AI experts and their answers back, without
//! losing, doubling or reordering one.
//!
//! # Where to start
//! Follow one message: [`edge::accept`] says what a payload means, [`io::log`] stores it, the stages
//! [`worker::intake`], [`worker::due`] and [`worker::dispatch`] carry it on, and the machine in
//! [`domain::turn`] decides what happens in its conversation. Everything else is translation at the rim.
//!
//! # The idea
//! The inbound stream is the **log** of every conversation. A **turn** is a range of it; the **version**
//! of a message is its sequence. A **timer** is only a hint, the log decides. A **slot** is the job and
//! the lock of a conversation. The **journal** holds its state, written only by compare-and-set: no
//! effect begins before the record that announces it is stored.
//!
//! # Layers
//! Imports go down only; `tests/it/tidy.rs` holds it.
//!
//! | layer | modules | may use |
//! |---|---|---|
//! | L0 | [`domain`] | std: pure decisions |
//! | L1 | [`protocol`] | `domain`: bytes to types and back |
//! | – | [`context`], [`telemetry`] | `domain`: clock, shutdown, metrics, traces |
//! | L2 | [`io`] | all above: the only users of NATS, SQL and the HTTP client |
//! | L3 | [`edge`], [`mod@reply`], [`worker`], [`console`], [`ops`], `sim` | all above, never each other |
//! | – | [`config`], [`commands`], [`mod@bench`], `main` | everything: environment, commands, exit codes |
//!
//! # Invariants
//! Each has a test that can break it.
//!
//! | | holds | kept in |
//! |---|---|---|
//! | I1 | DingTalk gets a success answer only for what the log has confirmed | [`edge`] |
//! | I2 | the turns of a conversation tile its log | [`domain::plan`], [`domain::turn`] |
//! | I3 | one run of a conversation at a time; an overlapping one stops before its next effect | [`io::slot`], [`worker::run`], [`worker::lease`] |
//! | I4 | within a conversation, answers come in the order of the questions | [`worker::dispatch`] |
//! | I5 | killing any process at any moment loses nothing and needs no manual step | [`io::journal`], [`worker::sweep`] |
//! | I6 | every turn ends delivered, stopped or dead, or waits with an expiry | [`domain::turn`] |
//! | I7 | effects act on stored records, never on memory alone | [`worker::dispatch`] |
//! | I8 | times that decide are the broker's | [`io::nats::skew`], [`context`] |
//! | I9 | wire records are versioned; an older reader leaves a newer one alone | [`protocol::envelope`] |
//! | I10 | secrets are sealed at rest, never logged, never returned | [`io::seal`], [`domain::secret`] |
//! | I11 | addresses from messages are followed only where the operator allows | [`io::egress`] |

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
