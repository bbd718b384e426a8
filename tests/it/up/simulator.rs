//! `sim` as somebody uses it who tries a service: with nothing but what it prints.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::demo::{Page, line, text};
use crate::support::outside::Outside;
use crate::support::program::{LIMIT, Program};
use crate::support::service::Service;
use crate::support::wait::wait_for;

#[tokio::test]
async fn the_simulator_prints_all_that_a_service_needs_and_takes_orders_for_faults() {
    let directory = TempDir::new().expect("create a directory");
    let anywhere = ("DT_SIM_ADDR".to_owned(), "127.0.0.1:0".to_owned());
    let mut simulator = Program::start(directory.path(), "sim", &["sim"], &[anywhere]);
    let said = wait_for("it says where the expert is", LIMIT, async || {
        simulator.assert_runs();
        Some(simulator.said()).filter(|said| line(said, "expert:").is_some())
    })
    .await;
    let printed = |what: &str| -> Value {
        let printed = line(&said, what).expect("a line for each");
        serde_json::from_str(&printed).expect("fields of the admin API")
    };
    let page = Page(line(&said, "DingTalk:").expect("a line for each"));
    // A page that makes its own name lead here reads nothing.
    for (host, expected) in [("evil.example.org", 421), ("localhost", 200), ("127.0.0.1:1", 200)] {
        let log = reqwest::Client::new().get(format!("{}/sim/log", page.0)).header("Host", host);
        let status = log.send().await.expect("reach the simulator").status();
        assert_eq!(status.as_u16(), expected, "{host}");
    }
    // Nobody talks to what plays in the test's own process.
    let outside = Outside::start().await;
    let url = page.0.as_str();
    let there = [("DT_DINGTALK_API_URL", url), ("DT_DINGTALK_OAPI_URL", url)];
    let service = Service::start_with(&outside, &there).await;
    let admin = service.admin();

    let mut robot = printed("robot:");
    robot["id"] = json!("robot");
    admin.integrate(&robot).await;
    admin.publish("expert", "robot", &json!({ "runtime": printed("expert:") })).await;
    page.connected("dingdemo").await;
    let fault = json!({ "api": "webhook", "kind": "preset", "name": "tooFast" });
    page.call("fault", &fault).await;
    let asked = page.say(json!({ "text": "hello" })).await;
    let reply = page.shown(&asked["conversationId"], "reply", |it| text(it).contains("hello"));
    reply.await;
    let is_fault = |it: &Value| it["detail"] == "webhook";
    page.shown(&json!(""), "faulted", is_fault).await;

    let second = json!({ "clientId": "second", "clientSecret": "app-secret" });
    page.call("apps", &second).await;
    admin.integrate(&json!({ "id": "second", "mode": "stream" })).await;
    admin.publish("other", "second", &json!({ "runtime": printed("Xpert:") })).await;
    page.connected("second").await;
    let asked = page.say(json!({ "robot": "second", "text": "hello, Xpert" })).await;
    let reply = page.shown(&asked["conversationId"], "reply", |it| text(it).contains("Xpert"));
    reply.await;

    service.finish().await;
    let status = simulator.terminate().await;
    assert_eq!(status.code(), Some(0), "{}", simulator.complained());
}
