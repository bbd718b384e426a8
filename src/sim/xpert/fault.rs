//! What goes wrong with the simulated Xpert server, by name. Each is used once, by the next call it concerns.
//!
//! Two of the known traps are laws here and need no queue: a resumed run continues a stream that ended with
//! `complete`, and a busy thread takes another run.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use super::Server;
use crate::sim::locked;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Fault {
    /// The run is created and works; whoever asked for it never hears so.
    LostCreate,
    /// The run is created only after a while, whether or not somebody still waits for it.
    SlowCreate { ms: u64 },
    /// A thread cannot be shown, as one without a checkpoint.
    NoCheckpoint,
    /// The run finishes, but its stream ends without `on_conversation_end` and `complete`.
    EndMissing,
    /// The assistant is not the thread's: 403.
    WrongAssistant,
    /// The stream begins with 2xx and carries `event: error`.
    ErrorAfterAccept,
    /// The thread has no conversation: 500.
    UnknownThread,
    /// A stream has lost the first events of its run, as one that was longer than the server keeps.
    Trimmed { events: usize },
    /// The run fails and says so by `on_error`; its stream ends with that.
    ErrorEvent,
    /// The connection of a stream breaks after so many events.
    CutStream { after: usize },
    /// What is said into a run is taken, and never read there.
    SteerUnread,
    /// Any call is refused.
    Status {
        status: u16,
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// Any call gets no answer.
    Hang,
}

/// The first queued fault of the kind asked for.
pub fn take(server: &Server, concerns: impl Fn(&Fault) -> bool) -> Option<Fault> {
    let mut faults = locked(&server.faults);
    let index = faults.iter().position(concerns)?;
    faults.remove(index)
}

/// `POST /sim/fault`.
pub async fn queue(State(server): State<Arc<Server>>, Json(fault): Json<Fault>) -> StatusCode {
    locked(&server.faults).push_back(fault);
    StatusCode::NO_CONTENT
}
