//! Stream mode, as the gateway speaks it: frames that come down the socket.
//!
//! Reading is total: every text is a [`Frame`], and what is no frame, lacks what it needs or has an
//! unknown topic is `Skipped` with a reason to count, never an error that ends a connection. What the
//! payload of a callback means is left to `robot` and `card`; what we say is in [`open`] and [`ack`].

pub mod open;
pub mod ack;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::http::excerpt;
use super::surrogate;

/// The topic of messages to the robot.
pub const BOT_TOPIC: &str = "/v1.0/im/bot/messages/get";
/// The topic of pressed card buttons.
pub const CARD_TOPIC: &str = "/v1.0/card/instances/callback";

/// What a callback carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bot,
    Card,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// Answered with its own data.
    Ping { id: String, data: String },
    /// The gateway delivers nothing more here and closes in about ten seconds.
    Disconnect { reason: String },
    /// A message or a button, acknowledged once it is durable.
    Callback { kind: Kind, id: String, payload: Value },
    /// Not subscribed to; acknowledged so that it is not pushed again.
    Event { id: String, event: String },
    /// `CONNECTED`, `REGISTERED`, `KEEPALIVE` and their like: a sign of life, no answer.
    Notice,
    /// `id` is set where the frame can at least be refused.
    Skipped { why: Skip, id: Option<String> },
}

impl Frame {
    /// What an answer names.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Ping { id, .. } | Self::Callback { id, .. } | Self::Event { id, .. } => Some(id),
            Self::Skipped { id, .. } => id.as_deref(),
            Self::Disconnect { .. } | Self::Notice => None,
        }
    }
}

/// Why a frame was skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    NotJson,
    NoTopic,
    NoMessageId,
    BadData,
    UnknownTopic,
}

impl Skip {
    /// The word for it in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "malformed_json",
            Self::NoTopic => "malformed_topic",
            Self::NoMessageId => "malformed_message_id",
            Self::BadData => "malformed_data",
            Self::UnknownTopic => "ignored_topic",
        }
    }
}

/// As sent: `specVersion`, `time` and whatever else is there are not needed.
#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "type", default)]
    kind: Value,
    /// One sample in the documentation spells it without the `s`.
    #[serde(alias = "header", default)]
    headers: BTreeMap<String, Value>,
    #[serde(default)]
    data: Value,
}

/// Reads one message of the socket, text or binary.
pub fn read(bytes: &[u8]) -> Frame {
    let Ok(raw) = surrogate::from_slice::<Raw>(bytes) else {
        return Frame::Skipped { why: Skip::NotJson, id: None };
    };
    let id = header(&raw.headers, "messageId");
    let Some(topic) = header(&raw.headers, "topic") else {
        return Frame::Skipped { why: Skip::NoTopic, id };
    };
    match (raw.kind.as_str().unwrap_or_default(), topic.as_str()) {
        // Nothing in a disconnect is needed to obey it.
        ("SYSTEM", "disconnect") => Frame::Disconnect { reason: reason(&raw.data) },
        ("SYSTEM", "ping") => with_id(id, |id| Frame::Ping { id, data: text(&raw.data) }),
        ("SYSTEM", _) => Frame::Notice,
        ("EVENT", _) => with_id(id, |id| Frame::Event {
            id,
            event: header(&raw.headers, "eventType").unwrap_or_default(),
        }),
        ("CALLBACK", BOT_TOPIC) => callback(Kind::Bot, id, raw.data),
        ("CALLBACK", CARD_TOPIC) => callback(Kind::Card, id, raw.data),
        (_, _) => Frame::Skipped { why: Skip::UnknownTopic, id },
    }
}

fn with_id(id: Option<String>, frame: impl FnOnce(String) -> Frame) -> Frame {
    id.map_or(Frame::Skipped { why: Skip::NoMessageId, id: None }, frame)
}

/// A message without an id of its own has that of its frame.
fn callback(kind: Kind, id: Option<String>, data: Value) -> Frame {
    let Some(id) = id else {
        return Frame::Skipped { why: Skip::NoMessageId, id: None };
    };
    let mut payload = match data {
        Value::String(json) => surrogate::from_slice(json.as_bytes()).unwrap_or_default(),
        // Documented as a string; an object says the same.
        Value::Object(_) => data,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => Value::Null,
    };
    if let (Kind::Bot, Some(fields)) = (kind, payload.as_object_mut()) {
        let has_id = fields.get("msgId").is_some_and(|id| !text(id).trim().is_empty());
        if !has_id {
            fields.insert("msgId".to_owned(), Value::String(id.clone()));
        }
    }
    if payload.is_object() {
        Frame::Callback { kind, id, payload }
    } else {
        Frame::Skipped { why: Skip::BadData, id: Some(id) }
    }
}

