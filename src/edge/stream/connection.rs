//! One websocket: reads frames, hands callbacks on, and writes their acknowledgements back.
//!
//! A callback is acknowledged on the connection it came by, after its handler said that it is durable;
//! where the handler cannot say so there is no acknowledgement. Callbacks are handled at once, up to a
//! bound, in order within a conversation. A connection that ends finishes what it took. Whether and when
//! another one is opened is left to `session`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Outcome;
use super::session::Shared;
use crate::domain::binding::Integration;
use crate::domain::reconnect;
use crate::io::gateway::{Incoming, Socket};
use crate::protocol::stream::ack::Ack;
use crate::protocol::stream::{self, Frame, Kind, Skip};

/// How a connection ended, as far as the session needs to know to open another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub had_frame: bool,
    pub open_for: Duration,
    pub how: How,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// The gateway announced it; this connection drains while the next one opens.
    Disconnect {
        reason: String,
    },
    Closed {
        why: String,
    },
    /// Given up by us.
    Dropped {
        why: &'static str,
    },
    Stopped,
}

/// What became of a callback: the frame's id and what to answer, if anything.
type Settled = (String, Option<Ack>);

pub struct Connection<H> {
    socket: Socket,
    shared: Arc<Shared<H>>,
    stop: CancellationToken,
    in_flight: FuturesUnordered<Pin<Box<dyn Future<Output = Settled> + Send>>>,
    had_frame: bool,
    opened: Instant,
    heard: Instant,
    pinged: Instant,
    pinged_wall_ms: i64,
}

