//! What ends a run or a session: the commands of the chat, and the admin API.

use std::time::Duration;

use dingtalk_trigger::sim::dingtalk::message::Say;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::outside::Outside;
use crate::support::program::{LIMIT, report};
use crate::support::service::{Service, callback, xpert};
use crate::support::wait::wait_until;

const STOPPED: &str = "Stopped.";
const NEW: &str = "A new session begins with your next message.";
const ENDED: &str = "The session has ended.";

#[tokio::test]
async fn stop_cancels_the_run_and_what_waits_behind_it() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    for (robot, runtime) in [("robot", callback(&outside)), ("robot-x", xpert(&outside))] {
        service.stream_robot(&outside, robot).await;
        let expert = format!("expert-of-{robot}");
        service.admin().publish(&expert, robot, &json!({ "runtime": runtime })).await;
        let said = outside.say(Say::direct(robot, "ann", "slow 60"));
        wait_until("the run is under way", LIMIT, async || match robot {
            "robot" => outside.expert.calls().len() == 1,
            _ => outside.xpert.calls().len() == 1,
        })
        .await;
        outside.say(Say::direct(robot, "ann", "waits"));
        let told = Instant::now();
        outside.ask(Say::direct(robot, "ann", "/stop"), STOPPED).await;
        report(&format!("measured: {robot} stopped in {:?}", told.elapsed()));
        assert!(told.elapsed() < Duration::from_secs(20), "by itself it ends after 60 s");
        outside.ask(Say::direct(robot, "ann", "next"), "You said: next").await;
        assert_eq!(outside.read_in(&said.conversation), [STOPPED, "You said: next"]);
    }
    assert_eq!(outside.xpert.overlaps(), 0, "the cancelled run had ended at the server");
    service.finish().await;
}

#[tokio::test]
async fn a_session_is_ended_by_its_commands_and_by_the_admin_api() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    let admin = service.admin();
    admin.publish("expert", "robot", &json!({ "runtime": callback(&outside) })).await;
    let thread = || {
        let calls = outside.expert.calls();
        let session = &calls.last().expect("a call").body["session"];
        (session["threadId"].clone(), session["isNew"].clone())
    };
    let ask = async |text: &str| {
        outside.ask(Say::direct("robot", "ann", text), &format!("You said: {text}")).await;
        thread()
    };
    let (first, is_new) = ask("one").await;
    assert_eq!(is_new, true);
    assert_eq!(ask("two").await, (first.clone(), json!(false)));
    outside.ask(Say::direct("robot", "ann", " /NEW "), NEW).await;
    let (second, is_new) = ask("three").await;
    assert_ne!(second, first);
    assert_eq!(is_new, true);
    outside.ask(Say::direct("robot", "ann", "结束会话"), ENDED).await;
    let (third, is_new) = ask("four").await;
    assert_ne!(third, second);
    assert_eq!(is_new, true);

    admin
        .list_until("/api/conversations?integrationId=robot", |items| {
            items.iter().any(|item| item["threadId"] == third)
        })
        .await;
    let path = "/api/conversations?xpertId=expert";
    let ended = admin.done("DELETE", path, &Value::Null).await;
    assert_eq!(ended["ended"], 1, "{ended}");
    wait_until("the session is over", LIMIT, async || ask("five").await.1 == json!(true)).await;
    service.finish().await;
}
