//! What the webhook accepts, and how it answers.

use std::time::Duration;

use dingtalk_trigger::domain::entry::{ControlKind, Entry};
use dingtalk_trigger::domain::id::IntegrationId;
use dingtalk_trigger::protocol::action::Key;
use dingtalk_trigger::protocol::callback::signed::card_sign;
use serde_json::{Value, json};

use crate::edge::{
    AES_KEY, Bench, CLIENT_SECRET, OLD_MASTER_KEY, PROBE, TOKEN, assert_empty,
    assert_sealed_success, envelopes, message,
};
use crate::support::wait::wait_for;

const TURN: &str = "http.abcdefghijklmnopqrstuvwx23.42";

fn press(track: &str) -> Value {
    let content = json!({"cardPrivateData": {"actionIds": ["confirm"], "params": {}}});
    json!({"type": "actionCallback", "outTrackId": track, "userId": "staff1", "userIdType": 1,
        "content": content.to_string()})
}

#[tokio::test]
async fn a_message_in_either_form_is_in_the_log_before_it_is_answered() {
    let bench = Bench::start().await;
    assert_empty(bench.plain(&message("m1", "one")).send().await.unwrap()).await;
    assert_sealed_success(bench.sealed(&message("m2", "two")).send().await.unwrap()).await;
    assert_empty(bench.plain(&message("m3", "/stop")).send().await.unwrap()).await;
    let logged = bench.logged().await;
    let ids: Vec<&str> = logged.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["http:m1", "http:m2", "http:m3"]);
    let texts: Vec<String> = logged
        .iter()
        .map(|(_, entry)| match entry {
            Entry::Message(message) => message.text(),
            Entry::Control(control) if control.kind == ControlKind::Stop => "stop".to_owned(),
            other => panic!("unexpected: {other:?}"),
        })
        .collect();
    assert_eq!(texts, ["one", "two", "stop"]);
    let metrics = bench.context.metrics.render();
    let accepted = r#"dt_inbound_total{integration="http",mode="http",result="accepted"} 3"#;
    assert!(metrics.contains(accepted), "{metrics}");
    assert!(metrics.contains("dt_accept_seconds_count 3"), "{metrics}");
    bench.finish().await;
}

#[tokio::test]
async fn a_wrong_address_or_method_is_told_what_is_right() {
    let bench = Bench::start().await;
    let calls = [
        (bench.client.put(bench.webhook("http")), 405, "METHOD_NOT_ALLOWED"),
        (bench.client.post(format!("{}/more", bench.webhook("http"))), 404, "NOT_FOUND"),
        (bench.client.get(format!("{}/", bench.base)), 404, "NOT_FOUND"),
        (bench.client.post(bench.webhook("nobody")), 404, "INTEGRATION_NOT_FOUND"),
    ];
    for (call, status, code) in calls {
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status(), status, "{code}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"]["code"], code);
        assert!(body["error"]["message"].as_str().is_some_and(|said| said.len() > 20), "{body}");
    }
    // Percent-encoded, the name is the same.
    let encoded = bench.client.get(format!("{}/api/dingtalk/webhook/%68ttp", bench.base));
    assert_eq!(encoded.send().await.unwrap().status(), 200);
    bench.finish().await;
}

#[tokio::test]
async fn a_repeated_request_is_answered_like_the_first_and_stored_once() {
    let bench = Bench::start().await;
    for _ in 0..3 {
        assert_empty(bench.plain(&message("m1", "one")).send().await.unwrap()).await;
        assert_sealed_success(bench.sealed(&message("m1", "one")).send().await.unwrap()).await;
    }
    assert_eq!(bench.logged().await.len(), 1);
    bench.finish().await;
}

