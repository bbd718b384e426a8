//! Every refusal of the webhook: its status, its code, and that nothing was published.

use std::time::Duration;

use dingtalk_trigger::domain::id::IntegrationId;
use dingtalk_trigger::protocol::callback::Envelopes;
use dingtalk_trigger::protocol::callback::signed::robot_sign;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::edge::{
    AES_KEY, BODY_MAX_BYTES, Bench, CLIENT_SECRET, ENTRY_MAX_BYTES, TOKEN, envelopes, message,
};
use crate::support::wait::wait_for;

const OTHER_KEY: &str = "1234567890123456789012345678901234567890123";

struct Case {
    name: &'static str,
    request: RequestBuilder,
    status: u16,
    code: &'static str,
    /// What the message must name.
    names: &'static str,
}

async fn check(bench: &Bench, cases: Vec<Case>) {
    for case in cases {
        let response = case.request.send().await.unwrap();
        let name = case.name;
        assert_eq!(response.status(), case.status, "{name}");
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["error"]["code"], case.code, "{name}: {body}");
        let said = body["error"]["message"].as_str().unwrap();
        assert!(said.contains(case.names), "{name}: {said}");
    }
    assert!(bench.logged().await.is_empty(), "nothing is published on a refusal");
}

#[tokio::test]
async fn plain_callbacks_are_refused_by_what_is_wrong_with_them() {
    let bench = Bench::start().await;
    let (now, hour) = (bench.now(), 3_600_000);
    let good = message("m1", "one");
    let post = |id: &str| bench.client.post(bench.webhook(id)).json(&good);
    let signed = |body: Vec<u8>| bench.signed(CLIENT_SECRET, now).body(body);
    let without = |field: &str| {
        let mut value = good.clone();
        value.as_object_mut().unwrap().remove(field);
        bench.plain(&value)
    };
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000)).into_bytes();
    let truncated = good.to_string().into_bytes().split_off(10);
    let case = |name, request, status, code, names| Case { name, request, status, code, names };
    let (missing, malformed) = ("SIGNATURE_MISSING", "MALFORMED");
    let cases = vec![
        case("unknown", post("nobody"), 404, "INTEGRATION_NOT_FOUND", "integration"),
        case("no id", post("a.b%20c"), 404, "INTEGRATION_NOT_FOUND", "integration"),
        case("bytes as id", post("%ff"), 404, "INTEGRATION_NOT_FOUND", "integration"),
        case("stream mode", post("stream"), 409, "NOT_HTTP_MODE", "stream"),
        case("no headers", post("http"), 401, missing, "timestamp"),
        case("no sign", post("http").header("timestamp", "1"), 401, missing, "sign"),
        case("no timestamp", post("http").header("sign", "x"), 401, missing, "timestamp"),
        case("wrong", bench.signed("other", now).json(&good), 401, "SIGNATURE_MISMATCH", ""),
        case(
            "old",
            bench.signed(CLIENT_SECRET, now - hour - 1).json(&good),
            401,
            "TIMESTAMP_OUT_OF_WINDOW",
            "hour",
        ),
        case(
            "ahead",
            bench.signed(CLIENT_SECRET, now + hour + 60_000).json(&good),
            401,
            "TIMESTAMP_OUT_OF_WINDOW",
            "",
        ),
        case("empty", signed(Vec::new()), 400, malformed, "body"),
        case("not JSON", signed(b"hello".to_vec()), 400, malformed, "body"),
        case("truncated", signed(truncated), 400, malformed, "body"),
        case("not UTF-8", signed(b"{\"msgId\":\"\xff\xfe\"}".to_vec()), 400, malformed, "body"),
        case("deep", signed(deep), 400, malformed, "body"),
        case("no object", signed(b"[1]".to_vec()), 400, malformed, "body"),
        case("nothing known", signed(b"{\"a\":1}".to_vec()), 400, malformed, "body"),
        case("no msgId", without("msgId"), 400, malformed, "msgId"),
        case("no msgtype", without("msgtype"), 400, malformed, "msgtype"),
        case("no place", without("conversationId"), 400, malformed, "conversationId"),
        case("no place kind", without("conversationType"), 400, malformed, "conversationType"),
    ];
    check(&bench, cases).await;
    bench.finish().await;
}

