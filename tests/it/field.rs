//! Cases from the field: what broke for users of other connectors, played against `up`.
//!
//! A case is a file of `tests/fixtures/field`: `messages` are fields over an ordinary robot message (null
//! drops a field, an expiry of `past` has passed), `answers` are DingTalk's next answers by API, `escapes`
//! put raw text into the pushed JSON, `runtime` is the expert's raw answer to every turn (`fill` repeats a
//! text in it), `mode` is `http` or `stream`, `env` are settings.

mod answers;
mod inbound;

use std::path::Path;
use std::sync::Arc;

use dingtalk_trigger::sim::dingtalk::fault::{Fault, Outcome};
use dingtalk_trigger::sim::dingtalk::message::{Said, Say};
use dingtalk_trigger::sim::dingtalk::record::{Kind, Record};
use dingtalk_trigger::sim::expert::Next;
use serde_json::{Map, Value, json};

use crate::support::outside::Outside;
use crate::support::program::LIMIT;
use crate::support::service::{Service, callback};
use crate::support::wait::wait_for;

const ROBOT: &str = "robot";

/// A case of the field on a service of its own. Each message has a sender of its own, so that each has a
/// conversation of its own. End a test with [`Field::finish`].
pub(crate) struct Field {
    pub(crate) outside: Outside,
    pub(crate) service: Service,
    case: Value,
}

impl Field {
    /// The case of that file; DingTalk, the expert and the service are ready, and nothing is said yet.
    pub(crate) async fn start(name: &str) -> Self {
        Self::play(case(name)).await
    }

    /// A case that has no file, or another form of one that has.
    pub(crate) async fn play(case: Value) -> Self {
        let outside = Outside::start().await;
        let settings = pairs(&case["env"]);
        let settings: Vec<_> =
            settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let service = Service::start_with(&outside, &settings).await;
        match case["mode"].as_str().unwrap_or("http") {
            "http" => service.http_robot(&outside, ROBOT).await,
            "stream" => service.stream_robot(&outside, ROBOT).await,
            mode => panic!("no such mode: {mode}"),
        }
        let runtime = json!({ "runtime": callback(&outside) });
        service.admin().publish("expert", ROBOT, &runtime).await;
        for (text, raw) in pairs(&case["escapes"]) {
            outside.cloud.escape(&text, &raw);
        }
        for (api, answers) in case["answers"].as_object().into_iter().flatten() {
            for answer in answers.as_array().expect("a list of answers") {
                let status = answer[0].as_u64().and_then(|status| u16::try_from(status).ok());
                let status = status.expect("a status");
                let outcome = Outcome::Answer { status, body: answer[1].clone() };
                outside.cloud.fault(Fault::new(api, outcome));
            }
        }
        if case["runtime"].is_object() {
            outside.expert.always(raw(&case["runtime"]));
        }
        Self { outside, service, case }
    }

    /// All messages of the case, each by a person of its own, in their order.
    pub(crate) fn say_all(&self) -> Vec<Said> {
        let messages = self.case["messages"].as_array().expect("a list of messages");
        (0..messages.len()).map(|index| self.say(index)).collect()
    }

    /// The message at `index`; a group is written to where its `conversationType` says so.
    pub(crate) fn say(&self, index: usize) -> Said {
        let mut fields = self.case["messages"][index].as_object().expect("a message").clone();
        if fields.get("sessionWebhookExpiredTime") == Some(&json!("past")) {
            let past = self.outside.now_ms() - 60_000;
            fields.insert("sessionWebhookExpiredTime".to_owned(), json!(past));
        }
        let sender = format!("person-{index}");
        let say = match fields.get("conversationType").and_then(Value::as_str) {
            Some("2") => Say::group(ROBOT, &format!("cid-group-{index}"), &sender, ""),
            _ => Say::direct(ROBOT, &sender, ""),
        };
        self.outside.say(Say { extra: fields, ..say })
    }

    /// What the expert read of the turn that holds this message: the first message of the turn's `input`.
    pub(crate) async fn heard(&self, said: &Said) -> Value {
        let turn = self.turn(said).await;
        turn["input"]["messages"][0].clone()
    }

    /// The whole turn that holds this message, as the expert was sent it.
    pub(crate) async fn turn(&self, said: &Said) -> Value {
        let what = format!("the expert is asked about {}", said.msg_id);
        wait_for(&what, LIMIT, async || {
            let calls = self.outside.expert.calls();
            let holds = |body: &Value| {
                let messages = body["input"]["messages"].as_array().cloned().unwrap_or_default();
                messages.iter().any(|message| message["msgId"] == said.msg_id.as_str())
            };
            calls.iter().map(|call| &call.body).find(|body| holds(body)).cloned()
        })
        .await
    }

    /// The first thing that people read in the message's conversation: `detail` is the way it came, `body`
    /// what DingTalk was sent.
    pub(crate) async fn reply(&self, said: &Said) -> Arc<Record> {
        let found = self.outside.cloud.wait_for(LIMIT, |record| {
            record.kind == Kind::Reply && record.conversation == said.conversation
        });
        found.await.unwrap_or_else(|| panic!("no reply to {said:?}"))
    }

    /// Waits until nothing is left to do, and ends the service.
    pub(crate) async fn finish(self) {
        self.service.finish().await;
    }
}

/// The case of that file.
pub(crate) fn case(name: &str) -> Value {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/field");
    let text = std::fs::read_to_string(fixtures.join(name)).expect("the case exists");
    serde_json::from_str(&text).expect("a case is JSON")
}

fn raw(runtime: &Value) -> Next {
    let body = runtime["body"].as_str().expect("the answer of the expert").to_owned();
    let none = Map::new();
    let fill = runtime["fill"].as_object().unwrap_or(&none).iter();
    let body = fill.fold(body, |body, (place, fill)| {
        let times = fill[1].as_u64().and_then(|times| usize::try_from(times).ok());
        let text = fill[0].as_str().expect("a text to repeat");
        body.replace(place, &text.repeat(times.expect("how often")))
    });
    let content_type = runtime["contentType"].as_str().unwrap_or("application/json").to_owned();
    Next::Raw { content_type, body }
}

fn pairs(object: &Value) -> Vec<(String, String)> {
    let fields = object.as_object().into_iter().flatten();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    fields.map(|(name, value)| (name.clone(), text(value))).collect()
}
