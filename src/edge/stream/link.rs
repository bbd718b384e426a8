//! What a session tells the world about its connection: state, since when, the last frame, the last error.
//!
//! A session writes, the report reads; each change has a number, so that the report knows what is new.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::domain::time::Timestamp;
use crate::protocol::live::LinkState;

/// One session's connection. `changes` is shared by all links of the pod.
pub struct Link {
    view: Mutex<View>,
    changes: Arc<Notify>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    pub state: LinkState,
    pub since: Timestamp,
    pub last_frame_at: Option<Timestamp>,
    pub last_error: Option<String>,
    /// Grows with each change of state or error; a frame alone does not count.
    pub version: u64,
}

impl Link {
    pub fn new(now: Timestamp, changes: Arc<Notify>) -> Self {
        let view = View {
            state: LinkState::Connecting,
            since: now,
            last_frame_at: None,
            last_error: None,
            version: 1,
        };
        Self { view: Mutex::new(view), changes }
    }

    pub fn view(&self) -> View {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn frame(&self, now: Timestamp) {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).last_frame_at = Some(now);
    }

    pub fn is(&self, state: LinkState, now: Timestamp) {
        self.change(|view| {
            // One connection may follow another without a state between them.
            if view.state != state || state == LinkState::Connected {
                (view.state, view.since) = (state, now);
            }
            if state == LinkState::Connected {
                view.last_error = None;
            }
        });
    }

    pub fn failed(&self, error: String) {
        self.change(|view| view.last_error = Some(error));
    }

    fn change(&self, apply: impl FnOnce(&mut View)) {
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        let before = view.clone();
        apply(&mut view);
        if *view != before {
            view.version += 1;
            self.changes.notify_one();
        }
    }
}
