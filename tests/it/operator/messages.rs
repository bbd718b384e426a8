//! One message removed from each stream: what each of them means, and what brings the rest back.

use dingtalk_trigger::sim::dingtalk::fault::Fault;
use dingtalk_trigger::sim::dingtalk::message::Say;
use serde_json::{Value, json};

use super::stand::{SWEPT, Stand};
use crate::support::program::LIMIT;
use crate::support::service::callback;
use crate::support::wait::wait_until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_removed_from_any_stream_takes_nothing_else_with_it() {
    let stand = Stand::start(&[]).await;
    an_answer_from_the_journal(&stand).await;
    for foreign in [
        "dt.in.foreign.subject",
        "dt.due.foreign.subject",
        "dt.run.foreign.subject",
        "dt.handoff.own.foreign.subject",
    ] {
        // It is dropped, and does not hold up what follows.
        stand.hands.publish(foreign).await;
    }
    stand.under_load(work(&stand)).await;
    stand.judge(&[]).await;
    let is_there = stand.hands.last("DT_HANDOFF", "dt.handoff.own.foreign.subject").await;
    assert_eq!(is_there, None);
    stand.service.finish().await;
}

async fn work(stand: &Stand) {
    from_the_log(stand).await;
    from_the_index(stand).await;
    from_the_slots(stand).await;
    from_the_timers(stand).await;
    from_the_journal(stand).await;
    from_the_dead_letters(stand).await;
    for bucket in ["KV_DT_LIVE", "KV_DT_RATE"] {
        let answer = stand.hands.remove_from_bucket(bucket).await;
        assert!(answer.is_err_and(|error| error.contains("10057")), "the broker refuses it");
    }
}

/// The turn that holds it is recorded lost, and the conversation goes on.
async fn from_the_log(stand: &Stand) {
    let admin = stand.service.admin();
    admin.done("POST", "/api/runtimes/own/pause", &Value::Null).await;
    let (mark, said) = stand.say_own();
    parked(stand).await;
    stand.hands.remove_last("DT_IN", "dt.in.own.>").await;
    stand.give_up(mark);
    stand.outside.say(Say::direct("own", &said_by(&said.conversation, stand), "next"));
    admin.done("POST", "/api/runtimes/own/resume", &Value::Null).await;
    stand.outside.reply(&said.conversation, "You said: next").await;
    wait_until("what is gone is counted", LIMIT, async || {
        stand.service.metric("dt_entries_gone_total", "").await > 0.5
    })
    .await;
}

/// A conversation that waits for its expert is brought back by the sweep, whatever the timer says that
/// ends its wait.
async fn from_the_index(stand: &Stand) {
    let admin = stand.service.admin();
    admin.done("DELETE", "/api/runtimes/own", &Value::Null).await;
    stand.say_own();
    parked(stand).await;
    there(stand, "DT_TIMER", "dt.timer.own.>").await;
    stand.hands.remove_last("DT_HANDOFF", "dt.handoff.>").await;
    admin.register("own", &callback(&stand.outside)).await;
    stand.recovered("an entry of DT_HANDOFF removed", SWEPT).await;
}

async fn from_the_slots(stand: &Stand) {
    stand.hands.pause("DT_RUN", "dispatch").await;
    stand.say_own();
    there(stand, "DT_RUN", "dt.run.own.>").await;
    stand.hands.remove_last("DT_RUN", "dt.run.own.>").await;
    stand.hands.resume("DT_RUN", "dispatch").await;
    stand.recovered("a slot of DT_RUN removed", SWEPT).await;
}

async fn from_the_timers(stand: &Stand) {
    there(stand, "DT_TIMER", "dt.timer.collects.>").await;
    stand.hands.remove_last("DT_TIMER", "dt.timer.collects.>").await;
    stand.recovered("a timer of DT_TIMER removed", SWEPT).await;
}

/// The record before counts: an answer on record is sent again, counted as ambiguous.
async fn from_the_journal(stand: &Stand) {
    let said = stand.outside.say(Say::direct("own", "journal", "once"));
    stand.outside.reply(&said.conversation, "You said: once").await;
    wait_until("it is settled", LIMIT, async || {
        stand.hands.last("DT_RUN", "dt.run.own.>").await.is_none()
    })
    .await;
    let before = stand.service.metric("dt_ambiguous_sends_total", "").await;
    stand.hands.remove_last("DT_JOURNAL", "dt.journal.own.>").await;
    wait_until("it is sent again", SWEPT, async || {
        stand.outside.read_in(&said.conversation).len() == 2
    })
    .await;
    assert!(stand.service.metric("dt_ambiguous_sends_total", "").await > before);
    stand.outside.ask(Say::direct("own", "journal", "twice"), "You said: twice").await;
}

/// Nobody knows any longer what was to be said: the turn is buried, to be asked again.
async fn an_answer_from_the_journal(stand: &Stand) {
    let admin = stand.service.admin();
    stand.outside.cloud.fault(Fault::preset("webhook", "busy").times(2));
    let said = stand.outside.say(Say::direct("own", "answer", "tell me"));
    // Started, answered, and to be sent again.
    wait_until("the first send fails", LIMIT, async || {
        stand.hands.last("DT_JOURNAL", "dt.journal.own.>").await >= Some(3)
    })
    .await;
    stand.hands.remove("DT_JOURNAL", 2).await;
    let dead = admin.list_until("/api/dead", |items| items.len() == 1).await;
    assert_eq!(dead[0]["reason"], "reply_permanent");
    admin.done("POST", "/api/dead/replay", &json!({ "ids": [dead[0]["id"]] })).await;
    stand.outside.reply(&said.conversation, "You said: tell me").await;
}

/// The letter is not there to be asked again; nobody waits for it.
async fn from_the_dead_letters(stand: &Stand) {
    let admin = stand.service.admin();
    stand.outside.say(Say::direct("own", "dead", "refuse this"));
    admin.list_until("/api/dead", |items| items.len() == 1).await;
    stand.hands.remove_last("DT_DEAD", "dt.dead.*.own.>").await;
    admin.list_until("/api/dead", <[Value]>::is_empty).await;
    stand.outside.ask(Say::direct("own", "dead", "go on"), "You said: go on").await;
}

/// The only conversation of the test's robot waits for its expert.
pub(super) async fn parked(stand: &Stand) {
    there(stand, "DT_HANDOFF", "dt.handoff.own.own.*").await;
}

async fn there(stand: &Stand, stream: &str, subject: &str) {
    wait_until(&format!("{subject} is there"), LIMIT, async || {
        stand.hands.last(stream, subject).await.is_some()
    })
    .await;
}

/// Who spoke in the conversation.
fn said_by(conversation: &str, stand: &Stand) -> String {
    let records = stand.outside.cloud.book().since(0, usize::MAX);
    let found = records.iter().find(|record| record.conversation == conversation);
    found.expect("somebody spoke").person.clone()
}
