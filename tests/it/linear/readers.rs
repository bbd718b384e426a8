//! Every function of `protocol` and `domain` that is given text of others, each as a function of that text.
//!
//! Text that stands inside of JSON is put there first, as a text and as what it would be unescaped.

use std::collections::BTreeMap;
use std::hint::black_box;

use dingtalk_trigger::domain::answer::{Answer, Interrupt};
use dingtalk_trigger::domain::attachment::{self, Quoting, Spoken};
use dingtalk_trigger::domain::binding::Language;
use dingtalk_trigger::domain::command::Command;
use dingtalk_trigger::domain::id::{IntegrationId, MsgId};
use dingtalk_trigger::domain::inbound::MediaKind;
use dingtalk_trigger::domain::reply::{self, Limits};
use dingtalk_trigger::domain::secret::Secret;
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::protocol::action::{Key, Link};
use dingtalk_trigger::protocol::callback::{Envelopes, Stamp};
use dingtalk_trigger::protocol::send::verdict;
use dingtalk_trigger::protocol::sse::{Event, Parser};
use dingtalk_trigger::protocol::stream::{self, open};
use dingtalk_trigger::protocol::xpert::{self, Fold};
use dingtalk_trigger::protocol::{
    advisory, card, http, loose, magic, mask, media, otlp, robot, runtime, send, subject, trace,
    webhook,
};
use serde_json::json;
use serde_json_borrow::Value;

use super::Read;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
/// Nothing is cut before it was looked at.
const WIDE: Limits = Limits { segment_max_bytes: 15_000, segments_max: 1000 };

pub(super) const SHOWN: [(&str, Read); 6] = [
    ("mask", |text| drop(black_box(mask::mask(text)))),
    ("address", |text| drop(black_box(mask::address(text)))),
    ("excerpt", |text| drop(black_box(http::excerpt(text.as_bytes())))),
    ("retry_after", |text| _ = black_box(http::retry_after(text, NOW))),
    ("trace", |text| _ = black_box(trace::parse(text))),
    ("subject", |text| drop(black_box((subject::conversation_of(text), card::turn_of(text))))),
];

pub(super) const ANSWERS: [(&str, Read); 6] = [
    ("segments", |text| segments(text, WIDE)),
    ("segments of a small limit", |text| segments(text, Limits::default())),
    ("segments of markdown", |text| segments(&format!("# a\n{text}"), WIDE)),
    ("segments of code", |text| segments(&format!("````\n{text}"), WIDE)),
    ("question", |text| drop(black_box(reply::markdown(text, 15_000, Language::En)))),
    ("cut", |text| {
        let interrupt = Some(Interrupt { title: text.to_owned(), text: text.to_owned() });
        let mut answer = Answer { text: text.to_owned(), interrupt };
        black_box(reply::cut_answer(&mut answer, 10_000, Language::En));
    }),
];

pub(super) const RUNTIMES: [(&str, Read); 7] = [
    ("events", |text| events(text)),
    ("events with fields", |text| events(&format!("data: {}\n\n", text.replace('a', "data:\n")))),
    ("answer", |text| {
        for body in bodies(text, |value| json!({ "text": value })) {
            black_box(runtime::decode(body.as_bytes()).ok());
        }
    }),
    ("delta", |text| {
        for body in bodies(text, |value| json!({ "delta": value })) {
            black_box(runtime::decode_step(&body).ok());
        }
    }),
    ("runs", |text| {
        for body in bodies(text, |value| json!([{ "run_id": value, "status": value }])) {
            let body = body.as_bytes();
            black_box((xpert::decode_runs(body), xpert::decode_run(body)));
            black_box((xpert::decode_thread(body), xpert::decode_file(body)));
            black_box((xpert::decode_last_message(body), otlp::rejected(body)));
        }
    }),
    ("run", |text| {
        let mut fold = Fold::new(usize::MAX, None);
        let data =
            json!({ "type": "message", "data": { "type": "text", "id": "1", "text": text } });
        fold.push(&Event { id: None, kind: None, data: data.to_string() });
        // Many small pieces, too.
        let data = json!({ "type": "message", "data": "a" }).to_string();
        for _ in 0..text.len() / 256 {
            fold.push(&Event { id: Some("1".into()), kind: None, data: data.clone() });
        }
        black_box(fold.into_answer(None));
    }),
    ("signature", |text| {
        let key = webhook::Key::parse(&Secret::new("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"));
        let headers = webhook::Headers { id: text, timestamp: "1700000000", signature: text };
        key.expect("a secret").verify(headers, text.as_bytes(), NOW).ok();
    }),
];

