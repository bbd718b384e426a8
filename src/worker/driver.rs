//! The loop of a stage: take a permit, take a message, handle it, settle it.
//!
//! The permit comes first, so that nothing ages in our memory. A handler that fails leaves its message
//! to be delivered again after `ack_wait`; nothing is retried inside a retry.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use super::gate::Gate;
use crate::context::Context;
use crate::domain::span::Kind;
use crate::io::log;
use crate::io::nats::pull::{Delivery, Puller};
use crate::io::nats::{Nats, trace};
use crate::protocol::subject;
use crate::telemetry::metrics::{Stage, StageOutcome};
use crate::telemetry::traces::{self, Traces, Work};

/// A consumer and how much of it one worker handles at once.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// The stage's word in logs and metrics.
    pub stage: &'static str,
    pub stream: &'static str,
    pub consumer: &'static str,
    pub concurrency: usize,
}

/// What becomes of a message after its handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// What it caused is durable: acknowledge.
    Done,
    /// The handler has settled it.
    Settled,
    /// Left to be delivered again.
    Left,
}

impl Disposition {
    /// Somebody else's message under our subjects: kept, it would hold up the sweep for ever.
    pub fn foreign(delivery: &Delivery) -> Self {
        let subject = delivery.subject.as_str();
        tracing::warn!(subject, "dropped a message whose subject names no conversation");
        Self::Done
    }
}

/// Runs until the process stops taking new work. Takes nothing while the gate is closed.
pub async fn drive<H, F>(context: Context, nats: Nats, gate: Gate, source: Source, handle: H)
where
    H: Fn(Delivery) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = anyhow::Result<Disposition>> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(source.concurrency));
    loop {
        tokio::select! {
            () = context.stop().cancelled() => return,
            () = gate.opened() => {}
        }
        let mut puller = match Puller::new(&nats, source.stream, source.consumer).await {
            Ok(puller) => puller,
            Err(error) => {
                tracing::warn!(stage = source.stage, %error, "cannot take messages yet");
                pause(&context, Duration::from_secs(1)).await;
                continue;
            }
        };
        while let Some((permit, delivery)) = take(&context, &gate, &permits, &mut puller).await {
            if !gate.passes(&source, &delivery).await {
                nats.hand_back(&delivery).await.ok();
                continue;
            }
            let (handler, nats) = (handle.clone(), nats.clone());
            let (metrics, traces) = (context.metrics.clone(), context.traces.clone());
            context.spawn(async move {
                let began = delivery.taken;
                let mut work = begin(&traces, source.stage, &delivery);
                let handling = traces::under(work.spot(), handler(delivery.clone()));
                let outcome = trace::within(&delivery.headers, handling).await;
                let word = settle(&nats, &delivery, source.stage, outcome).await;
                work.note("outcome", word);
                drop(work);
                let stage = source.stage;
                metrics.stage_outcomes.get_or_create(&StageOutcome { stage, outcome: word }).inc();
                let seconds = began.elapsed().as_secs_f64();
                metrics.stage_seconds.get_or_create(&Stage { stage }).observe(seconds);
                drop(permit);
            });
        }
        puller.leave().await;
    }
}

/// The span of one delivery, in the trace of its message.
fn begin(traces: &Traces, stage: &'static str, delivery: &Delivery) -> Work {
    let mut work = traces.begin(stage, Kind::Consumer, || trace::beginning(&delivery.headers));
    if work.spot().is_some()
        && let Some(conversation) = subject::conversation_of(&delivery.subject)
    {
        work.note("integration.id", &conversation.integration);
        work.note("conversation.id", &conversation.key);
        if let Some(message) = log::msg_id(&delivery.headers, &conversation.integration) {
            work.note("message.id", message);
        }
        work.number("deliveries", i64::try_from(delivery.deliveries).unwrap_or(i64::MAX));
    }
    work
}

/// A permit, and then a message for it. `None`: the process stops, or the gate is closed.
async fn take(
    context: &Context,
    gate: &Gate,
    permits: &Arc<Semaphore>,
    puller: &mut Puller,
) -> Option<(OwnedSemaphorePermit, Delivery)> {
    // Every arm is cancel safe: a permit or a message that is not taken stays where it is.
    let permit = tokio::select! {
        () = context.stop().cancelled() => return None,
        () = gate.closed() => return None,
        permit = permits.clone().acquire_owned() => permit.ok()?,
    };
    loop {
        let free = permits.available_permits() + 1;
        let taken = tokio::select! {
            () = context.stop().cancelled() => return None,
            () = gate.closed() => return None,
            taken = puller.next(free) => taken,
        };
        match taken {
            Ok(delivery) => return Some((permit, delivery)),
            Err(error) => {
                tracing::warn!(consumer = puller.consumer(), %error, "cannot take messages");
                pause(context, Duration::from_millis(500)).await;
            }
        }
    }
}

async fn settle(
    nats: &Nats,
    delivery: &Delivery,
    stage: &'static str,
    outcome: anyhow::Result<Disposition>,
) -> &'static str {
    match outcome {
        Ok(Disposition::Done) => {
            nats.ack(delivery).await;
            "done"
        }
        Ok(Disposition::Settled) => "settled",
        Ok(Disposition::Left) => "left",
        Err(error) => {
            let subject = delivery.subject.as_str();
            tracing::warn!(stage, subject, error = %format!("{error:#}"), "left for redelivery");
            "failed"
        }
    }
}

/// Shorter where the process is to stop.
async fn pause(context: &Context, duration: Duration) {
    tokio::select! {
        () = context.stop().cancelled() => {}
        () = sleep(duration) => {}
    }
}
