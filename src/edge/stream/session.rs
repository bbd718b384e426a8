//! The connection of one integration, again and again: open, serve, wait, open.
//!
//! It never gives up; it ends when it is told to, or when it would connect and another pod owns the
//! integration by now. On the gateway's announcement the next connection opens while the old one drains.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, End, How};
use super::link::Link;
use super::{Config, Outcome};
use crate::context::Context;
use crate::domain::binding::Integration;
use crate::domain::reconnect::{Event, Reconnect};
use crate::edge::owner::Ownership;
use crate::io::gateway::Gateway;
use crate::protocol::live::LinkState;
use crate::protocol::stream::Kind;
use crate::telemetry::metrics::Inbound;

/// What a session and its connections have in common.
pub struct Shared<H> {
    pub context: Context,
    pub config: Config,
    pub handler: Arc<H>,
    pub link: Arc<Link>,
    /// As it is now; its credentials stay the same for the life of a session.
    pub integration: watch::Receiver<Arc<Integration>>,
}

impl<H> Shared<H> {
    pub fn count(&self, result: &'static str) {
        let integration = self.integration.borrow().id.to_string();
        let label = Inbound { integration, mode: "stream", result };
        self.context.metrics.inbound.get_or_create(&label).inc();
    }

    pub fn count_event(&self, kind: &str) {
        self.count("ignored_event");
        self.context.metrics.event_left(self.integration.borrow().id.as_str(), kind);
    }

    /// The machine's own time, without the correction towards the broker's.
    pub fn wall_ms(&self) -> i64 {
        self.context.clock.now().0.saturating_sub(self.context.clock.offset_ms())
    }
}

pub struct Session<H> {
    pub shared: Arc<Shared<H>>,
    pub gateway: Gateway,
    pub ownership: Arc<Ownership>,
    pub stop: CancellationToken,
}

impl<H, F> Session<H>
where
    H: Fn(Arc<Integration>, Kind, Value) -> F + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    pub async fn run(self) {
        let mut reconnect = Reconnect::default();
        let mut is_draining = false;
        while !self.stop.is_cancelled() && self.is_ours() {
            // While the old connection drains, nobody need hear of the change.
            if !is_draining {
                self.is(LinkState::Connecting);
            }
            let Some(event) = self.connect_once(&mut reconnect).await else { break };
            let (next, wait) = reconnect.next(event, rand::random());
            reconnect = next;
            is_draining = wait.is_zero();
            if !is_draining {
                self.is(LinkState::Retrying);
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => break,
            }
        }
        self.is(LinkState::Disconnected);
    }

    /// Opens a connection and waits for what ends it; nothing when we were told to stop.
    async fn connect_once(&self, reconnect: &mut Reconnect) -> Option<Event> {
        let integration = self.shared.integration.borrow().clone();
        // Boxed: most of the time a session waits, and then it need not hold the room for opening.
        let opening =
            Box::pin(self.gateway.open(&integration.client_id, &integration.client_secret));
        let opened = tokio::select! {
            opened = opening => opened,
            () = self.stop.cancelled() => return None,
        };
        let socket = match opened {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(integration.id = %integration.id, %error, "stream connection refused");
                self.shared.link.failed(error.to_string());
                return Some(Event::Refused);
            }
        };
        *reconnect = reconnect.next(Event::Opened, 0).0;
        self.is(LinkState::Connected);
        tracing::info!(integration.id = %integration.id, "stream connected");
        let (tell, ended) = oneshot::channel();
        let connection = Connection::new(socket, self.shared.clone(), self.stop.clone());
        self.shared.context.spawn(connection.serve(tell));
        let end = ended.await.ok()?;
        if end.had_frame {
            *reconnect = reconnect.next(Event::Frame, 0).0;
        }
        self.after(&integration, end)
    }

    fn after(&self, integration: &Integration, end: End) -> Option<Event> {
        let open_for = end.open_for;
        let (event, why) = match end.how {
            How::Stopped => return None,
            How::Disconnect { reason } => {
                tracing::info!(integration.id = %integration.id, reason, "stream moves");
                return Some(Event::Disconnect { open_for });
            }
            How::Closed { why } => (
                Event::Closed { open_for },
                format!("the gateway closed the connection after {} s: {why}", open_for.as_secs()),
            ),
            How::Dropped { why } => (Event::Dropped, why.to_owned()),
        };
        tracing::warn!(integration.id = %integration.id, why, "stream connection lost");
        self.shared.link.failed(why);
        Some(event)
    }

    fn is_ours(&self) -> bool {
        self.ownership.keeps(&self.shared.integration.borrow().id)
    }

    fn is(&self, state: LinkState) {
        self.shared.link.is(state, self.shared.context.clock.now());
    }
}
