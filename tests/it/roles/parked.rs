//! A missing expert, with every role a process of its own: what waits survives the death of all of them,
//! and goes on as soon as the expert is registered.

use std::time::Duration;

use dingtalk_trigger::sim::dingtalk::app::App;
use dingtalk_trigger::sim::dingtalk::message::Say;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Fleet, Pod};
use crate::support::nats::left_over;
use crate::support::program::{LIMIT, metric, report};
use crate::support::service::callback;
use crate::support::wait::wait_until;

const AWAY: &str = "The expert is away at the moment. Your message is kept and will be answered.";
const PODS: [&str; 4] = ["console-1", "edge-1", "worker-1", "worker-2"];

async fn start(fleet: &Fleet) -> Vec<Pod> {
    let mut pods = vec![];
    for pod in PODS.map(|name| fleet.pod(name)) {
        pods.push(pod.ready().await);
    }
    pods
}

async fn connected(fleet: &Fleet) {
    let cloud = &fleet.outside.cloud;
    wait_until("the robot is connected", LIMIT, async || cloud.connections("robot") == 1).await;
}

/// The edge has stored so many messages since it started.
async fn accepted(pods: &[Pod], count: f64) {
    wait_until("all are in the log", LIMIT, async || {
        metric(&pods[1].health, "dt_inbound_total", "accepted").await >= count
    })
    .await;
}

/// No worker has anything in its hands: that would come again only some time after it was killed.
async fn at_rest(fleet: &Fleet) {
    let jetstream = fleet.nats.jetstream().await;
    wait_until("all of it waits for the expert", LIMIT, async || {
        let left = left_over(&jetstream).await;
        left.iter().all(|left| left.ends_with("messages in DT_TIMER"))
    })
    .await;
}

#[tokio::test]
async fn what_waits_goes_on_within_2_s_of_a_registration_also_after_every_process_was_killed() {
    let fleet = Fleet::prepare().await;
    // The timers of the end of the wait stay until their time: hints without a meaning.
    fleet.nats.leaves_work();
    let outside = &fleet.outside;
    let mut pods = start(&fleet).await;
    outside.cloud.put_app(App::stream("robot", "app-secret"));
    let admin = pods[0].admin();
    admin.integrate(&json!({ "id": "robot", "mode": "stream" })).await;
    admin.publish("expert", "robot", &Value::Null).await;
    connected(&fleet).await;
    let ann = outside.ask(Say::direct("robot", "ann", "one"), AWAY).await.conversation.clone();
    let bob = outside.ask(Say::direct("robot", "bob", "one"), AWAY).await.conversation.clone();
    for text in ["two", "three"] {
        outside.say(Say::direct("robot", "ann", text));
    }
    accepted(&pods, 4.0).await;
    at_rest(&fleet).await;
    for pod in &mut pods {
        pod.program.kill().await;
    }
    pods = start(&fleet).await;
    connected(&fleet).await;
    outside.say(Say::direct("robot", "ann", "four"));
    accepted(&pods, 1.0).await;
    let registered = Instant::now();
    pods[0].admin().register("expert", &callback(outside)).await;
    outside.reply(&ann, "You said: one").await;
    outside.reply(&bob, "You said: one").await;
    let first = registered.elapsed();
    outside.reply(&ann, "You said: four").await;
    let all = registered.elapsed();
    report(&format!("measured: roles apart: resumed {first:?} after registration, all {all:?}"));
    assert!(first < Duration::from_secs(2), "{first:?}");
    let answers = ["one", "two", "three", "four"].map(|text| format!("You said: {text}"));
    let expected: Vec<_> = std::iter::once(AWAY.to_owned()).chain(answers).collect();
    assert_eq!(outside.read_in(&ann), expected, "in order, and told once");
    assert_eq!(outside.read_in(&bob), [AWAY, "You said: one"]);
    for pod in &mut pods {
        pod.terminate().await;
    }
}
