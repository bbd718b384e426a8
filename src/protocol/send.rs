//! Posts to DingTalk: their bodies, and what the answers mean.
//!
//! DingTalk says 200 to much that it does not do; only what [`Verdict::Delivered`] stands for was
//! delivered. Sizes are kept by `domain::reply`, which counts the JSON that is written here.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

use crate::domain::reply::{Format, Segment};
use crate::protocol::http::{excerpt, is_permanent};

/// The window of DingTalk's limits by the second.
const SECOND: Duration = Duration::from_secs(1);
/// A webhook that was used too fast is tried again after this long, then by the retry schedule, which
/// outlasts the ten minutes that DingTalk may keep it shut.
const WEBHOOK_SHUT: Duration = Duration::from_secs(10);
/// An address that called too often is refused for this long.
const ADDRESS_SHUT: Duration = Duration::from_mins(5);

/// What DingTalk's answer means for the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// With the key that recalls it, where the API gives one.
    Delivered { query_key: Option<String> },
    /// The session webhook is no more: another route may be open.
    SessionGone,
    /// Not delivered because of its rate.
    TooFast { after: Duration, detail: String },
    /// Not delivered because the access token is not valid (any more).
    TokenInvalid { detail: String },
    /// Not delivered, or not known to be: worth another attempt.
    Failed { is_ambiguous: bool, detail: String },
    /// The same again would be refused again.
    Refused { detail: String },
}

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

/// An access token and how long it lives.
pub fn decode_token(body: &[u8]) -> Option<(String, Duration)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire {
        access_token: String,
        expire_in: u64,
    }
    let wire: Wire = serde_json::from_slice(body).ok()?;
    Some((wire.access_token, Duration::from_secs(wire.expire_in)))
}

/// The answer of a session webhook: mostly 200, with the truth in `errcode`.
pub fn judge_webhook(status: u16, after: Option<Duration>, body: &[u8]) -> Verdict {
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let detail = || format!("{status}: {}", excerpt(body));
    let code = value.as_ref().and_then(|value| value.get("errcode")).and_then(number);
    match code {
        Some(0) => Verdict::Delivered { query_key: None },
        Some(300_001) => Verdict::SessionGone,
        Some(410_100) => {
            Verdict::TooFast { after: after.unwrap_or(WEBHOOK_SHUT), detail: detail() }
        }
        Some(-1) => Verdict::Failed { is_ambiguous: false, detail: detail() },
        Some(88 | 90_002 | 90_018) => {
            Verdict::TooFast { after: after.unwrap_or(SECOND), detail: detail() }
        }
        Some(_) => Verdict::Refused { detail: detail() },
        None => judge_status(status, after, value.as_ref(), body),
    }
}

/// The answer of `api.dingtalk.com`. `staff_id` is whom a direct message was for.
pub fn judge_api(
    status: u16,
    after: Option<Duration>,
    body: &[u8],
    staff_id: Option<&str>,
) -> Verdict {
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let detail = || format!("{status}: {}", excerpt(body));
    if let (200..300, Some(value)) = (status, &value)
        && let Some(staff_id) = staff_id
    {
        if lists(value, "flowControlledStaffIdList", staff_id) {
            return Verdict::TooFast { after: after.unwrap_or(SECOND), detail: detail() };
        }
        if lists(value, "invalidStaffIdList", staff_id)
            || lists(value, "filteredStaffIdList", staff_id)
        {
            return Verdict::Refused { detail: detail() };
        }
    }
    judge_status(status, after, value.as_ref(), body)
}

fn judge_status(
    status: u16,
    after: Option<Duration>,
    value: Option<&Value>,
    body: &[u8],
) -> Verdict {
    let detail = format!("{status}: {}", excerpt(body));
    let code = value.and_then(|value| text(value, &["code", "Code"])).unwrap_or_default();
    // The page that meets an address which called too often.
    if value.and_then(|value| value.get("status")).and_then(number) == Some(1111) {
        return Verdict::TooFast { after: after.unwrap_or(ADDRESS_SHUT), detail };
    }
    if code.contains("QpsLimit") || matches!(code, "send.too.fast" | "send.byToken.tooFast") {
        return Verdict::TooFast { after: after.unwrap_or(SECOND), detail };
    }
    if code.contains("QpmLimit") || code == "toomuch.msg" {
        return Verdict::TooFast { after: after.unwrap_or(60 * SECOND), detail };
    }
    if status == 429 {
        return Verdict::TooFast { after: after.unwrap_or(SECOND), detail };
    }
    let oapi = value.and_then(|value| value.get("errcode")).and_then(number);
    let is_token = code.contains("InvalidAuthentication") || matches!(oapi, Some(40_014 | 42_001));
    if status == 401 || is_token {
        return Verdict::TokenInvalid { detail };
    }
    if matches!(code, "session.notExisted" | "session.expired") {
        return Verdict::SessionGone;
    }
    let is_empty = body.iter().all(u8::is_ascii_whitespace);
    match status {
        200..300 if value.is_some_and(Value::is_object) || is_empty => Verdict::Delivered {
            query_key: value
                .and_then(|value| text(value, &["processQueryKey"]))
                .map(ToOwned::to_owned),
        },
        // A page in place of an answer: the message may have passed, or met a proxy.
        200..300 => Verdict::Failed { is_ambiguous: true, detail },
        _ if code == "unknown.send.result" => Verdict::Failed { is_ambiguous: true, detail },
        // What failed there may have failed behind the delivery. Who is busy has not begun.
        500..600 => {
            let is_busy = status == 503 || matches!(code, "serviceBusy" | "system.busy");
            Verdict::Failed { is_ambiguous: !is_busy, detail }
        }
        _ if is_permanent(status) && value.is_some() => Verdict::Refused { detail },
        // A refusal that DingTalk did not write, e.g. the HTML of a proxy or of a ban.
        403 => Verdict::TooFast { after: after.unwrap_or(ADDRESS_SHUT), detail },
        _ if is_permanent(status) => Verdict::Refused { detail },
        _ => Verdict::Failed { is_ambiguous: false, detail },
    }
}

/// DingTalk writes its codes as numbers and as strings.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

fn text<'a>(value: &'a Value, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| value.get(name)?.as_str())
}

fn lists(value: &Value, name: &str, staff_id: &str) -> bool {
    let list = value.get(name).and_then(Value::as_array);
    list.is_some_and(|list| list.iter().any(|id| id.as_str() == Some(staff_id)))
}

#[cfg(test)]
mod tests;
