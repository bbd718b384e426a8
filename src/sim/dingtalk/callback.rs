//! HTTP mode: robot messages signed and plain, events encrypted, card callbacks with their own signature.
//!
//! Guarantees the order of one conversation's first pushes; a retry comes when its time has come. An
//! answer within the body of the response is recorded like any other reply of the robot.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::mpsc;

use super::app::Receive;
use super::cloud::Cloud;
use super::delivery::{Flight, PushKind, pushed};
use super::record::{Kind, Record};
use crate::protocol::callback::{Envelopes, Stamp};

/// One lane: the pushes of some conversations, one after the other.
pub async fn run(cloud: Arc<Cloud>, mut lane: mpsc::UnboundedReceiver<Flight>) {
    loop {
        let flight = tokio::select! {
            flight = lane.recv() => flight,
            () = cloud.stop.cancelled() => return,
        };
        let Some(flight) = flight else { return };
        tokio::select! {
            () = push(&cloud, flight) => {}
            () = cloud.stop.cancelled() => return,
        }
    }
}

async fn push(cloud: &Arc<Cloud>, flight: Flight) {
    let envelopes = envelopes(&flight);
    let Some(request) = request(cloud, &flight, envelopes.as_ref()) else {
        return cloud.give_up(&flight);
    };
    cloud.record(pushed(&flight.push, flight.attempt));
    let (status, body) = match request.timeout(cloud.config.http_timeout).send().await {
        Ok(response) => {
            let status = response.status();
            (Some(status), response.text().await.unwrap_or_default())
        }
        Err(error) => (None, error.to_string()),
    };
    let mut record = pushed(&flight.push, flight.attempt);
    record.detail =
        status.map_or_else(|| "no answer".to_owned(), |status| status.as_u16().to_string());
    record.body = serde_json::from_str(&body).unwrap_or(Value::String(body));
    let answer = record.body.clone();
    let is_good = status.is_some_and(|status| status.is_success())
        && envelopes.is_none_or(|envelopes| says_success(&envelopes, &answer));
    if !is_good {
        cloud.record(Record { kind: Kind::Undelivered, ..record });
        return retry(cloud, flight);
    }
    cloud.record(Record { kind: Kind::Acked, ..record });
    match &flight.push.kind {
        PushKind::Bot => cloud.spoke_at_once(&flight.push, &answer),
        PushKind::Card { .. } => {
            super::card::apply_response(cloud, &flight.push, &answer);
            if let Some(waiting) = flight.answer {
                waiting.send(answer).ok(); // the one who pressed may have left
            }
        }
        PushKind::Event { .. } => {}
    }
}

