//! Posts to DingTalk: their bodies. What the answers mean is [`verdict`]'s.
//!
//! Sizes are kept by `domain::reply`, which counts the JSON that is written here. A token's lifetime is
//! read leniently: a token without a usable one is good for [`TOKEN_LIFE`].

pub mod codes;
pub mod verdict;

use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

use crate::domain::reply::{Format, Segment};

#[derive(Serialize)]
struct Text<'a> {
    content: &'a str,
}

#[derive(Serialize)]
struct Markdown<'a> {
    title: &'a str,
    text: &'a str,
}

/// The body for a session webhook. A mention stands in the text and in `at`, or it is not one.
pub fn webhook_body(segment: &Segment) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        msgtype: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<Text<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        markdown: Option<Markdown<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        at: Option<At<'a>>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct At<'a> {
        at_user_ids: [&'a str; 1],
    }
    let said = match (&segment.mention, segment.format) {
        (Some(id), Format::Text) => format!("@{id} {}", segment.text),
        // An own paragraph, so that a heading or list after it stays one.
        (Some(id), Format::Markdown) => format!("@{id}\n\n{}", segment.text),
        (None, _) => segment.text.clone(),
    };
    let at = segment.mention.as_deref().map(|id| At { at_user_ids: [id] });
    let body = match segment.format {
        Format::Text => {
            Body { msgtype: "text", text: Some(Text { content: &said }), markdown: None, at }
        }
        Format::Markdown => Body {
            msgtype: "markdown",
            text: None,
            markdown: Some(Markdown { title: &segment.title, text: &said }),
            at,
        },
    };
    json(&body)
}

/// The body of `oToMessages/batchSend` to one person.
pub fn direct_body(robot_code: &str, staff_id: &str, segment: &Segment) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        robot_code: &'a str,
        user_ids: [&'a str; 1],
        msg_key: &'static str,
        msg_param: String,
    }
    let (msg_key, msg_param) = message(segment);
    json(&Body { robot_code, user_ids: [staff_id], msg_key, msg_param })
}

/// The body of `groupMessages/send`.
pub fn group_body(robot_code: &str, conversation_id: &str, segment: &Segment) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        robot_code: &'a str,
        open_conversation_id: &'a str,
        msg_key: &'static str,
        msg_param: String,
    }
    let (msg_key, msg_param) = message(segment);
    json(&Body { robot_code, open_conversation_id: conversation_id, msg_key, msg_param })
}

/// `msgKey` and `msgParam`, which is JSON in a string. Mentions do not exist here.
fn message(segment: &Segment) -> (&'static str, String) {
    let text = segment.text.as_str();
    let (key, param) = match segment.format {
        Format::Text => ("sampleText", json(&Text { content: text })),
        Format::Markdown => ("sampleMarkdown", json(&Markdown { title: &segment.title, text })),
    };
    (key, String::from_utf8(param).expect("serde_json writes UTF-8"))
}

fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("texts are always JSON")
}

/// The body that asks for an access token.
pub fn token_body(client_id: &str, client_secret: &str) -> Vec<u8> {
    json(&serde_json::json!({ "appKey": client_id, "appSecret": client_secret }))
}

/// How long a token is used whose lifetime DingTalk did not say: half of what it documents.
pub const TOKEN_LIFE: Duration = Duration::from_hours(1);
/// A token's lifetime is at most this: a larger number is milliseconds, or wrong.
const TOKEN_LIFE_MAX: f64 = 24.0 * 3600.0;

/// An access token and how long it lives. The lifetime may be missing, text, negative or a fraction.
pub fn decode_token(body: &[u8]) -> Option<(String, Duration)> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let named = |names: [&str; 2]| names.iter().find_map(|name| value.get(name));
    let token = named(["accessToken", "access_token"])?.as_str()?.trim();
    let life = named(["expireIn", "expires_in"]).and_then(|life| match life {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    });
    let life = life.filter(|seconds| (1.0..=TOKEN_LIFE_MAX).contains(seconds));
    let life = life.map_or(TOKEN_LIFE, Duration::from_secs_f64);
    (!token.is_empty()).then(|| (token.to_owned(), life))
}

/// The app's id or secret is wrong: no later attempt gets a token by them.
pub fn are_credentials_wrong(body: &[u8]) -> bool {
    const WORDS: [&str; 5] = [
        "invalidclientidorsecret",
        "invalid.client",
        "unauthorized.client",
        "invalidparameter.appkey",
        "authfailed",
    ];
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return false };
    let named = |name: &str| value.get(name).and_then(Value::as_str);
    let code = named("code").or_else(|| named("Code")).or_else(|| named("error"));
    let code = code.unwrap_or_default().to_ascii_lowercase();
    let number = value.get("errcode").and_then(Value::as_i64);
    WORDS.contains(&code.as_str()) || matches!(number, Some(40_001 | 40_013 | 40_089))
}

#[cfg(test)]
mod tests;
