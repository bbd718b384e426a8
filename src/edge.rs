//! The edge: what DingTalk sends, verified and put into the log before DingTalk hears that it arrived.
//!
//! Guarantees that a success answer is given only for what the log confirmed (I1), and that one
//! conversation's entries are published in the order of their arrival. It has no table but integrations
//! and bindings, and decides nothing about a conversation: what it says of a press is a look ahead.

pub mod accept;
pub mod lane;
pub mod order;
pub mod repeat;
pub mod press;
pub mod webhook;
pub mod action_page;
pub mod frame;
pub mod owner;
pub mod stream;
pub mod room;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::time::Instant;

use self::accept::{Decision, Ignored, Publish};
use self::lane::Lane;
use self::order::Order;
use self::repeat::Arrival;
use self::webhook::refusal::Refusal;
use crate::context::body::Readers;
use crate::context::{Context, listener};
use crate::domain::binding::{Integration, Mode};
use crate::domain::id::{Conversation, Seq};
use crate::domain::span::Kind;
use crate::io::journal::Journal;
use crate::io::log::{self, Appended, Log};
use crate::io::routing::Routing;
use crate::io::store::events::{Recorder, Seen};
use crate::protocol::{action, trace};
use crate::telemetry::metrics::Inbound;

/// What both modes need to take something in. Cheap to clone; all clones keep one order.
#[derive(Clone)]
pub struct Edge {
    pub context: Context,
    pub log: Log,
    pub journal: Journal,
    pub routing: Routing,
    pub recorder: Recorder,
    pub action_key: action::Key,
    pub body_max_bytes: usize,
    pub readers: Readers,
    /// `DT_DEDUPE_WINDOW`: how long the log itself recognises what it took.
    pub dedupe_window: Duration,
    pub order: Order,
}

/// What a decision came to. DingTalk gets the same answer for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    Stored(Seq),
    /// The log had it before, there: a redelivery.
    Duplicate(Seq),
    Ignored,
}

impl Edge {
    /// Carries a decision out and counts it. `Ok` means that DingTalk may be told of success.
    pub fn take(
        &self,
        integration: &Integration,
        decision: Decision,
        arrival: Arrival,
    ) -> impl Future<Output = Result<Taken, log::Error>> {
        self.take_in(integration, decision, arrival, None)
    }

    /// See [`Edge::take`]. `place` is held where something had to be done in it first.
    async fn take_in(
        &self,
        integration: &Integration,
        decision: Decision,
        arrival: Arrival,
        place: Option<order::Turn>,
    ) -> Result<Taken, log::Error> {
        let now = self.context.clock.now();
        let verified_at = arrival.signed_at.map(|_| now);
        let mut seen = Seen { verified_at, last_event_at: Some(now), ..Seen::default() };
        let publish = match decision {
            Decision::Publish(publish) => publish,
            Decision::Ignore(why) => {
                let label = why.label();
                match why {
                    Ignored::QuotaExceeded(said) => seen.last_error = Some((now, said)),
                    Ignored::Event(kind) => {
                        self.context.metrics.event_left(integration.id.as_str(), &kind);
                    }
                    Ignored::NotMentioned | Ignored::OwnMessage | Ignored::ForeignCard => {}
                }
                self.recorder.record(&integration.id, seen);
                self.count(Some(integration), label);
                return Ok(Taken::Ignored);
            }
        };
        let Publish { conversation, message_id, entry } = *publish;
        let breach = |error: &log::Error| {
            if let log::Error::TooLarge { .. } = error {
                self.context.metrics.limit_breached("entry_bytes");
            }
        };
        let written = self.log.write(entry).inspect_err(breach)?;
        let _place = match place {
            Some(place) => place,
            None => self.order.enter(&conversation).await,
        };
        let appended = match self.known(&conversation, &message_id, arrival).await? {
            Some(seq) => Ok(Appended::Duplicate(seq)),
            None => self.log.append_written(&conversation, &message_id, written).await,
        };
        if self.context.traces.is_on() {
            self.trace(integration, &conversation, &message_id, (&appended, arrival.at));
        }
        let appended = appended.inspect_err(breach)?;
        self.context.metrics.accept_seconds.observe(arrival.at.elapsed().as_secs_f64());
        self.recorder.record(&integration.id, seen);
        let (taken, label) = match appended {
            Appended::Stored(seq) => (Taken::Stored(seq), "accepted"),
            Appended::Duplicate(seq) => (Taken::Duplicate(seq), "duplicate"),
        };
        self.count(Some(integration), label);
        Ok(taken)
    }

    /// The span in which the message's trace begins: from its arrival to the word of the log.
    fn trace(
        &self,
        integration: &Integration,
        conversation: &Conversation,
        message_id: &str,
        (appended, arrived): (&Result<Appended, log::Error>, Instant),
    ) {
        let kind = match integration.mode {
            Mode::Http => Kind::Server,
            Mode::Stream => Kind::Consumer,
        };
        let (traces, spot) = (&self.context.traces, trace::beginning(message_id));
        let took = arrived.elapsed();
        let mut work = match appended {
            Ok(Appended::Stored(_)) => traces.root("accept", kind, spot, took),
            // What was stored has its span.
            Ok(Appended::Duplicate(_)) | Err(_) => traces.again("accept", kind, spot, took),
        };
        work.note("integration.id", &integration.id);
        work.note("conversation.id", &conversation.key);
        work.note("message.id", log::own_id(message_id, &integration.id).unwrap_or(message_id));
        match appended {
            Ok(Appended::Stored(_)) => work.note("outcome", "accepted"),
            Ok(Appended::Duplicate(_)) => work.note("outcome", "duplicate"),
            Err(log::Error::TooLarge { .. }) => work.failed("too_large"),
            Err(_) => work.failed("not_durable"),
        }
    }

    /// `result` is a label of `dt_inbound_total`. What names no integration of ours is counted as one.
    pub fn count(&self, integration: Option<&Integration>, result: &'static str) {
        let mode = match integration.map(|integration| integration.mode) {
            Some(Mode::Http) | None => "http",
            Some(Mode::Stream) => "stream",
        };
        let id = integration.map_or("unknown", |integration| integration.id.as_str());
        let labels = Inbound { integration: id.to_owned(), mode, result };
        self.context.metrics.inbound.get_or_create(&labels).inc();
    }
}

/// Serves HTTP until the process stops, and `beside` on the same address; the listener is bound before
/// this returns.
pub async fn serve(
    edge: Edge,
    listener: &listener::Config,
    beside: Router,
) -> std::io::Result<SocketAddr> {
    let (context, edge) = (edge.context.clone(), Arc::new(edge));
    let rest = Router::new()
        .route(webhook::PATH, get(webhook::get).post(webhook::post))
        .route(action::PATH, get(action_page::get).post(action_page::post))
        .with_state(edge.clone())
        .merge(beside)
        .fallback(async || Refusal::no_such_call())
        .method_not_allowed_fallback(async || Refusal::no_such_method());
    listener::serve(&context, listener, Lane { edge, rest }, "edge").await
}
