//! Consumers paused, removed and added again; streams that may hold nothing more; timers purged.

use std::ops::RangeInclusive;
use std::time::Duration;

use dingtalk_trigger::sim::dingtalk::fault::{Fault, Outcome};
use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::dingtalk::record::Kind;
use dingtalk_trigger::sim::expert::Next;
use serde_json::Value;
use tokio::time::Instant;

use super::messages::parked;
use super::stand::{REDELIVERED, SWEPT, Stand};
use crate::drift::CONSUMERS;
use crate::support::oracle::doubt;
use crate::support::program::LIMIT;
use crate::support::service::callback;
use crate::support::wait::wait_until;

/// Without a wait for a redelivery, the longest of which is 15 s.
const AT_ONCE: Duration = Duration::from_secs(14);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_and_limits_in_an_operators_hands_cost_seconds_and_no_message() {
    let stand = Stand::start(&[]).await;
    let doubts = stand.under_load(work(&stand)).await;
    stand.judge(&doubts).await;
    stand.service.finish().await;
}

#[tokio::test]
async fn a_full_journal_keeps_what_is_younger_than_the_dedupe_window_and_the_last_record() {
    let window = Duration::from_secs(6);
    let stand = Stand::start(&[("DT_DEDUPE_WINDOW", "6s")]).await;
    let records = async || stand.hands.info("DT_JOURNAL").await["state"]["messages"].as_u64();
    let begun = Instant::now();
    stand.outside.ask(Say::direct("own", "ann", "once"), "You said: once").await;
    stand.service.settled().await;
    assert!(records().await > Some(1));
    stand.hands.max_bytes("DT_JOURNAL", 1).await;
    wait_until("there is room", LIMIT, async || records().await == Some(1)).await;
    assert!(begun.elapsed() >= window, "removed after {:?}", begun.elapsed());
    stand.hands.max_bytes("DT_JOURNAL", 1 << 30).await;
    stand.outside.ask(Say::direct("own", "ann", "twice"), "You said: twice").await;
    stand.service.finish().await;
}

#[tokio::test]
async fn a_turn_whose_stream_is_missing_waits_for_it_and_does_not_count_as_one_that_crashes() {
    let stand = Stand::start(&[]).await;
    let admin = stand.service.admin();
    admin.done("DELETE", "/api/runtimes/own", &Value::Null).await;
    stand.hands.remove_stream("DT_HANDOFF").await;
    stand.say_own();
    wait_until("the slot is given up for a timer", LIMIT, async || {
        stand.hands.last("DT_TIMER", "dt.timer.own.>").await.is_some()
            && stand.hands.last("DT_RUN", "dt.run.own.>").await.is_none()
    })
    .await;
    let urls = stand.service.nats_url();
    let (code, said) = stand.command("streams apply", &urls).await;
    assert!(code == 0 && said.contains("DT_HANDOFF does not exist"), "{code} {said}");
    parked(&stand).await;
    admin.register("own", &callback(&stand.outside)).await;
    stand.judge(&[]).await;
    stand.service.finish().await;
}

/// The message behind a turn that is tried again has no timer of its own: the end of that turn brings it.
#[tokio::test]
async fn what_follows_a_turn_is_taken_up_although_the_log_is_away_when_that_one_ends() {
    // The sweep would find it as well, in two minutes.
    let stand = Stand::start(&[("DT_SWEEP_INTERVAL", "1m")]).await;
    let (outside, hands) = (&stand.outside, &stand.hands);
    let busy = Next::Status { status: 503, retry_after: Some(8), body: String::new() };
    outside.expert.next(busy);
    let idle = async || hands.last("DT_RUN", "dt.run.own.>").await.is_none();
    let said = outside.say(Say::direct("own", "ann", "first"));
    assert!(outside.expert.called(1, LIMIT).await);
    wait_until("the turn waits", LIMIT, idle).await;
    outside.say(Say::direct("own", "ann", "second"));
    wait_until("it came behind the turn", LIMIT, async || {
        stand.service.metric("dt_stage_outcomes_total", "dispatch").await > 1.5
    })
    .await;
    wait_until("nobody has the slot", LIMIT, idle).await;
    hands.backup("DT_IN").await;
    let slowly = Fault { delay_ms: 3000, ..Fault::new("webhook", Outcome::Slow) };
    outside.cloud.fault(slowly);
    assert_eq!(outside.expert.calls().len(), 1, "the fault is for the answer to come");
    assert!(outside.expert.called(2, LIMIT).await);
    wait_until("its answer is on its way", LIMIT, async || {
        let records = outside.cloud.book().since(0, usize::MAX);
        records.iter().any(|record| record.kind == Kind::Faulted)
    })
    .await;
    hands.remove_stream("DT_IN").await;
    outside.reply(&said.conversation, "You said: first").await;
    wait_until("its slot is acknowledged", LIMIT, idle).await;
    hands.restore("DT_IN").await;
    let restored = Instant::now();
    outside.reply(&said.conversation, "You said: second").await;
    let waited = restored.elapsed();
    assert!(waited < AT_ONCE, "{waited:?}");
    stand.service.finish().await;
}

async fn work(stand: &Stand) -> Vec<RangeInclusive<i64>> {
    let hands = &stand.hands;
    for (stream, consumer) in CONSUMERS {
        hands.pause(stream, consumer).await;
        stand.piled_up("messages wait for the paused consumer").await;
        hands.resume(stream, consumer).await;
        stand.recovered(&format!("{consumer} paused and resumed"), AT_ONCE).await;
    }
    for (stream, what) in [("DT_IN", "a full log"), ("DT_JOURNAL", "a full journal")] {
        hands.max_bytes(stream, 1).await;
        stand.piled_up("messages wait for room").await;
        stand.says_whether_it_accepts(stream != "DT_IN").await;
        hands.max_bytes(stream, 1 << 30).await;
        stand.recovered(what, AT_ONCE).await;
        stand.says_whether_it_accepts(true).await;
    }
    for (stream, what, bound) in
        [("DT_RUN", "slots full", REDELIVERED), ("DT_TIMER", "timers dropped", SWEPT)]
    {
        hands.max_bytes(stream, 1).await;
        stand.piled_up("messages wait for room").await;
        hands.max_bytes(stream, 1 << 30).await;
        stand.recovered(what, bound).await;
    }
    wait_until("timers are pending", LIMIT, async || {
        hands.info("DT_TIMER").await["state"]["messages"].as_u64() >= Some(3)
    })
    .await;
    hands.purge("DT_TIMER").await;
    stand.recovered("DT_TIMER purged", SWEPT).await;
    let mut doubts = vec![];
    for (stream, consumer) in CONSUMERS {
        hands.remove_consumer(stream, consumer).await;
        stand.piled_up("messages wait for the consumer").await;
        hands.add_consumer(stream, consumer).await;
        // What a run had in its hands is handed out again at once.
        let now = stand.outside.now_ms();
        doubts.push(doubt(now, now));
        let bound = REDELIVERED;
        stand.recovered(&format!("{consumer} removed and added again"), bound).await;
    }
    doubts
}