impl<H, F> Connection<H>
where
    H: Fn(Arc<Integration>, Kind, Value) -> F + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    pub fn new(socket: Socket, shared: Arc<Shared<H>>, stop: CancellationToken) -> Self {
        let now = Instant::now();
        let pinged_wall_ms = shared.wall_ms();
        Self {
            socket,
            shared,
            stop,
            in_flight: FuturesUnordered::new(),
            had_frame: false,
            opened: now,
            heard: now,
            pinged: now,
            pinged_wall_ms,
        }
    }

    /// Serves it to its end, which is told as soon as it is known.
    pub async fn serve(mut self, ended: oneshot::Sender<End>) {
        let how = self.read_on().await;
        let is_announced = matches!(how, How::Disconnect { .. });
        let is_open = matches!(how, How::Stopped | How::Disconnect { .. });
        let end = End { had_frame: self.had_frame, open_for: self.opened.elapsed(), how };
        ended.send(end).ok(); // A session that stopped does not listen.
        if is_announced {
            let drained = tokio::time::timeout(self.shared.config.drain_max, self.drain()).await;
            drained.ok(); // The time over is one of the two ends of draining.
        }
        self.finish(is_open).await;
    }

    /// Reads until the old connection's other side closes it.
    async fn drain(&mut self) {
        while let How::Disconnect { .. } = self.read_on().await {}
    }

    async fn read_on(&mut self) -> How {
        loop {
            let is_full = self.in_flight.len() >= self.shared.config.frames_in_flight;
            let wake = self.wake_at(is_full);
            // Cancel safe: a socket keeps what it read in part, the set keeps its futures.
            tokio::select! {
                Some((id, ack)) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    if !self.answer(&id, ack).await {
                        return How::Closed { why: "an acknowledgement could not be written".to_owned() };
                    }
                }
                incoming = self.socket.read(), if !is_full => {
                    if let Some(how) = self.take(incoming).await {
                        return how;
                    }
                }
                () = tokio::time::sleep_until(wake) => {
                    if let Some(how) = self.check(is_full).await {
                        return how;
                    }
                }
                () = self.stop.cancelled() => return How::Stopped,
            }
        }
    }

    /// The next time to ping or to call it dead.
    fn wake_at(&self, is_full: bool) -> Instant {
        let ping = self.pinged + self.shared.config.ping_every;
        let dead = self.heard + self.shared.config.silence_max;
        // While nothing is read, nothing can be heard.
        if is_full { ping } else { ping.min(dead) }
    }

    async fn check(&mut self, is_full: bool) -> Option<How> {
        let now = Instant::now();
        let wall_ms = self.shared.wall_ms();
        if reconnect::is_clock_jump(wall_ms.saturating_sub(self.pinged_wall_ms), now - self.pinged)
        {
            return Some(How::Dropped { why: "the clock jumped: the machine was asleep" });
        }
        if is_full {
            self.heard = now;
        } else if now - self.heard >= self.shared.config.silence_max {
            return Some(How::Dropped {
                why: "nothing was heard from the gateway, not even a pong",
            });
        }
        if now - self.pinged >= self.shared.config.ping_every {
            (self.pinged, self.pinged_wall_ms) = (now, wall_ms);
            if !self.socket.ping().await {
                return Some(How::Closed { why: "a ping could not be written".to_owned() });
            }
        }
        None
    }

    async fn take(&mut self, incoming: Incoming) -> Option<How> {
        self.heard = Instant::now();
        match incoming {
            Incoming::Alive => None,
            Incoming::Closed { why } => Some(How::Closed { why }),
            Incoming::TooLarge => {
                self.too_large();
                let why = "a frame was several times larger than DT_STREAM_FRAME_MAX_BYTES";
                Some(How::Dropped { why })
            }
            Incoming::Frame(bytes) => {
                self.had_frame = true;
                self.shared.link.frame(self.shared.context.clock.now());
                let frame = stream::read(&bytes);
                if bytes.len() > self.shared.config.frame_max_bytes {
                    return self.refuse(frame.id()).await;
                }
                self.frame(frame).await
            }
        }
    }

    fn too_large(&self) {
        self.shared.context.metrics.limit_breached("stream_frame_bytes");
        self.shared.count("frame_too_large");
    }

    /// A frame that is too large is refused for good: left alone, it would come again and again.
    async fn refuse(&mut self, id: Option<&str>) -> Option<How> {
        self.too_large();
        let is_written = match id {
            Some(id) => self.answer(id, Some(Ack::unreadable())).await,
            None => true,
        };
        (!is_written).then(|| How::Closed { why: "an answer could not be written".to_owned() })
    }

    async fn frame(&mut self, frame: Frame) -> Option<How> {
        let (id, ack) = match frame {
            Frame::Disconnect { reason } => return Some(How::Disconnect { reason }),
            Frame::Notice => return None,
            Frame::Callback { kind, id, payload } => {
                self.handle(kind, id, payload);
                return None;
            }
            Frame::Ping { id, data } => (id, Ack::ping(data)),
            Frame::Event { id, event } => {
                tracing::debug!(%event, "event without a subscription");
                self.shared.count_event(&event);
                (id, Ack::event())
            }
            Frame::Skipped { why, id } => {
                tracing::warn!(why = why.as_str(), "frame skipped");
                self.shared.count(why.as_str());
                match (why, id) {
                    (Skip::UnknownTopic, Some(id)) => (id, Ack::unknown_topic()),
                    (Skip::BadData, Some(id)) => (id, Ack::unreadable()),
                    // There is nothing to answer to.
                    (_, _) => return None,
                }
            }
        };
        let is_written = self.answer(&id, Some(ack)).await;
        (!is_written).then(|| How::Closed { why: "an answer could not be written".to_owned() })
    }

    /// What is added to the set first is polled first, and a handler takes its place in the line of its
    /// conversation before it waits for anything: frames of one conversation are handled as they came.
    fn handle(&mut self, kind: Kind, id: String, payload: Value) {
        let shared = self.shared.clone();
        self.in_flight.push(Box::pin(async move {
            let integration = shared.integration.borrow().clone();
            let ack = match (shared.handler)(integration, kind, payload).await {
                Outcome::Ack(response) => Some(Ack::callback(&response)),
                Outcome::Unreadable => Some(Ack::unreadable()),
                Outcome::NoAck => None,
            };
            (id, ack)
        }));
    }

    async fn answer(&mut self, id: &str, ack: Option<Ack>) -> bool {
        match ack {
            Some(ack) => self.socket.send(ack.to_text(id)).await,
            None => true,
        }
    }

    /// Lets what was taken become durable, although the connection is over, and closes it.
    async fn finish(mut self, is_open: bool) {
        let mut is_open = is_open;
        let deadline = Instant::now() + self.shared.config.drain_max;
        while let Ok(Some((id, ack))) =
            tokio::time::timeout_at(deadline, self.in_flight.next()).await
        {
            is_open = is_open && self.answer(&id, ack).await;
        }
        self.socket.close().await;
    }
}
