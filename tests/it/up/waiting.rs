//! An expert that is away, fails, refuses, asks for time, or never answers.

use std::time::Duration;

use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::expert::Next;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::outside::Outside;
use crate::support::program::{LIMIT, report};
use crate::support::server::connect;
use crate::support::service::{Service, callback};
use crate::support::wait::wait_until;

const AWAY: &str = "The expert is away at the moment. Your message is kept and will be answered.";
const FAILED: &str = "Your question could not be answered. The administrator has been informed.";

/// Of the dead letters, the newest first.
async fn reasons(service: &Service) -> Vec<String> {
    let list = service.admin().done("GET", "/api/dead", &Value::Null).await;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let reason = |item: &Value| item["reason"].as_str().unwrap_or_default().to_owned();
    items.iter().map(reason).collect()
}

/// How many conversations are in the index of those that wait.
async fn parked(service: &Service) -> u64 {
    let broker = async_nats::jetstream::new(connect(&[service.nats_url()]).await);
    let index = broker.get_stream("DT_HANDOFF").await.expect("the index");
    index.cached_info().state.messages
}

#[tokio::test]
async fn without_a_runtime_turns_wait_and_go_on_in_order_within_2_s_of_its_registration() {
    let outside = Outside::start().await;
    let mut service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &Value::Null).await;
    let ann = outside.ask(Say::direct("robot", "ann", "one"), AWAY).await.conversation.clone();
    let bob = outside.ask(Say::direct("robot", "bob", "one"), AWAY).await.conversation.clone();
    for text in ["two", "three"] {
        outside.say(Say::direct("robot", "ann", text));
    }
    wait_until("all are in the log", LIMIT, async || {
        service.metric("dt_inbound_total", "accepted").await >= 4.0
    })
    .await;
    service.idle().await;
    // Killed while they wait: after the restart they still do, and are not told again.
    service.kill().await;
    service.restart().await;
    wait_until("connected again", LIMIT, async || outside.cloud.connections("robot") == 1).await;
    outside.say(Say::direct("robot", "ann", "four"));
    wait_until("four is in the log", LIMIT, async || {
        service.metric("dt_inbound_total", "accepted").await >= 1.0
    })
    .await;
    let registered = Instant::now();
    service.admin().register("expert", &callback(&outside)).await;
    outside.reply(&ann, "You said: one").await;
    outside.reply(&bob, "You said: one").await;
    let first = registered.elapsed();
    outside.reply(&ann, "You said: four").await;
    report(&format!(
        "measured: resumed {first:?} after registration, all after {:?}",
        registered.elapsed()
    ));
    assert!(first < Duration::from_secs(2), "{first:?}");
    let answers = ["one", "two", "three", "four"].map(|text| format!("You said: {text}"));
    let expected: Vec<_> = std::iter::once(AWAY.to_owned()).chain(answers).collect();
    assert_eq!(outside.read_in(&ann), expected);
    assert_eq!(outside.read_in(&bob), [AWAY, "You said: one"]);
    // The timers of the end of the wait stay until their time; they are hints without a meaning by now.
    service.idle().await;
    assert_eq!(service.program().terminate().await.code(), Some(0));
}

#[tokio::test]
async fn who_waits_for_a_lapsed_lease_goes_on_with_a_heartbeat_and_not_with_a_guess() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    let admin = service.admin();
    admin.publish("expert", "robot", &Value::Null).await;
    let said = outside.ask(Say::direct("robot", "ann", "one"), AWAY).await.conversation.clone();
    // Nobody is brought back while the runtime comes and its lease is lost again. What is left is what
    // every worker finds for the length of a lease after its start: it may have run out for want of a broker.
    admin.done("POST", "/api/integrations/robot/pause", &Value::Null).await;
    let mut leased = callback(&outside);
    leased["leaseSeconds"] = json!(3600);
    admin.register("expert", &leased).await;
    let broker = async_nats::jetstream::new(connect(&[service.nats_url()]).await);
    let removed = broker.publish("$KV.DT_LIVE.lease.expert", "".into()).await.expect("publish");
    removed.await.expect("the lease is gone");
    admin.done("POST", "/api/integrations/robot/resume", &Value::Null).await;
    outside.say(Say::direct("robot", "ann", "two"));
    wait_until("the conversation is looked at again", LIMIT, async || {
        service.metric("dt_stage_outcomes_total", "dispatch").await > 1.5
    })
    .await;
    assert_eq!(outside.expert.calls().len(), 0, "nobody said that it is there");
    admin.done("POST", "/api/runtimes/expert/heartbeat", &Value::Null).await;
    outside.reply(&said, "You said: two").await;
    assert_eq!(outside.read_in(&said), [AWAY, "You said: one", "You said: two"]);
    assert_eq!(outside.expert.calls().len(), 2);
    service.finish().await;
}

