//! Stream mode: the connections that this pod holds to DingTalk's gateway.
//!
//! Every Stream integration that this pod owns has one connection that is opened again for ever. A
//! callback is acknowledged when the handler says that it is durable, and only then. What a payload
//! means, and the log, are the handler's business.

pub mod link;
pub mod connection;
pub mod session;
pub mod fleet;
pub mod report;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;

use self::fleet::Fleet;
use self::report::Report;
use super::Edge;
use super::owner::{self, Ownership};
use crate::context::Context;
use crate::domain::binding::Integration;
use crate::io::gateway::Gateway;
use crate::io::live::Live;
use crate::protocol::stream::Kind;

#[derive(Debug, Clone)]
pub struct Config {
    /// Callbacks of one connection that are handled at the same time; more stay in the socket.
    pub frames_in_flight: usize,
    /// `DT_STREAM_FRAME_MAX_BYTES`: a longer one is refused.
    pub frame_max_bytes: usize,
    pub ping_every: Duration,
    /// Without a frame or pong for so long, a connection is dead.
    pub silence_max: Duration,
    /// How long a connection that ends may still read and finish what it took.
    pub drain_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            frames_in_flight: 256,
            frame_max_bytes: 1024 * 1024,
            ping_every: Duration::from_secs(20),
            silence_max: Duration::from_secs(60),
            drain_max: Duration::from_secs(10),
        }
    }
}

/// What a handler says about a callback.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is durable, or needs no durability. The response is null but for cards.
    Ack(Value),
    /// It lacks what a callback needs, or is larger than the log takes, and always will be: refused, so
    /// that nobody takes it for stored.
    Unreadable,
    /// It is not durable: no acknowledgement, so that it may come again.
    NoAck,
}

/// What the connections of a pod need.
pub struct Parts {
    pub context: Context,
    pub live: Live,
    pub gateway: Gateway,
    pub owner: owner::Config,
    pub config: Config,
}

/// Takes the Stream integrations that this pod owns, as the routing knows them, into the log.
pub fn serve(edge: Edge, parts: Parts) -> Arc<Ownership> {
    let hint = Arc::new(Notify::new());
    let mut changes = edge.routing.changes();
    let (stop, changed) = (edge.context.stop().clone(), hint.clone());
    edge.context.spawn(async move {
        // A lagged receiver missed changes, which is a change.
        let forward = async {
            while !matches!(changes.recv().await, Err(RecvError::Closed)) {
                changed.notify_one();
            }
        };
        stop.run_until_cancelled(forward).await;
    });
    let routing = edge.routing.clone();
    let handler = move |integration: Arc<Integration>, kind, payload| {
        let edge = edge.clone();
        async move { edge.take_frame(&integration, kind, payload).await }
    };
    start(parts, hint, move || routing.integrations(), handler)
}

/// Starts heartbeat, sessions and report; they end when the process stops. `source` gives all
/// integrations as they are known, and is asked again soon after each hint.
pub fn start<H, F, S>(parts: Parts, hint: Arc<Notify>, source: S, handler: H) -> Arc<Ownership>
where
    H: Fn(Arc<Integration>, Kind, Value) -> F + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
    S: Fn() -> Vec<Arc<Integration>> + Send + Sync + 'static,
{
    let Parts { context, live, gateway, owner, config } = parts;
    let ownership = owner::start(&context, live.clone(), &owner);
    let links = Arc::default();
    let changes = Arc::new(Notify::new());
    let report = Report {
        context: context.clone(),
        live: live.clone(),
        pod: owner.pod,
        links: Arc::clone(&links),
        changes: changes.clone(),
    };
    context.spawn(report.run());
    let fleet = Fleet {
        context: context.clone(),
        config,
        gateway,
        live,
        ownership: ownership.clone(),
        handler: Arc::new(handler),
        source,
        hint,
        changes,
        links,
    };
    context.spawn(fleet.run());
    ownership
}
