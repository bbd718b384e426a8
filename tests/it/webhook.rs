//! Our Standard Webhooks signatures against the official library for Python: it accepts what we sign, byte
//! for byte as a runtime receives it, and we accept what it signs.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dingtalk_trigger::context::Clock;
use dingtalk_trigger::domain::binding::RuntimeKind;
use dingtalk_trigger::domain::secret::Secret;
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::protocol::webhook::{Error, Headers, Key};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::runtime::{Caller, SECRET, TURN, answer, config, turn};

/// Reads a list of questions, answers each: whether it verifies, or the signature of it.
const PYTHON: &str = r#"
import base64, datetime, json, sys
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError
answers = []
for question in json.load(sys.stdin):
    webhook = Webhook(question["secret"])
    body = base64.b64decode(question["body"])
    if "sign" in question:
        at = datetime.datetime.fromtimestamp(question["at"], datetime.timezone.utc)
        answers.append(webhook.sign(question["sign"], at, body.decode()))
        continue
    try:
        webhook.verify(body, question["headers"])
        answers.append("accepted")
    except WebhookVerificationError as error:
        answers.append(str(error))
json.dump(answers, sys.stdout)
"#;

/// The library's answers to `questions`, in their order.
fn official(questions: &[Value]) -> Vec<String> {
    let python = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.tools/venv/bin/python"));
    assert!(
        python.exists(),
        "no {}: run the tests with `ops/dev test`, which installs standardwebhooks there",
        python.display()
    );
    let mut process = Command::new(python)
        .args(["-c", PYTHON])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start Python");
    let mut input = process.stdin.take().expect("standard input is piped");
    input.write_all(json!(questions).to_string().as_bytes()).expect("ask Python");
    drop(input);
    let output = process.wait_with_output().expect("wait for Python");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "the official library failed; `ops/dev test` installs standardwebhooks: {complaint}"
    );
    serde_json::from_slice(&output.stdout).expect("a list of answers")
}

/// A turn with more than ASCII in it, as the runtime receives it.
async fn received() -> (HeaderMap, Bytes) {
    let caller = Caller::new(config());
    let (send, mut receive) = mpsc::channel(1);
    let respond = move |headers: HeaderMap, body: Bytes| async move {
        send.send((headers, body)).await.expect("the test listens");
        r#"{"text":"ok"}"#
    };
    let url = caller.serve(Router::new().route("/turn", post(respond))).await;
    let kind = RuntimeKind::Callback { url, secret: Secret::new(SECRET) };
    answer(caller.ask(&kind, &turn("你好 \"quoted\"\\ \u{1F600}\n</script>")).await);
    receive.recv().await.expect("the runtime was asked")
}

#[tokio::test]
async fn the_official_library_accepts_what_a_runtime_receives_and_nothing_else() {
    let (headers, body) = received().await;
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert_eq!(header("webhook-id"), TURN);
    let question = |body: &[u8], changes: Value| {
        let mut given = json!({
            "webhook-id": header("webhook-id"),
            "webhook-timestamp": header("webhook-timestamp"),
            "webhook-signature": header("webhook-signature"),
        });
        for (name, value) in changes.as_object().unwrap() {
            given[name] = value.clone();
        }
        json!({ "secret": SECRET, "body": STANDARD.encode(body), "headers": given })
    };
    let longer = [&body[..], b" "].concat();
    let other = json!({ "webhook-id": "robot-1.abcdefghijklmnopqrstuvwx23.43" });
    let later: i64 = header("webhook-timestamp").parse::<i64>().unwrap() + 1;
    let answers = official(&[
        question(&body, json!({})),
        question(&longer, json!({})),
        question(&body, other),
        question(&body, json!({ "webhook-timestamp": later.to_string() })),
        question(
            &body,
            json!({ "webhook-signature": format!("v1,AAAA {}", header("webhook-signature")) }),
        ),
    ]);
    let refused = "No matching signature found";
    assert_eq!(answers, ["accepted", refused, refused, refused, "accepted"]);
}

#[test]
fn we_accept_what_the_official_library_signs() {
    let key = Key::parse(&Secret::new(SECRET)).unwrap();
    let now = Clock::system().now();
    let at = now.0.div_euclid(1000);
    let bodies = [r#"{"text":"ok"}"#, "", "{\"text\":\"你好 😀\\n\"}\n"];
    let questions = bodies.map(
        |body| json!({ "secret": SECRET, "body": STANDARD.encode(body), "sign": "msg-1", "at": at }),
    );
    let timestamp = at.to_string();
    for (body, signature) in bodies.iter().zip(official(&questions)) {
        let headers = Headers { id: "msg-1", timestamp: &timestamp, signature: &signature };
        let verify = |headers: Headers<'_>, body: &str, now: Timestamp| {
            key.verify(headers, body.as_bytes(), now)
        };
        assert_eq!(verify(headers, body, now), Ok(()), "{body}");
        assert_eq!(key.sign("msg-1", at, body.as_bytes()), signature, "{body}");
        let changed = format!("{body} ");
        assert_eq!(verify(headers, &changed, now), Err(Error::Mismatch));
        let late = Timestamp(now.0 + 302_000);
        assert_eq!(verify(headers, body, late), Err(Error::OutOfWindow));
    }
}
