//! Why a turn is given up, as the list of dead letters names it, for the reasons that take half an hour
//! or twenty deaths to come by: a turn is made that old in its journal, and meets its last attempt.
//!
//! Others are shown where they come by themselves: `waiting`, `controls`, `media`, `upgrade`.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::{self, AckKind, consumer::PullConsumer};
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::domain::turn::{OpenTurn, Phase, Sending};
use dingtalk_trigger::protocol::record;
use dingtalk_trigger::sim::dingtalk::fault::Fault;
use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::expert::Next;
use dingtalk_trigger::sim::script::{Act, End};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::support::outside::Outside;
use crate::support::program::LIMIT;
use crate::support::server::connect;
use crate::support::service::{Service, callback};
use crate::support::wait::{wait_for, wait_until};

const FAILED: &str = "Your question could not be answered. The administrator has been informed.";
const ATTEMPTS_MAX: u32 = 8;

pub(super) async fn published(outside: &Outside, settings: &[(&str, &str)]) -> Service {
    let service = Service::start_with(outside, settings).await;
    service.stream_robot(outside, "robot").await;
    let fields = json!({ "runtime": callback(outside), "queuedNotice": "none" });
    service.admin().publish("expert", "robot", &fields).await;
    service
}

pub(super) async fn jetstream(service: &Service) -> jetstream::Context {
    jetstream::new(connect(&[service.nats_url()]).await)
}

/// Waits until the open turn of the robot's newest record takes the change, and stores it so.
pub(super) async fn change(service: &Service, change: impl Fn(&mut OpenTurn) -> bool) {
    let broker = jetstream(service).await;
    let journal = broker.get_stream("DT_JOURNAL").await.expect("the journal");
    wait_until("the turn is changed", LIMIT, async || {
        let last = journal.get_last_raw_message_by_subject("dt.journal.robot.>").await;
        let Ok(last) = last else { return false };
        let mut record = record::decode(&last.payload).expect("a record");
        if !record.head.turn.as_mut().is_some_and(&change) {
            return false;
        }
        record.nonce = record.nonce.wrapping_add(1);
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, last.sequence.to_string());
        let payload = record::encode(&record).into();
        let sent = broker.publish_with_headers(last.subject.clone(), headers, payload).await;
        sent.expect("send the record").await.is_ok()
    })
    .await;
}

/// A turn that waits for another attempt is about to make its last one, with whoever takes it next.
pub(super) fn is_worn_out(turn: &mut OpenTurn) -> bool {
    match &turn.phase {
        Phase::Retry { .. } => {
            turn.attempt = ATTEMPTS_MAX;
            turn.phase = Phase::Retry { at: Timestamp(0) };
            true
        }
        Phase::Sending(sending) if sending.not_before.is_some() => {
            let (attempt, not_before) = (ATTEMPTS_MAX, Some(Timestamp(0)));
            turn.phase = Phase::Sending(Sending { attempt, not_before, ..sending.clone() });
            true
        }
        _ => false,
    }
}

/// Comes back by itself in an hour.
fn in_an_hour() -> Next {
    Next::Status { status: 500, retry_after: Some(3600), body: String::new() }
}

/// The reason of the only dead letter, once it is there.
async fn reason(service: &Service) -> Value {
    let dead = service.admin().list_until("/api/dead", |items| !items.is_empty()).await;
    assert_eq!(dead.len(), 1);
    dead[0]["reason"].clone()
}

/// What is left are timers of attempts that nobody makes any more.
pub(super) async fn finish(mut service: Service) {
    service.idle().await;
    assert_eq!(service.program().terminate().await.code(), Some(0));
}

#[tokio::test]
async fn what_a_runtime_fails_at_eight_times_is_given_up_as_exhausted() {
    let outside = Outside::start().await;
    let service = published(&outside, &[]).await;
    outside.expert.next(in_an_hour());
    let said = outside.say(Say::direct("robot", "ann", "one")).conversation;
    change(&service, is_worn_out).await;
    outside.expert.next(in_an_hour());
    outside.ask(Say::direct("robot", "ann", "two"), "You said: two").await;
    assert_eq!(reason(&service).await, "runtime_exhausted");
    assert_eq!(outside.expert.calls()[1].body["attempt"], ATTEMPTS_MAX);
    assert_eq!(outside.read_in(&said), [FAILED, "You said: two"]);
    finish(service).await;
}

