//! The other streams put back from a backup, while people write. Timers, slots and the index of those who
//! wait are hints about the log and the journal: nothing hangs on what a backup lacks or has too much. Of a
//! dead letter SQL remembers what was done with it.

use std::ops::RangeInclusive;

use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::expert::Next;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::messages::parked;
use super::restored::answers;
use super::stand::{REDELIVERED, SWEPT, Stand};
use crate::support::oracle::{doubt, judge, mark};
use crate::support::program::{LIMIT, report};
use crate::support::wait::wait_until;

/// A POST takes no longer.
const UNDER_WAY_MS: i64 = 3000;
/// A conversation of a person who asks once, slowly.
const SLOW: usize = 899;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_slots_index_and_letters_put_back_from_a_backup_cost_seconds_and_no_message() {
    let stand = Stand::start(&[]).await;
    let doubts = stand.under_load(work(&stand)).await;
    stand.judge(&[doubts]).await;
    stand.service.finish().await;
}

async fn work(stand: &Stand) -> RangeInclusive<i64> {
    timers(stand).await;
    let doubts = slots(stand).await;
    index(stand).await;
    letters(stand).await;
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

/// What was replayed since is there again, and stays replayed.
async fn letters(stand: &Stand) {
    let (admin, outside) = (stand.service.admin(), &stand.outside);
    let refusal = Next::Status { status: 400, retry_after: None, body: "not now".to_owned() };
    outside.expert.next(refusal);
    let said = outside.say(Say::direct("own", "dead", "again"));
    let dead = admin.list_until("/api/dead", |items| items.len() == 1).await;
    stand.hands.backup("DT_DEAD").await;
    let press = json!({ "ids": [dead[0]["id"]] });
    admin.done("POST", "/api/dead/replay", &press).await;
    outside.reply(&said.conversation, "You said: again").await;
    wait_until("its letter is gone", LIMIT, async || messages(stand, "DT_DEAD").await == 0).await;
    put_back(stand, "DT_DEAD").await;
    assert_eq!(messages(stand, "DT_DEAD").await, 1);
    admin.list_until("/api/dead", <[Value]>::is_empty).await;
    let again = admin.done("POST", "/api/dead/replay", &press).await;
    assert_eq!(again["replayed"], json!([]), "{again}");
    outside.ask(Say::direct("own", "dead", "next"), "You said: next").await;
    let read = outside.read_in(&said.conversation);
    assert_eq!(read.iter().filter(|text| text.ends_with("again")).count(), 1, "{read:?}");
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
    // An answer that was on record before may be on its way still.
    let doubts = doubt(begun, stand.outside.now_ms() + UNDER_WAY_MS);
    stand.recovered("DT_JOURNAL put back", REDELIVERED).await;
    doubts
}
