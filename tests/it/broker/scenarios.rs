//! The scenarios that run on one server and on a cluster alike.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::HeaderMap;
use dingtalk_trigger::domain::debounce::{TimerKind, Token};
use dingtalk_trigger::domain::id::Seq;
use dingtalk_trigger::io::journal::{AppendError, Journal};
use dingtalk_trigger::io::log::Appended;
use dingtalk_trigger::io::nats::publish::PublishError;
use dingtalk_trigger::io::slot::{Offered, Slots};
use dingtalk_trigger::io::tick::Ticks;
use dingtalk_trigger::io::timer::Timers;
use dingtalk_trigger::protocol::subject;
use dingtalk_trigger::protocol::token::{self, Slot};
use futures_util::future::join_all;

use super::{Broker, LIMIT, conversation, entry, record};
use crate::support::wait::wait_until;

pub(super) async fn all(broker: &Broker) {
    one_of_many_writers_wins_the_journal(broker).await;
    a_retry_recognises_its_own_record(broker).await;
    an_id_is_stored_once_however_many_publish_it(broker).await;
    a_slot_holds_one_message_until_it_is_acknowledged(broker).await;
    a_slot_that_is_not_acknowledged_comes_again(broker).await;
    a_pull_hands_out_no_more_than_was_asked_for(broker).await;
    each_version_has_its_timer_and_it_fires_once(broker).await;
    one_caller_wins_a_tick(broker).await;
    an_ack_of_a_consumer_that_is_gone_is_an_error(broker).await;
}

