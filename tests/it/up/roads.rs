//! The roads a message takes: both modes of receiving, direct and group, all kinds of runtime, and
//! nobody bound.

use std::time::Duration;

use dingtalk_trigger::protocol::callback::Envelopes;
use dingtalk_trigger::sim::dingtalk::app::App;
use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::dingtalk::record::Kind;
use dingtalk_trigger::sim::expert::Next;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::outside::Outside;
use crate::support::program::{LIMIT, report};
use crate::support::service::{AES_KEY, Service, TOKEN, callback, echo, xpert};
use crate::support::wait::wait_until;

#[tokio::test]
async fn a_stream_robot_made_by_the_admin_api_answers_within_5_s_and_without_a_restart() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    let admin = service.admin();
    let begun = Instant::now();
    service.stream_robot(&outside, "robot").await;
    report(&format!("measured: connected after {:?}", begun.elapsed()));
    admin.publish("expert", "robot", &json!({ "runtime": echo() })).await;
    outside.ask(Say::direct("robot", "ann", "hello"), "hello").await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());

    let group =
        outside.ask(Say::group("robot", "cid-team", "ann", "all of you"), "all of you").await;
    assert_eq!(group.detail, "webhook");

    // The same robot under a new expert of another kind: a person's session stays with the old one.
    admin.done("DELETE", "/api/triggers/expert", &Value::Null).await;
    let second = json!({ "runtime": callback(&outside) });
    admin.publish("second", "robot", &second).await;
    outside.ask(Say::direct("robot", "ann", "still echo"), "still echo").await;
    assert_eq!(outside.expert.calls().len(), 0);
    outside.ask(Say::direct("robot", "bob", "streamed"), "You said: streamed").await;
    outside.expert.next(Next::Json(json!({ "text": "in one piece" })));
    outside.ask(Say::group("robot", "cid-team", "bob", "json"), "in one piece").await;
    assert!(outside.expert.calls().iter().all(|call| call.is_signed));

    admin.done("DELETE", "/api/triggers/second", &Value::Null).await;
    admin.publish("third", "robot", &json!({ "runtime": xpert(&outside) })).await;
    outside.ask(Say::direct("robot", "cyd", "to xpert"), "You said: to xpert").await;
    outside.ask(Say::direct("robot", "cyd", "again"), "You said: again").await;
    assert_eq!(outside.xpert.overlaps(), 0);
    let calls = outside.xpert.calls();
    assert_eq!(calls[0].thread, calls[1].thread, "one session is one thread");
    let status = admin.done("GET", "/api/integrations/robot/status", &Value::Null).await;
    assert_eq!(status["state"], "connected", "{status}");
    service.finish().await;
}

#[tokio::test]
async fn an_http_robot_answers_plain_signed_and_encrypted_callbacks() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.http_robot(&outside, "robot").await;
    let admin = service.admin();
    admin.publish("expert", "robot", &json!({ "runtime": callback(&outside) })).await;
    let direct = outside.ask(Say::direct("robot", "ann", "plain"), "You said: plain").await;
    outside.ask(Say::group("robot", "cid-team", "ann", "group"), "You said: group").await;

    let said = outside.cloud.book().since(0, 100);
    let said = said.iter().find(|record| record.kind == Kind::Said).unwrap();
    let mut body = said.body.clone();
    body["msgId"] = json!("msg-encrypted");
    body["text"]["content"] = json!("secret");
    let envelopes = Envelopes::new(TOKEN, AES_KEY, "robot").unwrap();
    let now = outside.now_ms().to_string();
    let plain = body.to_string();
    // A repeated callback is answered alike and has no second effect.
    for _ in 0..2 {
        let sealed = envelopes.encrypt(plain.as_bytes(), *b"abcdefghijklmnop", &now, "nonce");
        let query = [
            ("msg_signature", sealed.msg_signature.as_str()),
            ("timestamp", now.as_str()),
            ("nonce", "nonce"),
        ];
        let answer = reqwest::Client::new()
            .post(service.webhook("robot"))
            .query(&query)
            .json(&json!({ "encrypt": sealed.encrypt }))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.text().await.unwrap().contains("\"encrypt\""));
    }
    outside.reply(&direct.conversation, "You said: secret").await;
    outside.ask(Say::direct("robot", "ann", "last"), "You said: last").await;
    let read = outside.read_in(&direct.conversation);
    assert_eq!(read, ["You said: plain", "You said: secret", "You said: last"]);
    service.finish().await;
}

#[tokio::test]
async fn nobody_bound_is_told_once_and_each_message_is_kept_as_dead() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    let word = "No expert is connected to this robot yet. Please ask your administrator.";
    let first = outside.ask(Say::direct("robot", "ann", "one"), word).await;
    outside.say(Say::direct("robot", "ann", "two"));
    outside.say(Say::direct("robot", "ann", "three"));
    outside.ask(Say::direct("robot", "bob", "another conversation"), word).await;
    wait_until("all are buried", LIMIT, async || {
        service.metric("dt_dead_total", "unbound").await > 3.5
    })
    .await;
    service.admin().publish("expert", "robot", &json!({ "runtime": echo() })).await;
    outside.ask(Say::direct("robot", "ann", "four"), "four").await;
    assert_eq!(outside.read_in(&first.conversation), [word, "four"]);
    service.finish().await;
}

#[tokio::test]
async fn an_integration_that_is_taken_away_is_disconnected() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    let admin = service.admin();
    // Another app under the same integration: the connection moves to it.
    outside.cloud.put_app(App::stream("other", "app-secret"));
    admin.done("PATCH", "/api/integrations/robot", &json!({ "clientId": "other" })).await;
    wait_until("the connection moved", LIMIT, async || {
        outside.cloud.connections("robot") == 0 && outside.cloud.connections("other") == 1
    })
    .await;
    admin.done("DELETE", "/api/integrations/robot", &Value::Null).await;
    wait_until("it is disconnected", LIMIT, async || outside.cloud.connections("other") == 0).await;
    service.finish().await;
}
