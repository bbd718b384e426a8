//! The other streams put back from a backup, while people write. Timers, slots and the index of those who
//! wait are hints about the log and the journal: nothing hangs on what a backup lacks or has too much.

use std::ops::RangeInclusive;

use dingtalk_trigger::sim::dingtalk::message::Say;
use serde_json::Value;
use tokio::time::Instant;

use super::messages::parked;
use super::restored::answers;
use super::stand::{REDELIVERED, SWEPT, Stand};
use crate::support::oracle::{doubt, judge, mark};
use crate::support::program::{LIMIT, report};
use crate::support::wait::wait_until;

/// A conversation of a person who asks once, slowly.
const SLOW: usize = 899;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_slots_and_index_put_back_from_a_backup_cost_seconds_and_no_message() {
    let stand = Stand::start(&[]).await;
    let doubts = stand.under_load(work(&stand)).await;
    stand.judge(&[doubts]).await;
    stand.service.finish().await;
}

async fn work(stand: &Stand) -> RangeInclusive<i64> {
    timers(stand).await;
    let doubts = slots(stand).await;
    index(stand).await;
    doubts
}

async fn messages(stand: &Stand, stream: &str) -> u64 {
    stand.hands.info(stream).await["state"]["messages"].as_u64().unwrap_or_default()
}

/// The stream goes, and is as it was when it was backed up; the time when it went.
async fn put_back(stand: &Stand, stream: &str) -> i64 {
    stand.hands.remove_stream(stream).await;
    let gone = stand.outside.now_ms();
    stand.hands.restore(stream).await;
    gone
}

/// Those of the backup have fired since; those that came later are gone.
async fn timers(stand: &Stand) {
    wait_until("timers are pending", LIMIT, async || messages(stand, "DT_TIMER").await >= 3).await;
    stand.hands.backup("DT_TIMER").await;
    answers(stand, 20).await;
    wait_until("others are pending", LIMIT, async || messages(stand, "DT_TIMER").await >= 3).await;
    put_back(stand, "DT_TIMER").await;
    stand.recovered("DT_TIMER put back", REDELIVERED).await;
}

/// The slot of a run that is under way, and those of runs that have ended since.
async fn slots(stand: &Stand) -> RangeInclusive<i64> {
    let text = format!("slow 8 {}", mark(SLOW, 0));
    let asked = stand.outside.expert.calls().len() as u64;
    stand.outside.say(Say::direct("own", "slow", &text));
    assert!(stand.outside.expert.called(asked + 1, LIMIT).await, "the run is under way");
    stand.hands.backup("DT_RUN").await;
    assert!(messages(stand, "DT_RUN").await >= 1);
    answers(stand, 20).await;
    let gone = put_back(stand, "DT_RUN").await;
    let doubts = doubt(gone, stand.outside.now_ms());
    stand.recovered("DT_RUN put back", REDELIVERED).await;
    doubts
}

/// Of two that wait the backup has one; put back once more, it has one that waits no longer.
async fn index(stand: &Stand) {
    let admin = stand.service.admin();
    admin.done("POST", "/api/runtimes/own/pause", &Value::Null).await;
    stand.say_own();
    parked(stand).await;
    stand.hands.backup("DT_HANDOFF").await;
    stand.say_own();
    wait_until("both wait", LIMIT, async || messages(stand, "DT_HANDOFF").await == 2).await;
    put_back(stand, "DT_HANDOFF").await;
    admin.done("POST", "/api/runtimes/own/resume", &Value::Null).await;
    stand.recovered("DT_HANDOFF put back", SWEPT).await;
    put_back(stand, "DT_HANDOFF").await;
    let begun = Instant::now();
    wait_until("who does not wait is not in the index", LIMIT, async || {
        messages(stand, "DT_HANDOFF").await == 0
    })
    .await;
    report(&format!("cleared {:.1} s after it was put back", begun.elapsed().as_secs_f64()));
}

/// The state of a while ago: what was answered since is answered once more, in order, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_put_back_answers_once_more_what_came_since_and_loses_nothing() {
    let stand = Stand::start(&[]).await;
    let doubts = stand.under_load(journal(&stand)).await;
    stand.recovered("at the end", LIMIT).await;
    stand.service.settled().await;
    let verdict = judge(&stand.outside.cloud, &[doubts]);
    report(&format!("said {}, answered once more {}", verdict.said, verdict.doubled));
    verdict.assert_good(f64::INFINITY);
    stand.service.finish().await;
}

async fn journal(stand: &Stand) -> RangeInclusive<i64> {
    answers(stand, 40).await;
    stand.hands.backup("DT_JOURNAL").await;
    let begun = stand.outside.now_ms();
    answers(stand, 20).await;
    put_back(stand, "DT_JOURNAL").await;
    let doubts = doubt(begun, stand.outside.now_ms());
    stand.recovered("DT_JOURNAL put back", REDELIVERED).await;
    doubts
}