pub(super) const CALLBACKS: [(&str, Read); 9] = [
    ("message", |text| {
        for body in bodies(text, |value| message("text", json!({ "content": value }))) {
            inspect(&body);
        }
    }),
    ("rich text", |text| {
        let items = vec![json!({ "text": "a@r" }); text.len() / 32];
        inspect(&message("richText", json!({ "richText": items })).to_string());
        inspect(&message("richText", json!({ "richText": [{ "text": text }] })).to_string());
    }),
    ("quote", |text| {
        let replied = json!({ "msgType": "text", "content": text, "msgId": "1" });
        let body = json!({ "content": text, "repliedMsg": replied.to_string() });
        inspect(&message("text", body).to_string());
    }),
    ("card", |text| {
        let integration = IntegrationId::parse("robot-1").expect("an id");
        let track = format!("robot-1.abcdefghijklmnopqrstuvwx23.42{text}");
        let content = json!({ "cardPrivateData": { "params": { "action": text } } });
        let press = json!({ "outTrackId": track, "userId": "u", "content": content.to_string() });
        let press = press.to_string();
        let value: Value<'_> = serde_json::from_str(&press).expect("JSON");
        black_box(card::inspect(&integration, &value).ok());
    }),
    ("frame", |text| {
        let frame = |value: &str| {
            let headers = json!({ "topic": stream::BOT_TOPIC, "messageId": "1" });
            json!({ "type": "CALLBACK", "headers": headers, "data": value })
        };
        for body in bodies(text, frame) {
            black_box((stream::read(body.as_bytes()), open::answer(200, body.as_bytes()).ok()));
        }
    }),
    ("envelope", |text| {
        let key = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
        let envelopes = Envelopes::new("token", key, "receiver").expect("a key");
        let stamp = Stamp { signature: text, timestamp: text, nonce: text };
        envelopes.decrypt(&stamp, text).ok();
    }),
    ("link", |text| {
        Link::verify(text, &Key::derive(b"key", None), NOW).ok();
    }),
    ("verdict", |text| {
        for body in bodies(text, |value| json!({ "errcode": value, "code": value })) {
            let body = body.as_bytes();
            for status in [200, 400] {
                black_box(verdict::judge_webhook(status, None, body));
                black_box(verdict::judge_api(status, None, body, Some("staff")));
                black_box(card::question::judge(status, None, body));
            }
            black_box((send::decode_token(body), media::decode_url(body)));
            black_box(advisory::decode("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.a", body));
        }
    }),
    ("file", |text| {
        black_box((magic::sniff(text.as_bytes(), Some(text)), media::expires_at(text)));
        black_box(attachment::name(Some(text), MediaKind::File, 1, Some("pdf")));
    }),
];

fn segments(text: &str, limits: Limits) {
    black_box(reply::segments(text, limits, Language::En, Some("staff")));
}

fn events(text: &str) {
    black_box(Parser::default().push(text.as_bytes()).ok());
    let mut parser = Parser::default();
    for chunk in text.as_bytes().chunks(100) {
        black_box(parser.push(chunk).ok());
    }
}

/// `text` alone, as a text within what `within` makes, and unescaped in its place.
fn bodies(text: &str, within: impl Fn(&str) -> serde_json::Value) -> [String; 3] {
    let (before, after) = ("MARK", within("MARK").to_string());
    let unescaped = after.replacen(&format!("\"{before}\""), text, 1);
    [text.to_owned(), within(text).to_string(), unescaped]
}

fn message(kind: &str, body: impl Into<serde_json::Value>) -> serde_json::Value {
    let field = if kind == "text" { "text" } else { "content" };
    json!({
        "msgId": "1", "msgtype": kind, "conversationId": "c", "conversationType": "1",
        "senderId": "s", "chatbotUserId": "r", field: body.into(),
    })
}

/// A message as the edge and the worker read it.
fn inspect(body: &str) {
    let Ok(value) = serde_json::from_str::<Value<'_>>(body) else { return };
    black_box(loose::items(&value, "content"));
    let Ok(robot::Outcome::Message(message)) = robot::inspect(&value) else { return };
    black_box(Command::of(&message));
    black_box(MsgId::parse(&message.text()).ok());
    let spoken = [Spoken { message: *message, at: NOW }];
    attachment::is_only_too_large(&spoken, &BTreeMap::new());
    black_box(attachment::compose(&spoken, BTreeMap::new(), Quoting::Before, Language::En));
}
