//! What is not ours, played over real sockets: the DingTalk cloud with a chat page, the Xpert server,
//! and an expert for the demo.
//!
//! Guarantees the shapes and tempers that the facts name, and faults on request. Nothing of the service uses it.

pub mod server;
pub mod dingtalk;
pub mod script;
pub mod expert;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The simulated state stays usable when a test's thread died with the lock.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