#[tokio::test]
async fn envelopes_are_refused_by_what_is_wrong_with_them() {
    let bench = Bench::start().await;
    let plain = message("m1", "one").to_string().into_bytes();
    let sealed = envelopes().encrypt(&plain, [b'r'; 16], "1", "n");
    let post = |query: &[(&str, &str)], body: &Value| {
        bench.client.post(bench.webhook("http")).query(query).json(body)
    };
    let body = json!({ "encrypt": sealed.encrypt });
    let signature = sealed.msg_signature.as_str();
    let by = |token: &str, key: &str, receiver: &str| {
        bench.sealed_by(&Envelopes::new(token, key, receiver).unwrap(), &plain)
    };
    let saying = |plain: &[u8]| bench.sealed_by(&envelopes(), plain);
    let hour = 3_600_000;
    let stamped_at = |age_ms| bench.sealed_at(&envelopes(), &plain, bench.now() - age_ms);
    let late = "TIMESTAMP_OUT_OF_WINDOW";
    let case = |name, request, status, code, names| Case { name, request, status, code, names };
    let (missing, mismatch, malformed) = ("SIGNATURE_MISSING", "SIGNATURE_MISMATCH", "MALFORMED");
    let stamped = [("signature", signature), ("timestamp", "1"), ("nonce", "n")];
    let cases = vec![
        case("no query", post(&[], &body), 401, missing, "signature"),
        case("no signature", post(&stamped[1..], &body), 401, missing, "signature"),
        case("no nonce", post(&stamped[..2], &body), 401, missing, "nonce"),
        case("no time", post(&[stamped[0], stamped[2]], &body), 401, missing, "timestamp"),
        case("other token", by("other", AES_KEY, "ding-http"), 401, mismatch, ""),
        case(
            "other time",
            post(&[stamped[0], ("timestamp", "2"), stamped[2]], &body),
            401,
            mismatch,
            "",
        ),
        case("other body", post(&stamped, &json!({"encrypt": "QUJD"})), 401, mismatch, ""),
        case("other receiver", by(TOKEN, AES_KEY, "ding-x"), 401, "RECEIVER_MISMATCH", "clientId"),
        case("other key", by(TOKEN, OTHER_KEY, "ding-http"), 400, malformed, "decrypted"),
        case("older than the log", stamped_at(167 * hour + 1000), 401, late, ""),
        case("far ahead", stamped_at(-hour - 60_000), 401, late, ""),
        case("no text", post(&stamped, &json!({"encrypt": 5})), 400, malformed, "encrypt"),
        case("not JSON", saying(b"success"), 400, malformed, "decrypted"),
        case("not UTF-8", saying(b"{\"a\":\"\xff\"}"), 400, malformed, "decrypted"),
        case("nothing known", saying(b"{}"), 400, malformed, "decrypted"),
        case("no msgId", saying(br#"{"msgtype":"text"}"#), 400, malformed, "msgId"),
        case(
            "no user",
            saying(br#"{"outTrackId":"http.abcdefghijklmnopqrstuvwx23.1"}"#),
            400,
            malformed,
            "userId",
        ),
    ];
    check(&bench, cases).await;
    bench.finish().await;
}

#[tokio::test]
async fn what_is_too_large_is_413_for_the_body_and_for_the_entry() {
    let bench = Bench::start().await;
    let body = bench.plain(&message("m1", &"x".repeat(BODY_MAX_BYTES)));
    let much = bench.plain(&message("m2", &"x".repeat(BODY_MAX_BYTES * 20)));
    let entry = bench.plain(&message("m3", &"x".repeat(ENTRY_MAX_BYTES)));
    let case = |name, request, names| Case {
        name,
        request,
        status: 413,
        code: "PAYLOAD_TOO_LARGE",
        names,
    };
    let cases =
        vec![case("body", body, "DT_BODY_MAX_BYTES"), case("entry", entry, "DT_ENTRY_MAX_BYTES")];
    check(&bench, cases).await;
    // So much more may be cut off while it is still written.
    if let Ok(response) = much.send().await {
        assert_eq!(response.status(), 413);
    }
    let metrics = bench.context.metrics.render();
    assert!(metrics.contains(r#"dt_limit_breaches_total{limit="entry_bytes"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"dt_limit_breaches_total{limit="body_bytes"} 2"#), "{metrics}");
    bench.finish().await;
}

#[tokio::test]
async fn a_refusal_is_counted_and_shown_in_the_status() {
    let bench = Bench::start().await;
    let wrong = bench.signed("other", bench.now()).json(&message("m1", "one"));
    assert_eq!(wrong.send().await.unwrap().status(), 401);
    let unknown = bench.client.post(bench.webhook("nobody")).send().await.unwrap();
    assert_eq!(unknown.status(), 404);
    let rejected = async || {
        let id = IntegrationId::parse("http").expect("an id");
        bench.store.seen(&id).await.expect("read what was seen").rejected
    };
    let (_, code) = wait_for("the refusal is recorded", Duration::from_secs(30), rejected).await;
    assert_eq!(code, "SIGNATURE_MISMATCH");
    let metrics = bench.context.metrics.render();
    for (integration, result) in
        [("http", "SIGNATURE_MISMATCH"), ("unknown", "INTEGRATION_NOT_FOUND")]
    {
        let line = format!(
            r#"dt_inbound_total{{integration="{integration}",mode="http",result="{result}"}} 1"#
        );
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
    bench.finish().await;
}

/// Sends a head that announces a body of 1 MiB, and none of it. Gives the answer.
async fn unread(bench: &Bench, target: &str, headers: &str) -> String {
    let address = bench.base.strip_prefix("http://").expect("an address");
    let mut stream = TcpStream::connect(address).await.expect("connect");
    let head = format!(
        "POST /api/dingtalk/webhook/{target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
         Content-Length: 1048576\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("write the head");
    let (mut answer, begun) = (Vec::new(), Instant::now());
    stream.read_to_end(&mut answer).await.expect("read the answer");
    // A body that is waited for ends in 503 when the time of the answer is over.
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    String::from_utf8(answer).expect("text")
}

#[tokio::test]
async fn what_the_head_cannot_prove_is_refused_with_the_body_unread() {
    let bench = Bench::start().await;
    let now = bench.now();
    let old = now - 7_200_000;
    let card =
        |at: i64| format!("x-ddpaas-signature-timestamp: {at}\r\nx-ddpaas-signature: AAAA\r\n");
    let robot = |at: i64, sign: &str| format!("timestamp: {at}\r\nsign: {sign}\r\n");
    let right = robot_sign(CLIENT_SECRET, &old.to_string());
    for (what, target, headers, status, code) in [
        ("no signature", "http", String::new(), 401, "SIGNATURE_MISSING"),
        ("other query", "http?nonce=1", String::new(), 401, "SIGNATURE_MISSING"),
        ("empty query", "http?signature=", String::new(), 401, "SIGNATURE_MISSING"),
        ("half a pair", "http", format!("timestamp: {now}\r\n"), 401, "SIGNATURE_MISSING"),
        ("wrong sign", "http", robot(now, "AAAA"), 401, "SIGNATURE_MISMATCH"),
        ("wrong card sign", "http", card(now), 401, "SIGNATURE_MISMATCH"),
        ("old", "http", robot(old, &right), 401, "TIMESTAMP_OUT_OF_WINDOW"),
        ("unknown", "nobody", String::new(), 404, "INTEGRATION_NOT_FOUND"),
        ("stream", "stream", String::new(), 409, "NOT_HTTP_MODE"),
    ] {
        let answer = unread(&bench, target, &headers).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{what}: {answer}");
        assert!(answer.contains(code), "{what}: {answer}");
    }
    bench.finish().await;
}

#[tokio::test]
async fn a_signature_proves_only_its_own_kind_of_payload() {
    let bench = Bench::start().await;
    let press = json!({ "outTrackId": "http.abcdefghijklmnopqrstuvwx23.1", "userId": "u" });
    let by_robot = bench.plain(&press).send().await.unwrap();
    assert_eq!(by_robot.status(), 401);
    let body: Value = by_robot.json().await.unwrap();
    assert_eq!(body["error"]["code"], "SIGNATURE_MISSING", "{body}");
    // A stamp in the query lets the body in, and proves nothing of a body in the clear.
    let stamped = bench.client.post(bench.webhook("http") + "?signature=x&timestamp=1&nonce=n");
    let refused = stamped.json(&message("m1", "one")).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert!(bench.logged().await.is_empty());
    bench.finish().await;
}

#[tokio::test]
async fn the_operator_sees_what_an_envelope_lacked_and_its_sender_does_not() {
    let bench = Bench::start().await;
    let plain = message("m1", "one").to_string().into_bytes();
    let wrong = Envelopes::new(TOKEN, OTHER_KEY, "ding-http").expect("a key");
    let mut heard = vec![];
    for request in [
        bench.sealed_by(&wrong, &plain),
        bench.sealed_by(&envelopes(), b"no JSON"),
        bench.sealed_by(&Envelopes::new(TOKEN, AES_KEY, "other").expect("a key"), b"no JSON"),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 400);
        heard.push(response.text().await.unwrap());
    }
    heard.dedup();
    assert_eq!(heard.len(), 1, "the sender hears one thing: {heard:?}");
    let seen = async || {
        let id = IntegrationId::parse("http").expect("an id");
        let seen = bench.store.seen(&id).await.expect("read what was seen").rejected;
        seen.filter(|(_, code)| code == "MALFORMED: the receiver")
    };
    wait_for("the last reason is recorded", Duration::from_secs(30), seen).await;
    bench.finish().await;
}
