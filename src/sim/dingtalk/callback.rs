//! HTTP mode: robot messages signed and plain, card callbacks with their own signature.
//!
//! Guarantees the order of one conversation's first pushes; a retry comes when its time has come. An
//! answer within the body of the response is recorded like any other reply of the robot.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::sync::mpsc;

use super::app::Receive;
use super::cloud::Cloud;
use super::delivery::{Flight, PushKind, pushed};
use super::record::{Kind, Record};

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
    let Some(request) = request(cloud, &flight) else { return cloud.give_up(&flight) };
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
    if status.is_none_or(|status| !status.is_success()) {
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

/// The POST of a push. `None` where the app has no address for it.
fn request(cloud: &Cloud, flight: &Flight) -> Option<reqwest::RequestBuilder> {
    let push = &flight.push;
    let now = cloud.now_ms().to_string();
    let body = push.data.to_string();
    let post =
        |url: &str| cloud.http.post(url).header("content-type", "application/json; charset=utf-8");
    let request = match (&push.kind, &push.app.app.receive) {
        (PushKind::Card { route: Some((url, secret)) }, _) => post(url)
            .header("x-ddpaas-signature-timestamp", &now)
            .header("x-ddpaas-signature", mac(secret, &now)),
        (PushKind::Bot, Receive::Http { url, .. }) => {
            let secret = push.app.app.client_secret.expose();
            let sign = mac(secret, &format!("{now}\n{secret}"));
            post(url).header("timestamp", &now).header("sign", sign)
        }
        (PushKind::Bot | PushKind::Event { .. } | PushKind::Card { .. }, _) => return None,
    };
    Some(request.body(body))
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
}