fn retry(cloud: &Arc<Cloud>, flight: Flight) {
    let index = usize::try_from(flight.attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    match cloud.config.http_retries.get(index).copied() {
        Some(wait) => cloud.again_after(wait, flight),
        None => cloud.give_up(&flight),
    }
}

/// The keys of an event, or of any push to an app that wants all of them encrypted.
fn envelopes(flight: &Flight) -> Option<Envelopes> {
    let app = &flight.push.app.app;
    let Receive::Http { token, aes_key, sealed, .. } = &app.receive else { return None };
    let is_event = matches!(flight.push.kind, PushKind::Event { .. });
    if is_event || *sealed { Envelopes::new(token, aes_key, &app.client_id) } else { None }
}

/// Anything but the encrypted `success`, rightly signed, is a failed push.
fn says_success(envelopes: &Envelopes, answer: &Value) -> bool {
    let field = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
    let stamp = Stamp {
        signature: field("msg_signature"),
        timestamp: field("timeStamp"),
        nonce: field("nonce"),
    };
    envelopes.decrypt(&stamp, field("encrypt")).is_ok_and(|plain| plain == b"success")
}

/// The POST of a push. `None` where the app has no address or no keys for it.
fn request(
    cloud: &Cloud,
    flight: &Flight,
    envelopes: Option<&Envelopes>,
) -> Option<reqwest::RequestBuilder> {
    let push = &flight.push;
    let now = cloud.now_ms().to_string();
    let body = cloud.written(&push.data);
    let post =
        |url: &str| cloud.http.post(url).header("content-type", "application/json; charset=utf-8");
    match (&push.kind, &push.app.app.receive, envelopes) {
        (_, Receive::Http { url, .. }, Some(envelopes)) => {
            let nonce: String = random_nonce();
            let sealed = envelopes.encrypt(body.as_bytes(), rand::random(), &now, &nonce);
            let query =
                [("signature", &sealed.msg_signature), ("timestamp", &now), ("nonce", &nonce)];
            let body = json!({ "encrypt": sealed.encrypt }).to_string();
            Some(post(url).query(&query).body(body))
        }
        (PushKind::Card { route: Some((url, secret)) }, _, None) => {
            let signature = mac(secret, &now);
            let request = post(url).header("x-ddpaas-signature-timestamp", &now);
            Some(request.header("x-ddpaas-signature", signature).body(body))
        }
        (PushKind::Bot, Receive::Http { url, .. }, None) => {
            let secret = push.app.app.client_secret.expose();
            let sign = mac(secret, &format!("{now}\n{secret}"));
            Some(post(url).header("timestamp", &now).header("sign", sign).body(body))
        }
        (PushKind::Bot | PushKind::Event { .. } | PushKind::Card { .. }, _, _) => None,
    }
}

fn random_nonce() -> String {
    uuid::Uuid::new_v4().simple().to_string().chars().take(8).collect()
}

/// `base64(HMAC-SHA256(secret, text))`.
pub fn mac(secret: &str, text: &str) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// How long a person who pressed a button waits for the card to change.
pub const CARD_DEADLINE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{Clock, Context};
    use crate::sim::dingtalk::Sim;
    use crate::sim::dingtalk::app::App;
    use crate::sim::dingtalk::message::Say;
    use crate::sim::dingtalk::settings::Config;
    use crate::sim::server;

    #[test]
    fn signatures_match_the_documented_samples() {
        let secret = "this is a secret";
        for (time, expected) in [
            ("1577262236757", "DJrE6qdyVGCQz9z5r2MDuNcNAhwYnuAkyj13cx169CA="),
            ("1612345678901", "GTDFg246lPSBFMXnex1yo5qJSboljQh7XiwN4thewtg="),
        ] {
            assert_eq!(mac(secret, &format!("{time}\n{secret}")), expected);
        }
        let card = mac("example-secret", "1700000000000");
        assert_eq!(card, "I85VWQbGCqbDkjEb7rsCEkTKI9QSL3wzLms54MiwXlg=");
    }

    async fn next_call(
        calls: &mut mpsc::UnboundedReceiver<(String, String, String)>,
    ) -> (String, String, String) {
        tokio::time::timeout(Duration::from_secs(5), calls.recv()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn pushes_over_http_are_signed_retried_and_events_want_an_encrypted_success() {
        let context = Context::new(Clock::system());
        let (seen, mut calls) = mpsc::unbounded_channel();
        let bound = server::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{}/hook", bound.url());
        let refuse = async move |request: axum::extract::Request| {
            let header = |name: &str| {
                request
                    .headers()
                    .get(name)
                    .map(|v| v.to_str().unwrap().to_owned())
                    .unwrap_or_default()
            };
            let (time, sign) = (header("timestamp"), header("sign"));
            let query = request.uri().query().unwrap_or_default().to_owned();
            seen.send((time, sign, query)).unwrap();
            axum::Json(json!({ "msgtype": "text", "text": { "content": "at once" } }))
        };
        let router = axum::Router::new().route("/hook", axum::routing::post(refuse));
        server::serve(&context, bound, router, context.stop().clone());
        let mut app = App::http("robot", "secret", &url);
        if let Receive::Http { token, aes_key, .. } = &mut app.receive {
            "token".clone_into(token);
            "Yue0EfdN5900c1ce5cf6A152c63DDe1808a60c5ecd7".clone_into(aes_key);
        }
        let config = Config {
            apps: vec![app],
            http_retries: vec![Duration::from_millis(10)],
            ..Config::default()
        };
        let sim = Sim::start(&context, config).await.unwrap();
        sim.say(Say::direct("robot", "alice", "hi")).unwrap();
        let (time, sign, _) = next_call(&mut calls).await;
        assert_eq!(sign, mac("secret", &format!("{time}\nsecret")));
        let limit = Duration::from_secs(5);
        let reply = sim.wait_for(limit, |record| record.kind == Kind::Reply).await.unwrap();
        assert_eq!((reply.detail.as_str(), reply.text.as_str()), ("sync", "at once"));
        sim.event("robot", "check_url", json!({})).unwrap();
        for _ in 0..2 {
            let (_, _, query) = next_call(&mut calls).await;
            assert!(query.starts_with("signature=") && query.contains("&nonce="), "{query}");
        }
        let gave_up = sim.wait_for(limit, |record| record.kind == Kind::GaveUp).await.unwrap();
        assert_eq!(gave_up.attempt, 2);
    }
}
