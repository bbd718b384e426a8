//! One SIGKILL that meets five turns, each at another step, and what each goes on with: nobody is asked a
//! second time who can be asked how it fares, and what was said is not said again.

use dingtalk_trigger::domain::turn::{OpenTurn, Phase};
use dingtalk_trigger::protocol::record;
use dingtalk_trigger::sim::dingtalk::fault::{Fault, Outcome};
use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::dingtalk::record::Kind;
use dingtalk_trigger::sim::expert::Next;
use serde_json::json;
use tokio::time::Instant;

use super::reasons::{finish, jetstream};
use crate::support::outside::Outside;
use crate::support::program::{LIMIT, report};
use crate::support::service::{Service, callback, xpert};
use crate::support::wait::wait_until;

/// Waits until the newest record of the robot's journal has such a turn.
async fn at_step(service: &Service, robot: &str, is_there: impl Fn(&OpenTurn) -> bool) {
    let journal = jetstream(service).await.get_stream("DT_JOURNAL").await.expect("the journal");
    wait_until("the turn is at that step", LIMIT, async || {
        let last = journal.get_last_raw_message_by_subject(&format!("dt.journal.{robot}.>")).await;
        let Ok(last) = last else { return false };
        let record = record::decode(&last.payload).expect("a record");
        record.head.turn.as_ref().is_some_and(&is_there)
    })
    .await;
}

/// Waits until so many scripted faults have taken effect.
async fn met(outside: &Outside, faults: usize) {
    wait_until("DingTalk does as it was told", LIMIT, async || {
        let records = outside.cloud.book().since(0, usize::MAX);
        records.iter().filter(|record| record.kind == Kind::Faulted).count() == faults
    })
    .await;
}

#[tokio::test]
async fn a_kill_between_any_two_steps_asks_nobody_twice_and_says_nothing_twice() {
    let outside = Outside::start().await;
    let mut service = Service::start_with(&outside, &[("DT_WEBHOOK_RATE", "0")]).await;
    for (robot, runtime) in [("robot", callback(&outside)), ("robot-x", xpert(&outside))] {
        service.stream_robot(&outside, robot).await;
        let fields = json!({ "runtime": runtime, "queuedNotice": "none" });
        service.admin().publish(&format!("expert-of-{robot}"), robot, &fields).await;
    }
    let hang = || outside.cloud.fault(Fault::new("webhook", Outcome::Hang));

    // Between two segments: the first was read, the second one is under way.
    outside.cloud.fault(Fault::new("webhook", Outcome::Slow));
    hang();
    let parts = outside.say(Say::direct("robot", "eve", "long 20000")).conversation;
    met(&outside, 2).await;
    // After the answer: it is on record, and its only segment is under way.
    hang();
    let answered = outside.say(Say::direct("robot", "dan", "answered")).conversation;
    met(&outside, 3).await;
    // The runtime took the turn, and answers later.
    outside.expert.next(Next::Status { status: 202, retry_after: None, body: String::new() });
    let taken = outside.say(Say::direct("robot", "bob", "taken")).conversation;
    at_step(&service, "robot", |turn| matches!(turn.phase, Phase::Waiting { .. })).await;
    // In the middle of a call, of which nobody can be asked afterwards.
    let called = outside.say(Say::direct("robot", "cas", "slow 10 called")).conversation;
    assert!(outside.expert.called(4, LIMIT).await);
    // In the middle of a stream that can be joined again.
    let joined = outside.say(Say::direct("robot-x", "ann", "slow 10 joined")).conversation;
    at_step(&service, "robot-x", |turn| turn.run.is_some()).await;
    service.kill().await;

    service.restart().await;
    let begun = Instant::now();
    let turn = outside.expert.calls()[2].webhook_id.clone();
    let late = json!({ "text": "the late answer" });
    service.admin().done("POST", &format!("/api/turns/{turn}/reply"), &late).await;
    outside.reply(&taken, "the late answer").await;
    outside.reply(&answered, "You said: answered").await;
    outside.reply(&called, "You said: slow 10 called").await;
    outside.reply(&joined, "You said: slow 10 joined").await;
    wait_until("the second segment is read", LIMIT, async || outside.read_in(&parts).len() == 2)
        .await;
    report(&format!("measured: all five had gone on {:?} after the restart", begun.elapsed()));
    service.idle().await;

    for (conversation, segments) in
        [(&parts, 2), (&answered, 1), (&taken, 1), (&called, 1), (&joined, 1)]
    {
        let read = outside.read_in(conversation);
        assert_eq!(read.len(), segments, "{read:?}");
    }
    let asked: Vec<_> = outside.expert.calls().iter().map(|call| call.webhook_id.clone()).collect();
    assert_eq!(asked.len(), 5, "only the call that was cut is made again: {asked:?}");
    assert_eq!(asked[3], asked[4], "under its own name");
    assert_eq!(outside.xpert.calls().len(), 1, "its run was joined");
    let ambiguous = service.metric("dt_ambiguous_sends_total", "").await;
    assert!(ambiguous >= 2.0, "{ambiguous} sends of unknown outcome were counted");
    finish(service).await;
}
