//! A broker that takes less than the settings allow: what it refuses is given up, once.

use dingtalk_trigger::sim::dingtalk::app::App;
use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::expert::Next;
use serde_json::json;

use super::Fleet;
use crate::support::nats::Nats;
use crate::support::program::LIMIT;
use crate::support::service::callback;
use crate::support::wait::wait_until;

const FAILED: &str = "Your question could not be answered. The administrator has been informed.";

#[tokio::test]
async fn an_answer_that_fits_into_no_record_is_over_a_limit_and_asked_for_once() {
    let fleet = Fleet::prepare_on(Nats::configured("max_payload: 65536").await).await;
    let outside = &fleet.outside;
    let mut pods = vec![];
    for pod in ["console-1", "edge-1", "worker-1"].map(|name| fleet.pod(name)) {
        pods.push(pod.ready().await);
    }
    outside.cloud.put_app(App::stream("robot", "app-secret"));
    let admin = pods[0].admin();
    admin.integrate(&json!({ "id": "robot", "mode": "stream" })).await;
    admin.publish("expert", "robot", &json!({ "runtime": callback(outside) })).await;
    wait_until("the robot is connected", LIMIT, async || outside.cloud.connections("robot") == 1)
        .await;
    outside.expert.next(Next::Json(json!({ "text": "x".repeat(100_000) })));
    outside.ask(Say::direct("robot", "ann", "one"), FAILED).await;
    let dead = admin.list_until("/api/dead", |items| items.len() == 1).await;
    assert_eq!(dead[0]["reason"], "limit", "{dead:?}");
    outside.ask(Say::direct("robot", "ann", "two"), "You said: two").await;
    assert_eq!(outside.expert.calls().len(), 2, "each turn was asked once");
    for pod in &mut pods {
        pod.terminate().await;
    }
}
