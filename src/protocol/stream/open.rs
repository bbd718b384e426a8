//! Asking the gateway for a connection: `POST /v1.0/gateway/connections/open`.
//!
//! The answer names an endpoint, which is never guessed, and a ticket for one connection within 90 s.
//! An answer that is no ticket becomes an [`Error`] that says what an operator can do about it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{BOT_TOPIC, CARD_TOPIC};

/// The path below the API's address.
pub const PATH: &str = "/v1.0/gateway/connections/open";

/// What the gateway is told about us, in the documented form `name-sdk-language/version`; another form
/// may be refused with `ua invalid`.
pub const UA: &str = concat!("dingtalk-sdk-rust/", env!("CARGO_PKG_VERSION"));

const EXCERPT_CHARS_MAX: usize = 200;
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "DingTalk refuses clientId and clientSecret ({said}): copy both again, without spaces, from the \
         app's page"
    )]
    Unauthorized { said: String },
    #[error(
        "DingTalk refuses the connection with {status} ({said}): check that the app is published, has \
         the robot capability and receives messages in Stream mode"
    )]
    Refused { status: u16, said: String },
    #[error(
        "a page instead of an answer came with {status}: check the proxy and DT_DINGTALK_API_URL"
    )]
    Page { status: u16 },
    #[error("DingTalk answers {status} ({said}); it is tried again")]
    Unavailable { status: u16, said: String },
    #[error("the answer has no usable {0}")]
    Unusable(&'static str),
}

/// The body of the request.
pub fn request(client_id: &str, client_secret: &str) -> Value {
    json!({
        "clientId": client_id,
        "clientSecret": client_secret,
        "subscriptions": [
            { "type": "CALLBACK", "topic": BOT_TOPIC },
            { "type": "CALLBACK", "topic": CARD_TOPIC },
        ],
        "ua": UA,
    })
}

/// The address to connect to, from the answer.
pub fn answer(status: u16, body: &[u8]) -> Result<String, Error> {
    #[derive(Deserialize)]
    struct Opened {
        endpoint: Option<String>,
        ticket: Option<String>,
    }
    if !(200..300).contains(&status) {
        return Err(refusal(status, body));
    }
    let opened: Opened = serde_json::from_slice(body).map_err(|_| {
        if is_page(body) { Error::Page { status } } else { Error::Unusable("JSON") }
    })?;
    let endpoint = opened.endpoint.unwrap_or_default();
    let endpoint = endpoint.trim();
    if !(endpoint.starts_with("wss://") || endpoint.starts_with("ws://")) {
        return Err(Error::Unusable("endpoint"));
    }
    let ticket = opened.ticket.filter(|t| !t.is_empty()).ok_or(Error::Unusable("ticket"))?;
    let separator = if endpoint.contains('?') { '&' } else { '?' };
    let ticket = utf8_percent_encode(&ticket, UNRESERVED);
    Ok(format!("{endpoint}{separator}ticket={ticket}"))
}

fn refusal(status: u16, body: &[u8]) -> Error {
    let said = said(body);
    match status {
        401 => Error::Unauthorized { said },
        _ if is_page(body) => Error::Page { status },
        408 | 429 | 500.. => Error::Unavailable { status, said },
        _ => Error::Refused { status, said },
    }
}

fn is_page(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

/// Code and message of an error body, for people; nothing of a body that is not the documented JSON.
fn said(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let field = |name| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let said = format!("{} {}", field("code"), field("message"));
    let said: String = said.trim().chars().filter(|c| !c.is_control()).collect();
    if said.is_empty() {
        return "without a reason".to_owned();
    }
    said.chars().take(EXCERPT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_subscribes_to_messages_and_cards_and_to_no_events() {
        let expected = json!({
            "clientId": "cid", "clientSecret": "sec",
            "subscriptions": [
                {"type": "CALLBACK", "topic": "/v1.0/im/bot/messages/get"},
                {"type": "CALLBACK", "topic": "/v1.0/card/instances/callback"},
            ],
            "ua": "dingtalk-sdk-rust/0.1.0",
        });
        assert_eq!(request("cid", "sec"), expected);
    }

    #[test]
    fn the_address_carries_the_ticket_encoded() {
        let cases = [
            (
                r#"{"endpoint":"wss://wss-open-connection.dingtalk.com:443/connect","ticket":"7724109a-ea43-4aa2-b803-87d82c5aaee6"}"#,
                "wss://wss-open-connection.dingtalk.com:443/connect?ticket=7724109a-ea43-4aa2-b803-87d82c5aaee6",
            ),
            (
                r#"{"endpoint":"ws://127.0.0.1:9/connect","ticket":"tick+/1==","x":1}"#,
                "ws://127.0.0.1:9/connect?ticket=tick%2B%2F1%3D%3D",
            ),
            (
                r#"{"endpoint":"wss://host/connect?zone=a","ticket":"t"}"#,
                "wss://host/connect?zone=a&ticket=t",
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(answer(200, body.as_bytes()).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let unauthorized = r#"{"requestid":"ED2","code":"authFailed","message":"鉴权失败"}"#;
        let ua = r#"{"code":"invalidParameter","message":"ua invalid","requestId":"abc123"}"#;
        let page = "<html>400 The plain HTTP request was sent to HTTPS port</html>";
        let refused = |status, said: &str| Error::Refused { status, said: said.to_owned() };
        let cases = [
            (401, unauthorized, Error::Unauthorized { said: "authFailed 鉴权失败".to_owned() }),
            (400, ua, refused(400, "invalidParameter ua invalid")),
            (403, "", refused(403, "without a reason")),
            (400, page, Error::Page { status: 400 }),
            (200, page, Error::Page { status: 200 }),
            (503, "", Error::Unavailable { status: 503, said: "without a reason".to_owned() }),
            (200, "{}", Error::Unusable("endpoint")),
            (200, r#"{"endpoint":"http://x","ticket":"t"}"#, Error::Unusable("endpoint")),
            (200, r#"{"endpoint":"wss://x","ticket":""}"#, Error::Unusable("ticket")),
            (200, "ok", Error::Unusable("JSON")),
        ];
        for (status, body, expected) in cases {
            assert_eq!(answer(status, body.as_bytes()), Err(expected), "{status} {body}");
        }
    }
}
