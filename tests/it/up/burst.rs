//! More people than an expert has runs for: they wait in the order of their coming, are woken by freed
//! permits, and cost the broker little.

use std::time::Duration;

use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::expert::{Call, Next};
use dingtalk_trigger::sim::script::{Act, End};
use serde_json::json;

use crate::support::outside::Outside;
use crate::support::program::LIMIT;
use crate::support::server::connect;
use crate::support::service::{Service, callback};
use crate::support::wait::wait_until;

const PEOPLE: usize = 60;
const RUNS: u64 = 4;

/// Answers after 400 ms: slower than a run waits before it parks.
fn slow() -> Next {
    let pause = Duration::from_millis(400);
    Next::Act(Act { deltas: vec!["answer".to_owned()], pause, end: End::Done })
}

async fn parked(service: &Service) -> u64 {
    let broker = async_nats::jetstream::new(connect(&[service.nats_url()]).await);
    let index = broker.get_stream("DT_HANDOFF").await.expect("the index");
    index.cached_info().state.messages
}

#[tokio::test]
async fn people_who_wait_for_a_busy_expert_are_answered_in_order_and_woken_by_freed_permits() {
    let outside = Outside::start().await;
    let runs = RUNS.to_string();
    let service = Service::start_with(&outside, &[("DT_EXPERT_RUNS_MAX", &runs)]).await;
    service.stream_robot(&outside, "robot").await;
    let fields = json!({ "runtime": callback(&outside), "queuedNotice": "none" });
    service.admin().publish("expert", "robot", &fields).await;
    (0..PEOPLE).for_each(|_| outside.expert.next(slow()));
    let mut conversations = vec![];
    for number in 0..PEOPLE {
        let person = format!("person{number}");
        conversations.push(outside.say(Say::direct("robot", &person, &person)).conversation);
        // The order of the log is the order of saying.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    wait_until("most wait in the index", LIMIT, async || parked(&service).await > 20).await;
    for conversation in &conversations {
        outside.reply(conversation, "answer").await;
        assert_eq!(outside.read_in(conversation), ["answer"]);
    }
    // Runs that park at the same moment may change places with their neighbours.
    let number = |call: &Call| {
        let text = call.body["input"]["text"].as_str()?;
        text.strip_prefix("person")?.parse::<usize>().ok()
    };
    let calls = outside.expert.calls();
    let asked: Vec<_> = calls.iter().map(|call| number(call).expect("a person's number")).collect();
    let displaced = asked.iter().enumerate().map(|(place, &number)| place.abs_diff(number)).max();
    assert!(displaced <= Some(PEOPLE / 3), "first come first served: {asked:?}");
    service.idle().await;
    let runs = service.metric("dt_stage_outcomes_total", r#"stage="dispatch""#).await;
    let tokens = service.metric("dt_stage_outcomes_total", r#"stage="due""#).await;
    let most = (2 * PEOPLE) as f64;
    assert!(runs <= most, "{runs} runs for {PEOPLE} people: each waits once at most");
    assert!(tokens < 1.0, "{tokens} timers fired: a freed permit wakes");
    assert_eq!(parked(&service).await, 0);
    service.finish().await;
}

#[tokio::test]
async fn a_person_who_goes_on_writing_while_waiting_keeps_the_place_and_the_order() {
    let outside = Outside::start().await;
    let service = Service::start_with(&outside, &[("DT_EXPERT_RUNS_MAX", "1")]).await;
    service.stream_robot(&outside, "robot").await;
    let fields = json!({ "runtime": callback(&outside), "queuedNotice": "none" });
    service.admin().publish("expert", "robot", &fields).await;
    outside.expert.next(slow());
    outside.say(Say::direct("robot", "ann", "first"));
    assert!(outside.expert.called(1, LIMIT).await);
    let mut conversations = vec![];
    for (place, person) in ["bob", "carol", "dora"].into_iter().enumerate() {
        conversations.push(outside.say(Say::direct("robot", person, "one")).conversation);
        let waits = place as u64 + 1;
        wait_until("it waits", LIMIT, async || parked(&service).await >= waits.min(2)).await;
    }
    outside.say(Say::direct("robot", "dora", "two"));
    outside.say(Say::direct("robot", "bob", "two"));
    for conversation in &conversations {
        outside.reply(conversation, "You said: one").await;
    }
    for conversation in [&conversations[0], &conversations[2]] {
        outside.reply(conversation, "You said: two").await;
        assert_eq!(outside.read_in(conversation).len(), 2);
    }
    service.finish().await;
}