async fn one_of_many_writers_wins_the_journal(broker: &Broker) {
    let (journal, place) = (Journal::new(&broker.nats), conversation("cas"));
    let mut last = Seq(0);
    for round in 0..10 {
        let records: Vec<_> = (0..8).map(|writer| record(round * 8 + writer)).collect();
        let appends = records.iter().map(|record| journal.append(&place, last, record));
        let outcomes = join_all(appends).await;
        let (stored, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!(stored.len(), 1, "{refused:?}");
        // 10071 where the rival is stored, 10164 where it is still in flight.
        assert!(refused.iter().all(|r| matches!(r, Err(AppendError::Conflict))), "{refused:?}");
        let head = journal.last(&place).await.expect("read the journal");
        assert_eq!(stored[0].as_ref().ok(), Some(&head.seq));
        last = head.seq;
    }
    let behind = journal.append(&place, Seq(0), &record(99)).await;
    assert!(matches!(behind, Err(AppendError::Conflict)), "{behind:?}");
}

async fn a_retry_recognises_its_own_record(broker: &Broker) {
    let (journal, place) = (Journal::new(&broker.nats), conversation("own"));
    let own = record(7);
    let seq = journal.append(&place, Seq(0), &own).await.expect("the first append");
    let again = journal.append(&place, Seq(0), &own).await;
    assert!(matches!(again, Err(AppendError::Conflict)), "no second record: {again:?}");
    let last = journal.last(&place).await.expect("read the journal");
    assert_eq!((last.seq, last.nonce, last.count), (seq, own.nonce, own.count));
}

async fn an_id_is_stored_once_however_many_publish_it(broker: &Broker) {
    let (log, place) = (broker.log(), conversation("dedupe"));
    let mut stored = Vec::new();
    for round in 0..10 {
        let id = format!("dedupe:{round}");
        let entry = entry();
        // On a cluster some of them meet one that is being stored (10158).
        let outcomes = join_all((0..16).map(|_| log.append(&place, &id, entry.clone()))).await;
        let outcomes: Vec<_> =
            outcomes.into_iter().map(|outcome| outcome.expect("durable")).collect();
        let first: Vec<_> = outcomes.iter().filter(|o| matches!(o, Appended::Stored(_))).collect();
        assert_eq!(first.len(), 1, "{outcomes:?}");
        let seqs: BTreeSet<_> = outcomes
            .iter()
            .map(|outcome| match outcome {
                Appended::Stored(seq) | Appended::Duplicate(seq) => *seq,
            })
            .collect();
        assert_eq!(seqs.len(), 1, "all name the same entry");
        stored.extend(seqs);
    }
    assert!(stored.is_sorted());
    let newest = log.newest(&place).await.expect("read the log").expect("an entry");
    assert_eq!(Some(&newest.seq), stored.last());
    assert!(newest.seq > Seq(1_000_000_000_000_000), "sequences begin at the time of creation");
}

async fn a_slot_holds_one_message_until_it_is_acknowledged(broker: &Broker) {
    let (slots, place) = (Slots::new(&broker.nats), conversation("slot"));
    let mut puller = broker.puller("DT_RUN", "dispatch").await;
    let slot = Slot { to: Seq(1), window: Duration::ZERO };
    for round in 0..5 {
        assert_eq!(slots.offer(&place, &slot).await.expect("offer"), Offered::Taken, "{round}");
        assert_eq!(slots.offer(&place, &slot).await.expect("offer"), Offered::Occupied);
        let run = broker.take(&mut puller).await;
        assert_eq!(token::decode_slot(&run.payload), Ok(slot));
        assert_eq!(
            slots.offer(&place, &slot).await.expect("offer"),
            Offered::Occupied,
            "in flight"
        );
        broker.nats.renew(&run).await.expect("a renewal is confirmed");
        broker.nats.ack_confirmed(&run).await.expect("an ack is confirmed");
        // On a cluster it disappears a moment after the confirmation.
        wait_until("the slot is free", LIMIT, async || {
            let subject = subject::slot(&place);
            broker.nats.last("DT_RUN", &subject).await.expect("read the slot").is_none()
        })
        .await;
    }
}

async fn a_slot_that_is_not_acknowledged_comes_again(broker: &Broker) {
    let (timers, place) = (Timers::new(&broker.nats), conversation("redelivery"));
    let token = Token { seq: Seq(1), kind: TimerKind::Now, window: Duration::ZERO, refusals: 0 };
    timers.fire(&place, &token).await.expect("fire");
    let mut puller = broker.puller("DT_TIMER", "due").await;
    let first = broker.take(&mut puller).await;
    assert_eq!(first.deliveries, 1);
    let second = broker.take(&mut puller).await;
    assert_eq!((second.seq, second.deliveries), (first.seq, 2));
    // The consumer's `ack_wait` is 5 s.
    assert!(first.taken.elapsed() > Duration::from_secs(4), "{:?}", first.taken.elapsed());
    broker.nats.hand_back(&second).await.expect("handed back");
    let third = broker.take(&mut puller).await;
    assert_eq!((third.seq, third.deliveries), (first.seq, 3));
    assert!(second.taken.elapsed() < Duration::from_millis(4500), "at once");
    broker.nats.ack_confirmed(&third).await.expect("acknowledged");
}

async fn a_pull_hands_out_no_more_than_was_asked_for(broker: &Broker) {
    let slots = Slots::new(&broker.nats);
    let mut puller = broker.puller("DT_RUN", "dispatch").await;
    let slot = Slot { to: Seq(1), window: Duration::ZERO };
    for index in 0..10 {
        let place = conversation(&format!("pull-{index}"));
        assert_eq!(slots.offer(&place, &slot).await.expect("offer"), Offered::Taken);
    }
    let mut taken = Vec::new();
    for count in 1..=10 {
        let free = 3;
        let next = tokio::time::timeout(LIMIT, puller.next(free)).await;
        taken.push(next.expect("a message comes").expect("the connection holds"));
        let read = dingtalk_trigger::io::state::consumer(&broker.nats, "DT_RUN", "dispatch").await;
        let out = read.expect("read the consumer").ack_pending;
        // What is out is at most what the requests so far asked for.
        let asked = u64::try_from(count + 2).expect("a small number") / 3 * 3;
        assert!(out <= asked.min(10), "{out} are out after {count} of three at a time");
    }
    for delivery in &taken {
        broker.nats.ack_confirmed(delivery).await.expect("acknowledged");
    }
}

async fn each_version_has_its_timer_and_it_fires_once(broker: &Broker) {
    let (timers, place) = (Timers::new(&broker.nats), conversation("timers"));
    let mut puller = broker.puller("DT_TIMER", "due").await;
    let at = broker.context.clock.now().after(Duration::from_millis(500));
    let window = Duration::from_millis(500);
    for seq in 1..=5 {
        let token = Token { seq: Seq(seq), kind: TimerKind::Window, window, refusals: 0 };
        // A redelivered entry arms its timer again.
        for _ in 0..2 {
            timers.arm(&place, &seq.to_string(), at, &token).await.expect("arm");
        }
    }
    let mut fired = Vec::new();
    for _ in 1..=5 {
        let delivery = broker.take(&mut puller).await;
        let lateness = delivery.at.0 - at.0;
        assert!(lateness >= -1, "not before its time: {lateness} ms");
        fired.push(token::decode_token(&delivery.payload).expect("a token").seq.0);
        broker.nats.ack_confirmed(&delivery).await.expect("acknowledged");
    }
    fired.sort_unstable();
    assert_eq!(fired, [1, 2, 3, 4, 5]);
    wait_until("no timer is left", LIMIT, async || {
        let read = dingtalk_trigger::io::state::stream(&broker.nats, "DT_TIMER").await;
        read.expect("read the stream").0.messages == 0
    })
    .await;
}

async fn one_caller_wins_a_tick(broker: &Broker) {
    let ticks = Ticks::new(&broker.nats);
    let (minute, now) = (Duration::from_secs(60), broker.context.clock.now());
    let outcomes = join_all((0..8).map(|_| ticks.win("it", minute, now))).await;
    let won = outcomes.into_iter().filter(|won| matches!(won, Ok(true))).count();
    assert_eq!(won, 1);
    assert!(!ticks.win("it", minute, now).await.expect("asked"));
    assert!(ticks.win("it", minute, now.after(minute * 2)).await.expect("asked"));
}

async fn an_ack_of_a_consumer_that_is_gone_is_an_error(broker: &Broker) {
    let (timers, place) = (Timers::new(&broker.nats), conversation("gone"));
    let token = Token { seq: Seq(1), kind: TimerKind::Now, window: Duration::ZERO, refusals: 0 };
    timers.fire(&place, &token).await.expect("fire");
    let mut puller = broker.puller("DT_TIMER", "due").await;
    let delivery = broker.take(&mut puller).await;
    let empty = serde_json::json!({});
    let deleted: Result<serde_json::Value, _> =
        broker.nats.api("CONSUMER.DELETE.DT_TIMER.due", &empty).await;
    deleted.expect("the consumer is deleted");
    let acked = broker.nats.ack_confirmed(&delivery).await;
    assert!(acked.is_err(), "nobody took the ack");
    let renewed = broker.nats.renew(&delivery).await;
    assert!(renewed.is_err(), "nobody renewed");
    // The message is still there, and so is the difference between an occupied and a full stream.
    let stored = broker.nats.last("DT_TIMER", &subject::due(&place)).await.expect("read");
    assert!(stored.is_some());
    let slot = subject::slot(&place);
    broker.put(&slot, HeaderMap::new()).await.expect("the slot is free");
    let refused = broker.nats.publish(&slot, HeaderMap::new(), "x".into()).await;
    assert!(matches!(refused, Err(PublishError::Occupied)), "{refused:?}");
}
