//! The trace that the work at hand belongs to: what is stored meanwhile bears it too.
//!
//! A task has the trace of the delivery it handles, from its beginning to its end; a task without one
//! stores without one. It decides nothing: people and tools follow a message by it.

use async_nats::{HeaderMap, HeaderValue};

use crate::protocol::trace::{HEADER, sampled};

tokio::task_local! {
    static CURRENT: Option<HeaderValue>;
}

/// Does `work` under the trace that stands in `headers`.
pub async fn within<F: Future>(headers: &HeaderMap, work: F) -> F::Output {
    CURRENT.scope(headers.get(HEADER).cloned(), work).await
}

/// The trace of this task, for the headers of a request to somebody else.
pub fn current() -> Option<String> {
    CURRENT.try_with(|current| current.as_ref().map(|it| sampled(it.as_str()))).ok().flatten()
}

/// Where `headers` say nothing else, they get the trace of this task.
pub(super) fn add(headers: &mut HeaderMap) {
    let current = CURRENT.try_with(Clone::clone).ok().flatten();
    if let Some(current) = current
        && headers.get(HEADER).is_none()
    {
        headers.insert(HEADER, current);
    }
}