#[tokio::test]
async fn a_request_that_comes_again_when_the_log_no_longer_recognises_it_has_no_second_effect() {
    let bench = Bench::recognising_for(Duration::from_millis(200)).await;
    let earlier = bench.now() - 60_000;
    let secret = bench.key.card_api_secret(&IntegrationId::parse("http").unwrap());
    let send = async || {
        for message in [message("m1", "one"), message("m2", "/stop")] {
            let plain = bench.signed(CLIENT_SECRET, earlier).json(&message);
            assert_empty(plain.send().await.unwrap()).await;
        }
        for body in [message("m3", "three"), press(TURN)] {
            let plain = body.to_string().into_bytes();
            let sealed = bench.sealed_at(&envelopes(), &plain, earlier);
            assert_sealed_success(sealed.send().await.unwrap()).await;
        }
        let pressed = bench.client.post(bench.webhook("http")).json(&press(TURN));
        let pressed = pressed
            .header("x-ddpaas-signature", card_sign(secret.expose(), &earlier.to_string()))
            .header("x-ddpaas-signature-timestamp", earlier.to_string());
        assert_eq!(pressed.send().await.unwrap().status(), 200);
    };
    send().await;
    bench.forget().await;
    send().await;
    let logged = bench.logged().await;
    let ids: Vec<&str> = logged.iter().map(|(id, _)| id.as_str()).collect();
    let ids: Vec<&str> = ids.into_iter().filter(|id| *id != PROBE).collect();
    assert_eq!(ids[..3], ["http:m1", "http:m2", "http:m3"]);
    assert!(ids.len() == 4 && ids[3].starts_with("http:card:"), "{ids:?}");
    let repeated = r#"dt_inbound_total{integration="http",mode="http",result="duplicate"} 6"#;
    let metrics = bench.context.metrics.render();
    assert!(metrics.contains(repeated), "{metrics}");
    bench.finish().await;
}

#[tokio::test]
async fn check_url_is_answered_under_every_name_of_its_parameters() {
    let bench = Bench::start().await;
    let plain = br#"{"EventType":"check_url"}"#;
    // In seconds, as in DingTalk's older samples.
    let at = (bench.now() / 1000).to_string();
    for (signature, timestamp) in
        [("signature", "timestamp"), ("msg_signature", "timeStamp"), ("msg_signature", "timestamp")]
    {
        let sealed = envelopes().encrypt(plain, *b"abcdefghijklmnop", &at, "380320111");
        let request = bench.client.post(bench.webhook("http")).query(&[
            (signature, sealed.msg_signature.as_str()),
            (timestamp, &at),
            ("nonce", "380320111"),
        ]);
        let request = request.json(&json!({ "encrypt": sealed.encrypt }));
        assert_sealed_success(request.send().await.unwrap()).await;
    }
    assert!(bench.logged().await.is_empty());
    let status = async || {
        let id = IntegrationId::parse("http").expect("an id");
        let seen = bench.store.seen(&id).await.expect("read what was seen");
        seen.verified_at.filter(|_| seen.last_event_at.is_some())
    };
    wait_for("the verification is recorded", Duration::from_secs(30), status).await;
    bench.finish().await;
}

