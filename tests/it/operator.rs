//! The operator's hands on JetStream, each under load: what the README's runbook promises of pausing,
//! purging, removing, restoring and moving, measured.
//!
//! Nothing is lost that the broker still had, order and single answers hold, and each recovery stays
//! within the bound that is asserted.

mod stand;
mod queues;
mod messages;
mod moved;
mod restored;
mod hints;
mod replays;
mod elections;
