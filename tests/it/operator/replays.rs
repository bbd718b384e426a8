//! Dead letters asked again while an operator or the person does something else with them: a replay that
//! nobody was answered by may be pressed once more, and none touches the letter of somebody else.

use dingtalk_trigger::sim::dingtalk::message::{Said, Say};
use dingtalk_trigger::sim::expert::Next;
use serde_json::{Value, json};

use super::messages::parked;
use super::stand::Stand;
use crate::support::program::LIMIT;
use crate::support::wait::wait_until;

/// A message whose turn is refused; its letter is the only one.
async fn buried(stand: &Stand, person: &str, text: &str) -> (Said, Value) {
    let refusal = Next::Status { status: 400, retry_after: None, body: "not now".to_owned() };
    stand.outside.expert.next(refusal);
    let said = stand.outside.say(Say::direct("own", person, text));
    let dead = stand.service.admin().list_until("/api/dead", |items| items.len() == 1).await;
    (said, dead[0]["id"].clone())
}

/// Why a press is skipped; `Null` where it is not.
async fn pressed(stand: &Stand, id: &Value) -> Value {
    let press = json!({ "ids": [id] });
    let answer = stand.service.admin().done("POST", "/api/dead/replay", &press).await;
    answer.pointer("/skipped/0/why").cloned().unwrap_or_default()
}

async fn read_times(stand: &Stand, said: &Said, text: &str, times: usize) {
    wait_until(&format!("{text:?} is read {times} times"), LIMIT, async || {
        let read = stand.outside.read_in(&said.conversation);
        read.iter().filter(|read| read.trim_end().ends_with(text)).count() == times
    })
    .await;
}

#[tokio::test]
async fn a_replay_that_nobody_was_answered_by_is_pressed_once_more() {
    const ALREADY: &str = "it was replayed already";
    let stand = Stand::start(&[]).await;
    let (admin, outside, hands) = (stand.service.admin(), &stand.outside, &stand.hands);
    let (said, id) = buried(&stand, "ann", "hang on").await;

    // Stopped before its turn came.
    outside.say(Say::direct("own", "ann", "hang before it"));
    assert!(outside.expert.called(2, LIMIT).await);
    assert_eq!(pressed(&stand, &id).await, Value::Null);
    assert_eq!(pressed(&stand, &id).await, ALREADY, "it waits");
    outside.say(Say::direct("own", "ann", "/stop"));
    read_times(&stand, &said, "Stopped.", 1).await;
    assert_eq!(outside.expert.calls().len(), 2);

    // Stopped while it was asked; the log still knows the id of the first.
    assert_eq!(pressed(&stand, &id).await, Value::Null);
    assert!(outside.expert.called(3, LIMIT).await);
    assert_eq!(pressed(&stand, &id).await, ALREADY, "it is being asked");
    outside.say(Say::direct("own", "ann", "/stop"));
    read_times(&stand, &said, "Stopped.", 2).await;

    // Lost with its entry.
    admin.done("POST", "/api/runtimes/own/pause", &Value::Null).await;
    assert_eq!(pressed(&stand, &id).await, Value::Null);
    parked(&stand).await;
    hands.remove_last("DT_IN", "dt.in.own.>").await;
    assert_eq!(pressed(&stand, &id).await, ALREADY, "its turn is open");
    admin.done("POST", "/api/runtimes/own/resume", &Value::Null).await;
    wait_until("what is gone is counted", LIMIT, async || {
        stand.service.metric("dt_entries_gone_total", "").await > 0.5
    })
    .await;

    outside.expert.next(Next::Json(json!({ "text": "there you are" })));
    assert_eq!(pressed(&stand, &id).await, Value::Null);
    read_times(&stand, &said, "there you are", 1).await;
    stand.service.settled().await;
    assert_eq!(pressed(&stand, &id).await, ALREADY);
    assert_eq!(outside.expert.calls().len(), 4);
    stand.service.finish().await;
}

/// The numbers of a stream that is made anew, or put back, are given a second time.
#[tokio::test]
async fn a_replay_leaves_the_letter_alone_that_has_its_number_now() {
    let stand = Stand::start(&[]).await;
    let (admin, outside, hands) = (stand.service.admin(), &stand.outside, &stand.hands);
    let (bob, id) = buried(&stand, "bob", "for bob").await;
    hands.backup("DT_DEAD").await;
    hands.remove_stream("DT_DEAD").await;
    let (code, said) = stand.command("streams apply", &stand.service.nats_url()).await;
    assert_eq!(code, 0, "{said}");
    let (ann, again) = buried(&stand, "ann", "for ann").await;
    assert_eq!(id, again, "two letters have one number");
    hands.pause("DT_RUN", "dispatch").await;
    assert_eq!(pressed(&stand, &id).await, Value::Null);
    hands.remove_stream("DT_DEAD").await;
    hands.restore("DT_DEAD").await;
    hands.resume("DT_RUN", "dispatch").await;
    stand.service.settled().await;
    outside.ask(Say::direct("own", "ann", "next"), "You said: next").await;
    let read = outside.read_in(&ann.conversation);
    assert!(!read.iter().any(|text| text.ends_with("You said: for ann")), "{read:?}");

    // The log knows the other's id, which is none of this one.
    admin.list_until("/api/dead", |items| items.len() == 1).await;
    assert_eq!(pressed(&stand, &id).await, Value::Null);
    outside.reply(&bob.conversation, "You said: for bob").await;
    admin.list_until("/api/dead", <[Value]>::is_empty).await;
    stand.service.finish().await;
}
