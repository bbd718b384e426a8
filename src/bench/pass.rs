//! Turns through the whole worker, from the accepted entry to the finished turn, over 1,000
//! conversations; against the bare broker operations of one turn.
//!
//! Rounds of both alternate, and the medians are compared: a slow minute of the machine meets both
//! alike.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Figure;
use super::rate::{measure, median, per_second};
use super::stand::Stand;
use crate::domain::entry::Entry;
use crate::domain::id::Seq;
use crate::domain::turn::{Head, Step};
use crate::io::journal::Journal;
use crate::io::log::PageLimits;
use crate::io::slot::Slots;
use crate::protocol::record::Record;
use crate::protocol::token::Slot;

const CONVERSATIONS: usize = 1000;
const TURNS: usize = 6000;
const ROUNDS: usize = 3;

pub async fn run() -> anyhow::Result<Vec<Figure>> {
    let mut ratios = vec![];
    let (mut bests, mut floors) = (vec![], vec![]);
    for round in 0..ROUNDS {
        let floor = floor(round).await?;
        let passed = pass(round).await?;
        ratios.push(passed / floor);
        bests.push(passed);
        floors.push(floor);
    }
    Ok(vec![Figure {
        name: "pass",
        measured: format!("{:.0} turns/s", median(bests)),
        baseline: format!("{:.0} turns/s", median(floors)),
        ratio: median(ratios),
        asked: 0.4,
        is_less_better: false,
    }])
}

/// Turns a second through the whole worker.
pub async fn pass(round: usize) -> anyhow::Result<f64> {
    let stand = Stand::start(&format!("pass{round}")).await?;
    stand.start_worker();
    // Every conversation has its first turn before the clock runs.
    offer(&stand, CONVERSATIONS, CONVERSATIONS, "warm").await?;
    let warm = u64::try_from(CONVERSATIONS).unwrap_or(u64::MAX);
    stand.replies(warm, Duration::from_secs(60)).await?;
    let began = Instant::now();
    offer(&stand, TURNS, CONVERSATIONS, "turn").await?;
    let all = warm + u64::try_from(TURNS).unwrap_or(u64::MAX);
    stand.replies(all, Duration::from_secs(120)).await?;
    let rate = per_second(TURNS, began.elapsed().as_secs_f64());
    stand.end().await;
    Ok(rate)
}

/// Logs `count` messages of so many conversations in turn.
pub async fn offer(
    stand: &Stand,
    count: usize,
    conversations: usize,
    word: &str,
) -> anyhow::Result<()> {
    let messages: Vec<_> = (0..count)
        .map(|number| stand.message(number % conversations, &format!("{word}{number}")))
        .collect();
    let (log, messages) = (stand.parts.log.clone(), std::sync::Arc::new(messages));
    measure(&stand.context, count, 64, move |_, number| {
        let (log, messages) = (log.clone(), messages.clone());
        async move {
            let Some((conversation, message)) = messages.get(number) else { return Ok(()) };
            let id = format!("bench:{}", message.msg_id);
            log.append(conversation, &id, Entry::Message(message.clone())).await?;
            Ok(())
        }
    })
    .await?;
    Ok(())
}

/// One turn in nothing but broker operations: the entry, the slot, a leader read, a direct get, three
/// journal records, a leader read of what follows, and the confirmed acks of both.
async fn floor(round: usize) -> anyhow::Result<f64> {
    let stand = Stand::start(&format!("floor{round}")).await?;
    let nats = stand.parts.nats.clone();
    let (log, journal, slots) = (stand.parts.log.clone(), Journal::new(&nats), Slots::new(&nats));
    let messages: Vec<_> =
        (0..TURNS).map(|number| stand.message(number, &format!("floor{number}"))).collect();
    let messages = std::sync::Arc::new(messages);
    let rate = measure(&stand.context, TURNS, 64, move |_, number| {
        let (nats, log, journal, slots) =
            (nats.clone(), log.clone(), journal.clone(), slots.clone());
        let messages = messages.clone();
        async move {
            let Some((conversation, message)) = messages.get(number) else { return Ok(()) };
            let id = format!("bench:{}", message.msg_id);
            let appended = log.append(conversation, &id, Entry::Message(message.clone())).await?;
            let (crate::io::log::Appended::Stored(seq) | crate::io::log::Appended::Duplicate(seq)) =
                appended;
            slots.offer(conversation, &Slot { to: seq, window: Duration::ZERO }).await?;
            let mut after = journal.last(conversation).await?.seq;
            let limits = PageLimits { entries_max: 50, bytes_max: 1 << 20 };
            log.page(conversation, Seq(seq.0 - 1), seq, limits).await?;
            for count in 0..3 {
                let head = Head { position: seq, ..Head::default() };
                let record = Record { nonce: 1, count, step: Step::Noted, head, answer: None };
                after = journal.append(conversation, after, &record).await?;
            }
            log.newest(conversation).await?;
            // Stands for the acks of the entry and of the slot, which cost a request each.
            for _ in 0..2 {
                nats.client().request("$JS.API.INFO".to_owned(), Bytes::new()).await?;
            }
            Ok(())
        }
    })
    .await?;
    stand.end().await;
    Ok(rate)
}
