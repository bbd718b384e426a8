//! The trace that the work at hand belongs to: what is stored meanwhile bears it too.
//!
//! A task has the trace of the delivery it handles, from its beginning to its end; a task without one
//! stores without one. It decides nothing: people and tools follow a message by it.

use async_nats::{HeaderMap, HeaderValue};
use tokio::task::futures::TaskLocalFuture;

use crate::domain::span::Spot;
use crate::protocol::trace::{HEADER, below, carried, parse, sampled};
use crate::telemetry::traces;

tokio::task_local! {
    static CURRENT: Option<HeaderValue>;
}

/// Does `work` under the trace that stands in `headers`.
pub async fn within<F: Future>(headers: &HeaderMap, work: F) -> F::Output {
    CURRENT.scope(headers.get(HEADER).cloned(), work).await
}

/// Does `work` under the trace that begins there; where that is not known, under the one there is.
pub fn of<F: Future>(beginning: Option<Spot>, work: F) -> TaskLocalFuture<Option<HeaderValue>, F> {
    let own = beginning.map(|spot| HeaderValue::from(carried(spot)));
    let current = || CURRENT.try_with(Clone::clone).ok().flatten();
    CURRENT.scope(own.or_else(current), work)
}

/// Where the trace begins that stands in `headers`.
pub fn beginning(headers: &HeaderMap) -> Option<Spot> {
    parse(headers.get(HEADER)?.as_str())
}

/// Where the trace of this task begins.
pub fn current_beginning() -> Option<Spot> {
    CURRENT.try_with(|current| parse(current.as_ref()?.as_str())).ok().flatten()
}

/// The trace of this task, for the headers of a request to somebody else: what is done there stands
/// below the span that asks, where there is one.
pub fn current() -> Option<String> {
    if let Some(spot) = traces::current() {
        return Some(below(spot));
    }
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