/// A header as text: documented partly as numbers, seen as strings; an empty one is none.
fn header(headers: &BTreeMap<String, Value>, name: &str) -> Option<String> {
    headers.get(name).map(text).filter(|text| !text.is_empty())
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// The reason inside a disconnect's data, or the beginning of the data as it stands.
fn reason(data: &Value) -> String {
    let data = text(data);
    let inner = serde_json::from_str::<Value>(&data).unwrap_or_default();
    let said = inner.get("reason").and_then(Value::as_str).unwrap_or(&data);
    excerpt(said.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const BOT: &str = r#"{"specVersion":"1.0","type":"CALLBACK",
 "headers":{"appId":"765ed67b-b170-4e12-ba38-6b59dc404ddb","connectionId":"2f9c95bd-fe85-11f0-bee8-0eb3b764c0bb","contentType":"application/json","messageId":"212b9d7c_165f_19bfa1a500a_1461def","time":"1769851697756","topic":"/v1.0/im/bot/messages/get"},
 "data":"{\"conversationId\":\"cid+/==\", \"msgId\":\"msg1\"}"}"#;
    const PING: &str = r#"{"specVersion":"1.0","type":"SYSTEM","headers":{"contentType":"application/json","messageId":"213d841d_972_1898bb26334_70a7","time":"1698551133918","topic":"ping"},"data":"{\"opaque\":\"123-dsfs\"}"}"#;
    const DISCONNECT: &str = r#"{"specVersion":"1.0","type":"SYSTEM","headers":{"contentType":"application/json","messageId":"c0a815dd1698551133918195d43","time":"1698551133918","topic":"disconnect"},"data":"{\"reason\":\"persistent connection is timeout\"}"}"#;
    const EVENT: &str = r#"{"specVersion":"1.0","type":"EVENT","headers":{"topic":"*","messageId":"213d841d_972_1898bb26334_70a7","contentType":"application/json","time":"1683533823336","eventId":"c7c7120f2c07419**ebdba0318c8","eventBornTime":"1683533823336","eventCorpId":"ding9f50b15bxxxx16741","eventType":"user_add_org","eventUnifiedAppId":"bbb381b6-f01xxxxx58daac"},"data":"{\"timeStamp\":\"1685501863357\",\"userId\":[\"015xxxx227\"]}"}"#;

    fn skipped(why: Skip, id: Option<&str>) -> Frame {
        Frame::Skipped { why, id: id.map(str::to_owned) }
    }

    #[test]
    fn captured_frames_are_read() {
        let payload = json!({"conversationId": "cid+/==", "msgId": "msg1"});
        let cases = [
            (
                BOT,
                Frame::Callback {
                    kind: Kind::Bot,
                    id: "212b9d7c_165f_19bfa1a500a_1461def".to_owned(),
                    payload,
                },
            ),
            (
                PING,
                Frame::Ping {
                    id: "213d841d_972_1898bb26334_70a7".to_owned(),
                    data: r#"{"opaque":"123-dsfs"}"#.to_owned(),
                },
            ),
            (
                DISCONNECT,
                Frame::Disconnect { reason: "persistent connection is timeout".to_owned() },
            ),
            (
                EVENT,
                Frame::Event {
                    id: "213d841d_972_1898bb26334_70a7".to_owned(),
                    event: "user_add_org".to_owned(),
                },
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text.as_bytes()), expected, "{text}");
            assert_eq!(read(format!("{text}\n").as_bytes()), expected, "with a newline: {text}");
        }
    }

    #[test]
    fn documented_variants_are_read_like_the_usual_form() {
        let card = |frame: &str| {
            let read = read(frame.as_bytes());
            let Frame::Callback { kind: Kind::Card, id, payload } = read else {
                panic!("{frame} was read as {read:?}");
            };
            (id, payload)
        };
        let expected = ("7".to_owned(), json!({"outTrackId": "t"}));
        for frame in [
            r#"{"type":"CALLBACK","headers":{"topic":"/v1.0/card/instances/callback","messageId":"7"},"data":"{\"outTrackId\":\"t\"}"}"#,
            r#"{"type":"CALLBACK","header":{"topic":"/v1.0/card/instances/callback","messageId":7,"time":1},"data":"{\"outTrackId\":\"t\"}"}"#,
            r#"{"type":"CALLBACK","time":1,"headers":{"topic":"/v1.0/card/instances/callback","messageId":"7","x":null},"data":{"outTrackId":"t"}}"#,
        ] {
            assert_eq!(card(frame), expected);
        }
    }

    #[test]
    fn a_message_without_an_id_has_that_of_its_frame() {
        let message = |topic: &str, data: &str| {
            let headers = json!({"topic": topic, "messageId": "frame_1"});
            let frame = json!({"type": "CALLBACK", "headers": headers, "data": data});
            let read = read(frame.to_string().as_bytes());
            let Frame::Callback { payload, .. } = read else {
                panic!("{data} was read as {read:?}")
            };
            payload
        };
        for (data, expected) in [
            (r#"{"msgId":"own"}"#, "own"),
            ("{}", "frame_1"),
            (r#"{"msgId":" "}"#, "frame_1"),
            (r#"{"msgId":null}"#, "frame_1"),
        ] {
            assert_eq!(message(BOT_TOPIC, data)["msgId"], expected, "{data}");
        }
        assert_eq!(message(CARD_TOPIC, r#"{"outTrackId":"t"}"#), json!({"outTrackId": "t"}));
    }

    #[test]
    fn half_an_emoji_on_either_level_of_a_frame_is_replaced() {
        for cut in ["\\ud83d", "\\\\ud83d"] {
            let frame = format!(
                r#"{{"type":"CALLBACK","headers":{{"topic":"{BOT_TOPIC}","messageId":"m"}},"data":"{{\"msgId\":\"i\",\"senderNick\":\"a{cut}\"}}"}}"#
            );
            let read = read(frame.as_bytes());
            let Frame::Callback { payload, .. } = read else { panic!("{frame}: {read:?}") };
            assert_eq!(payload["senderNick"], "a\u{fffd}");
        }
    }

    #[test]
    fn what_is_not_a_usable_frame_is_skipped_with_a_reason() {
        let cases = [
            ("", skipped(Skip::NotJson, None)),
            ("garbage", skipped(Skip::NotJson, None)),
            ("[1]", skipped(Skip::NoTopic, None)),
            ("7", skipped(Skip::NotJson, None)),
            (r#"{"type":"CALLBACK","headers":"none"}"#, skipped(Skip::NotJson, None)),
            ("{}", skipped(Skip::NoTopic, None)),
            (r#"{"type":"CALLBACK","data":"{}"}"#, skipped(Skip::NoTopic, None)),
            (r#"{"headers":{"messageId":"m"}}"#, skipped(Skip::NoTopic, Some("m"))),
            (
                r#"{"type":"CALLBACK","headers":{"topic":"/v1.0/im/bot/messages/get"},"data":"{}"}"#,
                skipped(Skip::NoMessageId, None),
            ),
            (
                r#"{"type":"SYSTEM","headers":{"topic":"ping"},"data":"{}"}"#,
                skipped(Skip::NoMessageId, None),
            ),
            (
                r#"{"type":"CALLBACK","headers":{"topic":"/v1.0/im/bot/messages/get","messageId":"m"},"data":"{cut"}"#,
                skipped(Skip::BadData, Some("m")),
            ),
            (
                r#"{"type":"CALLBACK","headers":{"topic":"/v1.0/im/bot/messages/get","messageId":"m"},"data":"[]"}"#,
                skipped(Skip::BadData, Some("m")),
            ),
            (
                r#"{"type":"CALLBACK","headers":{"topic":"/v1.0/graph/api/invoke","messageId":"m"},"data":"{}"}"#,
                skipped(Skip::UnknownTopic, Some("m")),
            ),
            (
                r#"{"type":7,"headers":{"topic":"t","messageId":"m"}}"#,
                skipped(Skip::UnknownTopic, Some("m")),
            ),
            (r#"{"type":"SYSTEM","headers":{"topic":"CONNECTED"}}"#, Frame::Notice),
            (
                r#"{"type":"SYSTEM","headers":{"topic":"disconnect"}}"#,
                Frame::Disconnect { reason: String::new() },
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text.as_bytes()), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            read(&bytes);
        }

        #[test]
        fn a_mutated_frame_is_read_without_a_panic(
            which in 0..4_usize, at: prop::sample::Index, byte: u8, cut: prop::sample::Index,
        ) {
            let mut bytes = [BOT, PING, DISCONNECT, EVENT][which].as_bytes().to_vec();
            let index = at.index(bytes.len());
            bytes[index] = byte;
            read(&bytes);
            bytes.truncate(cut.index(bytes.len()));
            prop_assert_eq!(read(&bytes), skipped(Skip::NotJson, None));
        }

        #[test]
        fn a_callback_with_any_id_and_data_is_a_callback_or_skipped(id in ".{1,40}", data: String) {
            let frame = json!({
                "type": "CALLBACK", "headers": {"topic": BOT_TOPIC, "messageId": id}, "data": data,
            });
            let read = read(frame.to_string().as_bytes());
            let (Frame::Callback { id: read, .. } | Frame::Skipped { id: Some(read), .. }) = read else {
                return Err(TestCaseError::fail(format!("read as {read:?}")));
            };
            prop_assert_eq!(read, id);
        }
    }
}