#[tokio::test]
async fn a_runtime_that_is_silent_at_the_last_attempt_has_timed_out() {
    let outside = Outside::start().await;
    let service = published(&outside, &[("DT_RUNTIME_IDLE_TIMEOUT", "5")]).await;
    outside.expert.next(in_an_hour());
    let said = outside.say(Say::direct("robot", "ann", "one")).conversation;
    change(&service, is_worn_out).await;
    outside.expert.next(Next::Act(Act { deltas: vec![], pause: Duration::ZERO, end: End::Hang }));
    outside.ask(Say::direct("robot", "ann", "two"), "You said: two").await;
    assert_eq!(reason(&service).await, "runtime_timeout");
    assert_eq!(outside.read_in(&said), [FAILED, "You said: two"]);
    finish(service).await;
}

#[tokio::test]
async fn an_answer_that_dingtalk_fails_to_take_eight_times_is_given_up_as_exhausted() {
    let outside = Outside::start().await;
    let service = published(&outside, &[]).await;
    outside.cloud.fault(Fault::preset("webhook", "busy").times(1000));
    let said = outside.say(Say::direct("robot", "ann", "one")).conversation;
    change(&service, is_worn_out).await;
    outside.say(Say::direct("robot", "ann", "two"));
    assert_eq!(reason(&service).await, "reply_exhausted");
    outside.cloud.clear_faults();
    outside.reply(&said, "You said: two").await;
    assert_eq!(outside.read_in(&said), ["You said: two"], "whom nothing reaches, no word reaches");
    finish(service).await;
}

#[tokio::test]
async fn a_response_without_measure_is_over_a_limit() {
    let outside = Outside::start().await;
    let service = published(&outside, &[("DT_ANSWER_MAX_BYTES", "1024")]).await;
    outside.expert.next(Next::Json(json!({ "text": "x".repeat(200_000) })));
    let said = outside.ask(Say::direct("robot", "ann", "one"), FAILED).await;
    assert_eq!(reason(&service).await, "limit");
    assert!(service.metric("dt_limit_breaches_total", "answer").await > 0.5);
    outside.ask(Say::direct("robot", "ann", "two"), "You said: two").await;
    assert_eq!(outside.read_in(&said.conversation), [FAILED, "You said: two"]);
    service.finish().await;
}

#[tokio::test]
async fn a_question_longer_than_any_record_is_cut_and_asked() {
    let outside = Outside::start().await;
    let service = published(&outside, &[]).await;
    let question = json!({ "title": "Which?", "text": "this or that? ".repeat(100_000) });
    outside.expert.next(Next::Json(json!({ "text": "", "interrupt": question })));
    let said = outside.say(Say::direct("robot", "ann", "one")).conversation;
    let asked = "the question is asked";
    let read = wait_for(asked, LIMIT, async || outside.read_in(&said).pop()).await;
    assert!(read.contains("this or that?") && read.contains("too long"), "{read}");
    assert!(service.metric("dt_limit_breaches_total", "answer").await > 0.5);
    outside.say(Say::direct("robot", "ann", "two"));
    outside.reply(&said, "You said: two").await;
    service.finish().await;
}

#[tokio::test]
async fn a_turn_whose_runs_die_again_and_again_is_poison() {
    let outside = Outside::start().await;
    let service = published(&outside, &[("DT_RUNS_MAX", "1")]).await;
    outside.expert.next(in_an_hour());
    let bob = outside.say(Say::direct("robot", "bob", "one")).conversation;
    change(&service, |turn| matches!(turn.phase, Phase::Retry { .. })).await;
    service.idle().await;
    // The worker's only run is taken, so that the next slot is the test's to take and to give back.
    let ann = outside.say(Say::direct("robot", "ann", "hang")).conversation;
    assert!(outside.expert.called(2, LIMIT).await);
    outside.say(Say::direct("robot", "bob", "two"));
    let slots = jetstream(&service).await.get_stream("DT_RUN").await.expect("the slots");
    let dispatch: PullConsumer = slots.get_consumer("dispatch").await.expect("its consumer");
    let mut deliveries = 0;
    while deliveries <= 20 {
        // One at a time, so that nothing is on its way to the test when it stops asking.
        let taken = dispatch.batch().max_messages(1).expires(LIMIT).messages().await;
        let next = taken.expect("ask for a slot").next().await;
        let slot = next.expect("the slot comes again").expect("a slot");
        deliveries = slot.info().expect("a delivery").delivered;
        slot.ack_with(AckKind::Nak(None)).await.expect("give it back");
    }
    outside.ask(Say::direct("robot", "ann", "/stop"), "Stopped.").await;
    outside.reply(&bob, FAILED).await;
    assert_eq!(reason(&service).await, "poison");
    outside.reply(&bob, "You said: two").await;
    assert_eq!(outside.read_in(&bob), [FAILED, "You said: two"], "who follows it is not to blame");
    assert_eq!(outside.read_in(&ann), ["Stopped."]);
    finish(service).await;
}
