//! Server-sent events as the simulated Xpert server writes them: a leading blank line, ids, keep-alives,
//! replay after `Last-Event-ID`, and an end at the first `complete` it sends.
//!
//! What a run tells is made elsewhere.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;

use super::Server;
use super::fault::{self, Fault};
use super::run::{Event, Run};

/// Between two comments that keep a silent stream open.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
#[error("cut on request")]
struct CutOnRequest;

struct Reader {
    run: Arc<Run>,
    /// The next event to send.
    index: usize,
    /// Breaks after so many more events.
    cut_after: Option<usize>,
    is_over: bool,
}

/// The events of `run` after the one that the caller saw last, or all of them.
pub fn replay(run: Arc<Run>, headers: &HeaderMap, server: &Server) -> Response {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let index = last.and_then(|id| run.position(id)).map_or(0, |position| position + 1);
    let index = match fault::take(server, |fault| matches!(fault, Fault::Trimmed { .. })) {
        Some(Fault::Trimmed { events }) => index.max(events),
        _ => index,
    };
    let cut_after = match fault::take(server, |fault| matches!(fault, Fault::CutStream { .. })) {
        Some(Fault::CutStream { after }) => Some(after),
        _ => None,
    };
    body(Reader { run, index, cut_after, is_over: false })
}

fn body(reader: Reader) -> Response {
    let events = unfold((reader, true), async |(mut reader, is_first)| {
        if is_first {
            return Some((Ok(Bytes::from_static(b"\n")), (reader, false)));
        }
        let chunk = reader.next().await?;
        Some((chunk, (reader, false)))
    });
    let kind = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    (kind, Body::from_stream(events)).into_response()
}

impl Reader {
    async fn next(&mut self) -> Option<Result<Bytes, CutOnRequest>> {
        if self.is_over {
            return None;
        }
        if self.cut_after == Some(0) {
            self.is_over = true;
            return Some(Err(CutOnRequest));
        }
        match tokio::time::timeout(KEEP_ALIVE, self.run.event(self.index)).await {
            Err(_) => Some(Ok(Bytes::from_static(b": keep-alive\n\n"))),
            Ok(None) => None,
            Ok(Some(event)) => {
                self.index += 1;
                self.cut_after = self.cut_after.map(|left| left - 1);
                self.is_over = event.name == Some("complete");
                Some(Ok(text(&event)))
            }
        }
    }
}

fn text(event: &Event) -> Bytes {
    let name = event.name.map(|name| format!("event: {name}\n")).unwrap_or_default();
    Bytes::from(format!("{name}id: {}\ndata: {}\n\n", event.id, event.data))
}

/// A stream that was accepted and carries nothing but an error.
pub fn error(message: &str) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/event-stream")];
    (StatusCode::OK, kind, format!("\nevent: error\ndata: {message}\n\n")).into_response()
}