#[tokio::test]
async fn what_is_not_for_an_expert_is_answered_counted_and_not_published() {
    let bench = Bench::start().await;
    let mut unmentioned = message("m1", "one");
    unmentioned["conversationType"] = json!("2");
    let mut own = message("m2", "two");
    own["senderId"] = own["chatbotUserId"].clone();
    assert_empty(bench.plain(&unmentioned).send().await.unwrap()).await;
    assert_empty(bench.plain(&own).send().await.unwrap()).await;
    for kind in ["robot_msg_recall", "user_add_org", "user_add_org"] {
        let event = json!({"EventType": kind, "CorpId": "ding"});
        assert_sealed_success(bench.sealed(&event).send().await.unwrap()).await;
    }
    assert_sealed_success(bench.sealed(&press("somebody-else")).send().await.unwrap()).await;
    assert!(bench.logged().await.is_empty());
    let metrics = bench.context.metrics.render();
    let results = [("ignored_not_mentioned", 1), ("ignored_own_message", 1), ("ignored_event", 3)];
    for (result, count) in [&results[..], &[("ignored_foreign_card", 1)]].concat() {
        let line = format!(
            r#"dt_inbound_total{{integration="http",mode="http",result="{result}"}} {count}"#
        );
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
    assert!(metrics.contains(r#"dt_events_total{integration="http",kind="user_add_org"} 2"#));
    bench.finish().await;
}

#[tokio::test]
async fn a_press_on_a_card_of_ours_is_logged_in_either_form_and_once() {
    let bench = Bench::start().await;
    for _ in 0..2 {
        assert_sealed_success(bench.sealed(&press(TURN)).send().await.unwrap()).await;
    }
    let logged = bench.logged().await;
    let [(id, Entry::Action(action))] = logged.as_slice() else { panic!("{logged:?}") };
    assert!(id.starts_with("http:card:"), "{id}");
    assert_eq!(action.turn.to_string(), TURN);
    bench.finish().await;
}

#[tokio::test]
async fn the_quota_notice_becomes_the_last_error() {
    let bench = Bench::start().await;
    let notice = json!({"msgtype": "text", "errorCode": 20001, "errorMessage": "quota used up"});
    assert_empty(bench.plain(&notice).send().await.unwrap()).await;
    let last_error = async || {
        let id = IntegrationId::parse("http").expect("an id");
        bench.store.seen(&id).await.expect("read what was seen").last_error
    };
    let limit = Duration::from_secs(30);
    let (_, text) = wait_for("the error is recorded", limit, last_error).await;
    assert_eq!(text, "quota used up");
    assert!(bench.logged().await.is_empty());
    bench.finish().await;
}

#[tokio::test]
async fn a_card_callback_is_signed_by_its_own_key_and_answered_as_a_card() {
    let bench = Bench::start().await;
    let secret = bench.key.card_api_secret(&IntegrationId::parse("http").unwrap());
    let send = async |track: &str, key: &str| {
        let timestamp = bench.now().to_string();
        let request = bench.client.post(bench.webhook("http"));
        let request = request
            .header("x-ddpaas-signature", card_sign(key, &timestamp))
            .header("x-ddpaas-signature-timestamp", timestamp)
            .json(&press(track));
        request.send().await.unwrap()
    };
    let before = Key::derive(&OLD_MASTER_KEY, None);
    let before = before.card_api_secret(&IntegrationId::parse("http").unwrap());
    for (track, secret) in [
        (format!("{TURN}-1"), &secret),
        // Registered before the master key was rotated.
        (format!("{TURN}-1"), &before),
        ("somebody-else".to_owned(), &secret),
    ] {
        let response = send(&track, secret.expose()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.json::<Value>().await.unwrap(), json!({}));
    }
    assert_sealed_success(bench.sealed(&press(&format!("{TURN}-1"))).send().await.unwrap()).await;
    let logged = bench.logged().await;
    assert_eq!(logged.len(), 1, "the same press in either form is one entry");
    assert!(logged[0].0.starts_with("http:card:"));
    assert!(matches!(&logged[0].1, Entry::Action(action) if action.turn.to_string() == TURN));
    assert_eq!(send(TURN, CLIENT_SECRET).await.status(), 401);
    let unsigned = bench.plain(&press(TURN)).send().await.unwrap();
    assert_eq!(unsigned.status(), 401, "a robot's signature does not serve a card");
    assert_eq!(bench.logged().await.len(), 1);
    bench.finish().await;
}

#[tokio::test]
async fn get_tells_whether_callbacks_are_taken() {
    let bench = Bench::start().await;
    let get = async |id: &str| bench.client.get(bench.webhook(id)).send().await.unwrap();
    let found = get("http").await;
    assert_eq!(found.status(), 200);
    assert_eq!(found.text().await.unwrap(), "success");
    for (id, status, code) in
        [("stream", 409, "NOT_HTTP_MODE"), ("nobody", 404, "INTEGRATION_NOT_FOUND")]
    {
        let response = get(id).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], code);
    }
    bench.finish().await;
}

#[tokio::test]
async fn neither_text_nor_secret_nor_name_is_logged() {
    let bench = Bench::start().await;
    let text = "text-never-shown";
    bench.plain(&message("m1", text)).send().await.unwrap();
    bench.sealed(&message("m2", text)).send().await.unwrap();
    bench.plain(&message("", text)).send().await.unwrap();
    bench.sealed(&json!({"text": text})).send().await.unwrap();
    bench.signed("other", bench.now()).json(&message("m3", text)).send().await.unwrap();
    let lines = bench.nats.logs.lines().join("\n");
    assert!(lines.contains("callback refused"), "{lines}");
    for secret in [text, TOKEN, AES_KEY, CLIENT_SECRET, "小王"] {
        assert!(!lines.contains(secret), "{secret} in\n{lines}");
    }
    bench.finish().await;
}