#[tokio::test]
async fn what_waits_too_long_is_a_dead_letter_and_a_word() {
    let outside = Outside::start().await;
    let service = Service::start_with(&outside, &[("DT_HANDOFF_MAX_AGE", "5")]).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &Value::Null).await;
    let told = outside.ask(Say::direct("robot", "ann", "one"), AWAY).await;
    outside.reply(&told.conversation, FAILED).await;
    assert_eq!(reasons(&service).await, ["handoff_expired"]);
    // Who asks again after that does not wait without a word.
    outside.say(Say::direct("robot", "ann", "once more"));
    wait_until("ann reads it anew", LIMIT, async || {
        outside.read_in(&told.conversation).get(2).is_some_and(|text| text == AWAY)
    })
    .await;
    let dead = service.metric("dt_dead_total", "handoff_expired").await;
    assert!(dead > 0.9, "{dead}");
    service.admin().register("expert", &callback(&outside)).await;
    outside.ask(Say::direct("robot", "ann", "two"), "You said: two").await;
    service.finish().await;
}

#[tokio::test]
async fn an_absence_is_told_once_however_many_turns_it_outlasts() {
    let outside = Outside::start().await;
    let service = Service::start_with(&outside, &[("DT_HANDOFF_MAX_AGE", "5")]).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &Value::Null).await;
    let mut said = String::new();
    for text in ["one", "two", "three"] {
        said = outside.say(Say::direct("robot", "ann", text)).conversation;
    }
    let failed_thrice = [AWAY, FAILED, FAILED, FAILED];
    let is_told = async || outside.read_in(&said).len() >= failed_thrice.len();
    wait_until("all three are given up", LIMIT, is_told).await;
    assert_eq!(outside.read_in(&said), failed_thrice);
    assert_eq!(reasons(&service).await, ["handoff_expired"; 3]);
    service.admin().register("expert", &callback(&outside)).await;
    outside.ask(Say::direct("robot", "ann", "four"), "You said: four").await;
    // It was there: that it is away again is another absence.
    service.admin().done("DELETE", "/api/runtimes/expert", &Value::Null).await;
    outside.ask(Say::direct("robot", "ann", "five"), AWAY).await;
    wait_until("five is given up", LIMIT, async || outside.read_in(&said).len() == 7).await;
    service.finish().await;
}

#[tokio::test]
async fn an_error_is_tried_again_and_a_refusal_is_a_dead_letter_and_a_word() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": callback(&outside) })).await;

    let status = |status, retry_after| Next::Status { status, retry_after, body: String::new() };
    outside.expert.next(status(500, None));
    outside.ask(Say::direct("robot", "ann", "after 500"), "You said: after 500").await;
    let calls = outside.expert.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].webhook_id, calls[1].webhook_id, "one turn has one idempotency key");
    assert_eq!((&calls[0].body["attempt"], &calls[1].body["attempt"]), (&json!(1), &json!(2)));

    outside.expert.next(status(429, Some(3)));
    outside.ask(Say::direct("robot", "ann", "after 429"), "You said: after 429").await;
    let calls = outside.expert.calls();
    let waited = calls[3].at_ms - calls[2].at_ms;
    assert!((2900..20_000).contains(&waited), "Retry-After of 3 s: {waited} ms");

    let refused = outside.ask(Say::direct("robot", "ann", "refuse this"), FAILED).await;
    assert_eq!(outside.expert.calls().len(), 5, "a refusal is not tried again");
    let dead = service.metric("dt_dead_total", "runtime_permanent").await;
    assert!((dead - 1.0).abs() < 0.1, "{dead}");
    outside.ask(Say::direct("robot", "ann", "goes on"), "You said: goes on").await;
    assert_eq!(
        outside.read_in(&refused.conversation),
        ["You said: after 500", "You said: after 429", FAILED, "You said: goes on"]
    );
    service.finish().await;
}

#[tokio::test]
async fn a_runtime_that_takes_a_turn_and_never_answers_is_asked_again() {
    let outside = Outside::start().await;
    let service = Service::start_with(&outside, &[("DT_RUNTIME_TIMEOUT", "2")]).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": callback(&outside) })).await;
    outside.expert.next(Next::Status { status: 202, retry_after: None, body: String::new() });
    let said = outside.say(Say::direct("robot", "ann", "later"));
    assert!(outside.expert.called(1, LIMIT).await);
    outside.say(Say::direct("robot", "ann", "behind"));
    outside.reply(&said.conversation, "You said: behind").await;
    let read = outside.read_in(&said.conversation);
    assert_eq!(read, ["You said: later", "You said: behind"], "nothing overtakes a waiting turn");
    let calls = outside.expert.calls();
    assert_eq!(calls[1].body["attempt"], 2);
    assert!(calls[1].at_ms - calls[0].at_ms >= 2000);
    service.finish().await;
}

