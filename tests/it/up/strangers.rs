//! What a stranger gets from the endpoint for late answers: one refusal, by the head alone.

use std::time::Duration;

use dingtalk_trigger::domain::secret::Secret;
use dingtalk_trigger::protocol::webhook::Key;
use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::expert::Next;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::outside::{EXPERT_SECRET, Outside};
use crate::support::program::LIMIT;
use crate::support::service::{Service, callback};

/// Sends a head that announces a large body, and none of it. Gives the answer.
async fn refused(address: &str, turn: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connect");
    let head = format!(
        "POST /api/turns/{turn}/reply HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3600000\r\n\
         Connection: close\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("write the head");
    let mut answer = Vec::new();
    // Well below the time that the body has.
    let read = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    read.expect("an answer before the body").expect("read the answer");
    let answer = String::from_utf8(answer).expect("text");
    let dated = |line: &&str| !line.to_ascii_lowercase().starts_with("date:");
    answer.lines().filter(dated).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_stranger_gets_one_refusal_before_the_body_is_read() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": callback(&outside) })).await;
    outside.expert.next(Next::Status { status: 202, retry_after: None, body: String::new() });
    outside.say(Say::direct("robot", "ann", "later"));
    assert!(outside.expert.called(1, LIMIT).await);
    let turn = outside.expert.calls()[0].body["turnId"].as_str().expect("a turn id").to_owned();
    let now_s = outside.now_ms() / 1000;
    let signed = |id: &str, at: i64| {
        let key = Key::parse(&Secret::new(EXPERT_SECRET)).expect("a secret of a runtime");
        let signature = key.sign(id, at, b"{}");
        format!("webhook-id: {id}\r\nwebhook-timestamp: {at}\r\nwebhook-signature: {signature}\r\n")
    };
    let none = "robot.abcdefghijklmnopqrstuvwx23.42";
    let missing = turn.rsplit_once('.').expect("a sequence").0.to_owned() + ".999999";
    let token = service.admin().token;
    let cases = [
        ("nothing", turn.as_str(), String::new()),
        ("no id", &turn, "webhook-timestamp: 1\r\nwebhook-signature: v1,AA\r\n".to_owned()),
        ("another turn", &turn, signed(none, now_s)),
        ("an old signature", &turn, signed(&turn, now_s - 400)),
        ("a wrong token", &turn, "Authorization: Bearer wrong\r\n".to_owned()),
        ("the right token at the edge", &turn, format!("Authorization: Bearer {token}\r\n")),
        ("no such turn", none, signed(none, now_s)),
        ("no such entry", &missing, signed(&missing, now_s)),
        ("no turn id", "hello", signed("hello", now_s)),
    ];
    let mut heard = vec![];
    for (what, turn, headers) in cases {
        let answer = refused(&service.edge, turn, &headers).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{what}: {answer}");
        heard.push(answer);
    }
    heard.dedup();
    assert_eq!(heard.len(), 1, "every stranger hears the same: {heard:#?}");
    assert_eq!(service.metric("dt_admin_refused_total", "").await, 2.0);
    // The console still takes the token.
    let path = format!("/api/turns/{turn}/reply");
    let (status, _) = service.admin().call("POST", &path, &json!({ "text": "by hand" })).await;
    assert_eq!(status, 204);
    let (status, _) = service.admin().call("POST", "/api/turns/hello/reply", &Value::Null).await;
    assert_eq!(status, 404, "an operator is told");
    drop(service);
}

#[tokio::test]
async fn the_edge_takes_the_admin_token_if_the_operator_says_so() {
    let outside = Outside::start().await;
    let service = Service::start_with(&outside, &[("DT_EDGE_ADMIN_TOKEN", "on")]).await;
    let token = service.admin().token;
    let headers = format!("Authorization: Bearer {token}\r\n");
    let answer = refused(&service.edge, "robot.abcdefghijklmnopqrstuvwx23.42", &headers).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    service.finish().await;
}
