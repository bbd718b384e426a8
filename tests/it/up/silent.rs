//! What others of the machine see of `up`: nothing in its log, at any level, and nothing of its broker.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::expert::Next;
use serde_json::json;

use crate::support::env;
use crate::support::outside::Outside;
use crate::support::program::LIMIT;
use crate::support::server::connect;
use crate::support::service::{Service, callback};
use crate::support::wait::wait_until;

const TEXT: &str = "text-never-shown";

#[tokio::test]
async fn no_filter_of_the_log_shows_a_text_a_name_a_webhook_or_a_password() {
    let outside = Outside::start().await;
    let mut service = Service::start_with(&outside, &[("DT_LOG", "trace")]).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": callback(&outside) })).await;
    outside.expert.next(Next::Json(json!({ "text": "answer-never-shown" })));
    outside.ask(Say::direct("robot", "ann", TEXT), "answer-never-shown").await;
    let refusal = format!("{{\"error\":\"cannot read {TEXT}\"}}");
    outside.expert.next(Next::Status { status: 400, retry_after: None, body: refusal });
    outside.say(Say::direct("robot", "ann", TEXT));
    wait_until("the refused turn is buried", LIMIT, async || {
        service.program().complained().contains("turn buried")
    })
    .await;
    let url = service.nats_url();
    let password = url.split([':', '@']).nth(2).expect("a password").to_owned();
    let log = service.program().complained();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "our own lines are there");
    for secret in [TEXT, "answer-never-shown", "sendBySession", "app-secret", &password] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is logged");
    }
    service.finish().await;
}

#[tokio::test]
async fn the_broker_of_up_lets_only_its_owner_in() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    let data = service.data.path().join("data");
    for (name, mode) in [
        ("", 0o700),
        ("nats", 0o700),
        ("nats/server.conf", 0o600),
        ("nats/context.json", 0o600),
        ("dingtalk-trigger.db", 0o600),
        ("lock", 0o600),
    ] {
        let found = std::fs::metadata(data.join(name)).expect("it is there").permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
    let url = service.nats_url();
    let (_, host) = url.rsplit_once('@').expect("a login");
    for stranger in [format!("nats://{host}"), format!("nats://up:guess@{host}")] {
        let refused =
            async_nats::ConnectOptions::with_user_and_password("up".into(), "guess".into());
        assert!(refused.connect(host).await.is_err(), "{stranger}");
        assert!(async_nats::connect(&stranger).await.is_err(), "{stranger}");
    }
    connect(&[url]).await;
    let cli = env::nats_cli();
    if !cli.is_file() {
        env::skipped("no nats command: its context is not tried");
        return service.finish().await;
    }
    let context = data.join("nats/context.json");
    let listed = Command::new(cli)
        .env("HOME", service.data.path())
        .arg("--context")
        .arg(&context)
        .args(["stream", "ls", "--names"])
        .output()
        .expect("run the nats command");
    let said = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(said.contains("DT_IN"), "{said}{}", String::from_utf8_lossy(&listed.stderr));
    service.finish().await;
}

#[tokio::test]
async fn a_fence_that_holds_fences_reaches_the_person_whole() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": callback(&outside) })).await;
    let fence = "````markdown\n# 文档\n```js\nlet a = 1;\n```\n结尾段落\n````";
    let answer = format!("先说明：\n\n{fence}\n\n之后的正文\n第二行正文");
    outside.expert.next(Next::Json(json!({ "text": answer })));
    let read = outside.ask(Say::direct("robot", "ann", "四个反引号"), "第二行正文").await;
    let text: &str = &read.text;
    assert!(text.contains(fence), "{text}");
    assert!(text.ends_with("之后的正文  \n  第二行正文"), "{text}");
    service.finish().await;
}
