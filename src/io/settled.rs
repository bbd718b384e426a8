//! What a work queue still holds though its consumer has acknowledged it.
//!
//! A broker notes an acknowledgement first and takes the message out a moment later. Killed in between, it
//! holds a message that it never hands out again: a slot that nobody has and nobody gets. Taking out what
//! is settled is safe at any time; what is acknowledged above an older message in flight waits for that one.

use super::nats::{Error, Nats};
use super::state;
use crate::domain::id::Seq;

/// A work queue with its one consumer.
#[derive(Debug, Clone, Copy)]
pub struct Queue {
    pub stream: &'static str,
    pub consumer: &'static str,
    /// What the consumer takes of the stream.
    pub filter: &'static str,
}

/// Takes out what is acknowledged. Gives how many messages that were.
pub async fn clear(nats: &Nats, queue: Queue) -> Result<usize, Error> {
    let floor = match state::consumer(nats, queue.stream, queue.consumer).await {
        Ok(consumer) => consumer.ack_floor,
        // Nobody has acknowledged anything.
        Err(error) if error.is_not_found() => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut cleared = 0;
    let mut from = Seq(1);
    while from <= floor {
        let found = nats.next(queue.stream, from, queue.filter).await?;
        let Some(settled) = found.filter(|found| found.seq <= floor) else { break };
        nats.delete(queue.stream, settled.seq).await?;
        tracing::info!(subject = settled.subject, "took out what was acknowledged before");
        cleared += 1;
        from = Seq(settled.seq.0 + 1);
    }
    Ok(cleared)
}