#[tokio::test]
async fn a_pause_that_outlasts_what_the_log_keeps_leaves_dead_letters_and_drops_nothing() {
    let outside = Outside::start().await;
    let settings = [("DT_ENTRY_MAX_AGE", "10"), ("DT_SWEEP_INTERVAL", "1")];
    let service = Service::start_with(&outside, &settings).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": callback(&outside) })).await;
    service.admin().done("POST", "/api/runtimes/expert/pause", &Value::Null).await;
    let mut said = String::new();
    for text in ["one", "two"] {
        said = outside.say(Say::direct("robot", "ann", text)).conversation;
    }
    wait_until("both are given up", LIMIT, async || outside.read_in(&said).len() == 2).await;
    assert_eq!(outside.read_in(&said), [FAILED, FAILED], "and nobody says that they wait");
    assert_eq!(reasons(&service).await, ["expired", "expired"]);
    service.admin().done("POST", "/api/runtimes/expert/resume", &Value::Null).await;
    outside.ask(Say::direct("robot", "ann", "three"), "You said: three").await;
    assert_eq!(outside.expert.calls().len(), 1);
    // Nothing is lost: the letters are there to be asked again.
    let every = json!({ "filter": { "reason": "expired" } });
    service.admin().done("POST", "/api/dead/replay", &every).await;
    outside.reply(&said, "You said: one").await;
    outside.reply(&said, "You said: two").await;
    service.finish().await;
}

#[tokio::test]
async fn an_expert_that_hangs_keeps_nobody_from_another_and_who_waits_for_it_hears_nothing() {
    let outside = Outside::start().await;
    let service = Service::start_with(&outside, &[("DT_EXPERT_RUNS_MAX", "1")]).await;
    let fields = json!({ "runtime": callback(&outside), "queuedNotice": "none" });
    for robot in ["slow", "quick"] {
        service.stream_robot(&outside, robot).await;
        service.admin().publish(robot, robot, &fields).await;
    }
    let ann = outside.say(Say::direct("slow", "ann", "hang")).conversation;
    assert!(outside.expert.called(1, LIMIT).await);
    let mut waiting = vec![];
    for (person, count) in [("bob", 1), ("carol", 2)] {
        waiting.push(outside.say(Say::direct("slow", person, "one")).conversation);
        wait_until("it waits", LIMIT, async || parked(&service).await == count).await;
    }
    for person in ["bob", "carol"] {
        outside.say(Say::direct("slow", person, "two"));
    }
    // Each of them was busy, and the other expert answers as ever.
    for text in ["one", "two", "three"] {
        outside.ask(Say::direct("quick", "dora", text), &format!("You said: {text}")).await;
    }
    for conversation in &waiting {
        assert!(outside.read_in(conversation).is_empty(), "that it is busy is no word to anybody");
    }
    outside.ask(Say::direct("slow", "ann", "/stop"), "Stopped.").await;
    for conversation in &waiting {
        outside.reply(conversation, "You said: two").await;
        assert_eq!(outside.read_in(conversation), ["You said: one", "You said: two"]);
    }
    assert_eq!(outside.read_in(&ann), ["Stopped."]);
    wait_until("nobody waits", LIMIT, async || parked(&service).await == 0).await;
    assert_eq!(reasons(&service).await, [""; 0]);
    service.finish().await;
}

#[tokio::test]
async fn who_waits_for_an_expert_that_is_busy_or_paused_hears_of_it_when_it_is_gone() {
    let outside = Outside::start().await;
    let service = Service::start_with(&outside, &[("DT_EXPERT_RUNS_MAX", "1")]).await;
    service.stream_robot(&outside, "robot").await;
    let admin = service.admin();
    let fields = json!({ "runtime": callback(&outside), "queuedNotice": "none" });
    admin.publish("expert", "robot", &fields).await;
    outside.say(Say::direct("robot", "ann", "hang"));
    assert!(outside.expert.called(1, LIMIT).await);
    let bob = outside.say(Say::direct("robot", "bob", "one")).conversation;
    wait_until("bob waits for a busy one", LIMIT, async || parked(&service).await == 1).await;
    admin.done("DELETE", "/api/runtimes/expert", &Value::Null).await;
    outside.reply(&bob, AWAY).await;
    admin.done("POST", "/api/integrations/robot/pause", &Value::Null).await;
    let carol = outside.say(Say::direct("robot", "carol", "one")).conversation;
    wait_until("carol waits for a paused one", LIMIT, async || parked(&service).await == 2).await;
    assert!(outside.read_in(&carol).is_empty());
    admin.done("POST", "/api/integrations/robot/resume", &Value::Null).await;
    outside.reply(&carol, AWAY).await;
    admin.register("expert", &callback(&outside)).await;
    outside.ask(Say::direct("robot", "ann", "/stop"), "Stopped.").await;
    for conversation in [&bob, &carol] {
        outside.reply(conversation, "You said: one").await;
        assert_eq!(outside.read_in(conversation), [AWAY, "You said: one"]);
    }
    service.finish().await;
}
