//! Answers to an interrupt, by link and by card: by the right person, once, in time.

use std::sync::Arc;

use dingtalk_trigger::protocol::callback::Envelopes;
use dingtalk_trigger::sim::dingtalk::app::App;
use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::dingtalk::record::Record;
use dingtalk_trigger::sim::expert::Next;
use dingtalk_trigger::sim::xpert::fault::Fault;
use serde_json::{Value, json};

use super::aside::asides;
use super::{publish, published};
use crate::support::outside::Outside;
use crate::support::program::LIMIT;
use crate::support::service::{AES_KEY, Service, TOKEN, xpert};
use crate::support::wait::wait_until;

pub(super) const OVER: &str = "This action is no longer valid.";
pub(super) const FOREIGN: &str = "Only the person who asked may answer this.";
pub(super) const CONFIRMED: &str = "Confirmed, and done. · 已确认。";

/// The address behind one of the answers that an interrupt offers.
pub(super) fn link(question: &Record, word: &str) -> String {
    let (_, rest) = question.text.split_once(&format!("[{word}](")).expect("a link");
    rest.split_once(')').expect("the end of a link").0.to_owned()
}

/// The runtime's question with its links.
pub(super) async fn asked(outside: &Outside, conversation: &str) -> Arc<Record> {
    let found = outside.cloud.wait_for(LIMIT, |record| {
        record.conversation == conversation && record.text.contains("[End session]")
    });
    found.await.expect("a question with links")
}

pub(super) async fn post(url: &str) -> u16 {
    reqwest::Client::new().post(url).send().await.expect("follow the link").status().as_u16()
}

/// Somebody presses a button of the card that stands for `turn`.
pub(super) async fn press(
    service: &Service,
    outside: &Outside,
    turn: &Value,
    by: &str,
    content: &Value,
) {
    let turn = turn.as_str().expect("a turn id");
    let plain = json!({
        "type": "actionCallback", "outTrackId": turn, "userId": by, "userIdType": 1,
        "content": json!({ "cardPrivateData": content }).to_string(),
    });
    let now = outside.now_ms().to_string();
    let envelopes = Envelopes::new(TOKEN, AES_KEY, "robot").expect("keys");
    let plain = plain.to_string();
    let sealed = envelopes.encrypt(plain.as_bytes(), *b"abcdefghijklmnop", &now, "nonce");
    let query = [
        ("msg_signature", sealed.msg_signature.as_str()),
        ("timestamp", now.as_str()),
        ("nonce", "nonce"),
    ];
    let request = reqwest::Client::new().post(service.webhook("robot")).query(&query);
    let answer = request.json(&json!({ "encrypt": sealed.encrypt })).send().await;
    assert_eq!(answer.expect("press").status(), 200);
}

#[tokio::test]
async fn a_link_answers_once_and_only_in_its_own_session() {
    let outside = Outside::start().await;
    let service = published(&outside, &Value::Null).await;
    let said = outside.say(Say::direct("robot", "ann", "confirm it"));
    let question = asked(&outside, &said.conversation).await;
    assert_eq!(post(&link(&question, "Confirm")).await, 200);
    outside.reply(&said.conversation, CONFIRMED).await;
    let calls = outside.expert.calls();
    assert_eq!(calls[1].body["action"], "confirm");
    assert_eq!(calls[1].body["resumes"], calls[0].body["turnId"]);
    assert_eq!(calls[1].body["session"]["threadId"], calls[0].body["session"]["threadId"]);

    // The same link again, and the other answer to the same question.
    assert_eq!(post(&link(&question, "Confirm")).await, 410);
    assert_eq!(post(&link(&question, "Reject")).await, 410);
    outside.reply(&said.conversation, OVER).await;

    // A new session has begun: the old one's link ends nothing.
    outside
        .ask(Say::direct("robot", "ann", "/new"), "A new session begins with your next message.")
        .await;
    outside.ask(Say::direct("robot", "ann", "fresh"), "You said: fresh").await;
    assert_eq!(post(&link(&question, "End session")).await, 410);
    outside.ask(Say::direct("robot", "ann", "still here"), "You said: still here").await;
    let read = outside.read_in(&said.conversation);
    assert_eq!(read.iter().filter(|text| *text == OVER).count(), 2, "{read:?}");
    let calls = outside.expert.calls();
    assert_eq!(calls.len(), 4);
    assert_eq!(calls[3].body["session"]["threadId"], calls[2].body["session"]["threadId"]);
    assert_ne!(calls[2].body["session"]["threadId"], calls[0].body["session"]["threadId"]);

    // An end in time says so, and the next message opens a session.
    let said = outside.say(Say::direct("robot", "bob", "confirm that"));
    let question = asked(&outside, &said.conversation).await;
    assert_eq!(post(&link(&question, "End session")).await, 200);
    outside.reply(&said.conversation, "The session has ended.").await;
    assert_eq!(post(&link(&question, "Confirm")).await, 410);
    outside.reply(&said.conversation, OVER).await;
    let is_ended = |item: &Value| item["sender"]["id"] == "bob" && item["state"] == "ended";
    let list = "/api/conversations?integrationId=robot";
    service.admin().list_until(list, |items| items.iter().any(is_ended)).await;
    service.finish().await;
}

#[tokio::test]
async fn a_page_says_used_only_of_what_has_no_effect() {
    let outside = Outside::start().await;
    let service = published(&outside, &Value::Null).await;
    // The end of a question that was answered ends its session all the same.
    let said = outside.say(Say::direct("robot", "ann", "confirm it"));
    let question = asked(&outside, &said.conversation).await;
    assert_eq!(post(&link(&question, "Confirm")).await, 200);
    outside.reply(&said.conversation, CONFIRMED).await;
    assert_eq!(post(&link(&question, "End session")).await, 200);
    outside.reply(&said.conversation, "The session has ended.").await;
    assert_eq!(post(&link(&question, "End session")).await, 410);
    let is_ended = |item: &Value| item["sender"]["id"] == "ann" && item["state"] == "ended";
    let list = "/api/conversations?integrationId=robot";
    service.admin().list_until(list, |items| items.iter().any(is_ended)).await;

    // What the service itself answers leaves the question open.
    let said = outside.say(Say::direct("robot", "bob", "confirm that"));
    let question = asked(&outside, &said.conversation).await;
    let sticker = Say::direct("robot", "bob", "").content(json!({ "msgtype": "sticker" }));
    outside.ask(sticker, "is not supported yet. Please write text.").await;
    assert_eq!(post(&link(&question, "Confirm")).await, 200);
    outside.reply(&said.conversation, CONFIRMED).await;
    assert_eq!(outside.expert.calls().len(), 4);
    service.finish().await;
}

#[tokio::test]
async fn who_is_not_listed_answers_nothing_in_a_shared_session() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    outside.cloud.put_app(App::stream("robot", "app-secret"));
    let fields = json!({ "id": "robot", "mode": "stream", "scope": "group" });
    service.admin().integrate(&fields).await;
    wait_until("the robot is connected", LIMIT, async || outside.cloud.connections("robot") == 1)
        .await;
    publish(&service, &outside, &json!({ "allowSenders": ["ann", "bob"] })).await;
    let group = |who: &str, text: &str| Say::group("robot", "cid-team", who, text);
    let said = outside.ask(group("ann", "confirm it"), "to the person who asked.").await;
    let question = asides(&outside, "ann").pop().expect("links in private");
    for text in ["never mind", "/stop"] {
        outside.say(group("mallory", text));
    }
    wait_until("neither is answered", LIMIT, async || {
        service.metric("dt_limit_breaches_total", "allow_list").await > 1.5
    })
    .await;
    assert_eq!(post(&link(&question, "Confirm")).await, 200);
    outside.reply(&said.conversation, CONFIRMED).await;
    assert_eq!(post(&link(&question, "End session")).await, 200);
    outside.reply(&said.conversation, "The session has ended.").await;
    assert_eq!(outside.expert.calls().len(), 2);
    service.finish().await;
}

#[tokio::test]
async fn the_links_of_a_question_count_from_its_asking_and_not_from_its_message() {
    let outside = Outside::start().await;
    let service = published(&outside, &Value::Null).await;
    let admin = service.admin();
    admin.done("POST", "/api/runtimes/expert/pause", &Value::Null).await;
    let said = outside.say(Say::direct("robot", "ann", "confirm it"));
    wait_until("the message waits for its expert", LIMIT, async || {
        service.metric("dt_stage_outcomes_total", "dispatch").await > 0.5
    })
    .await;
    let waits = outside.now_ms();
    wait_until("time goes by", LIMIT, async || outside.now_ms() - waits > 3000).await;
    let resumed = outside.now_ms();
    admin.done("POST", "/api/runtimes/expert/resume", &Value::Null).await;
    let question = asked(&outside, &said.conversation).await;
    let links = ["Confirm", "Reject", "End session"].map(|word| link(&question, word));
    for link in &links {
        let (_, exp) = link.split_once("exp=").expect("a link says when it ends");
        let exp: i64 = exp.split('&').next().unwrap_or_default().parse().expect("a time");
        let good_for = exp * 1000 - resumed;
        assert!(good_for > 24 * 3_600_000 - 1500, "{good_for} ms from the asking");
    }
    assert_eq!(post(&links[0]).await, 200);
    outside.reply(&said.conversation, CONFIRMED).await;
    // Who looks at a link that was used is told so, and nothing happens.
    let look = async |link: &str| reqwest::get(link).await.expect("look at the page");
    for link in &links[..2] {
        wait_until("the answer is on record", LIMIT, async || look(link).await.status() == 410)
            .await;
        let html = look(link).await.text().await.expect("read the page");
        assert!(html.contains("has expired or was used") && !html.contains("<form"), "{html}");
    }
    assert_eq!(outside.expert.calls().len(), 2);
    service.finish().await;
}

#[tokio::test]
async fn a_question_is_open_for_as_long_as_its_session_lasts_by_what_is_published_now() {
    let outside = Outside::start().await;
    let service = published(&outside, &json!({ "sessionTimeoutSeconds": 5 })).await;
    let said = outside.say(Say::direct("robot", "ann", "confirm it"));
    let question = asked(&outside, &said.conversation).await;
    publish(&service, &outside, &json!({ "sessionTimeoutSeconds": 3600 })).await;
    let published_at = outside.now_ms();
    wait_until("the first timeout is over", LIMIT, async || outside.now_ms() - published_at > 5500)
        .await;
    let status = outside.ask(Say::direct("robot", "ann", "/status"), "Waiting messages: 0").await;
    assert!(status.text.contains("Session: open"), "{}", status.text);
    assert_eq!(post(&link(&question, "Confirm")).await, 200);
    outside.reply(&said.conversation, CONFIRMED).await;
    let calls = outside.expert.calls();
    assert_eq!(calls[1].body["session"]["threadId"], calls[0].body["session"]["threadId"]);
    service.finish().await;
}

#[tokio::test]
async fn an_interrupted_run_of_xpert_goes_on_by_a_link_or_by_a_new_message() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": xpert(&outside) })).await;
    let said = outside.say(Say::direct("robot", "ann", "confirm it"));
    let question = asked(&outside, &said.conversation).await;
    assert_eq!(post(&link(&question, "Reject")).await, 200);
    outside.reply(&said.conversation, "Rejected, nothing was done. · 已拒绝。").await;

    let said = outside.say(Say::direct("robot", "bob", "confirm that"));
    let question = asked(&outside, &said.conversation).await;
    outside.ask(Say::direct("robot", "bob", "something else"), "You said: something else").await;
    assert_eq!(post(&link(&question, "Confirm")).await, 410);
    outside.reply(&said.conversation, OVER).await;
    service.finish().await;
}

#[tokio::test]
async fn a_press_whose_turn_died_is_asked_again() {
    let outside = Outside::start().await;
    let service = published(&outside, &Value::Null).await;
    let admin = service.admin();
    let said = outside.say(Say::direct("robot", "ann", "confirm it"));
    let question = asked(&outside, &said.conversation).await;
    // It dies once more as a replay: that letter holds the press as well.
    for _ in 0..2 {
        let body = "not now".to_owned();
        outside.expert.next(Next::Status { status: 400, retry_after: None, body });
    }
    assert_eq!(post(&link(&question, "Confirm")).await, 200);
    let replay = async || {
        let dead = admin.list_until("/api/dead", |items| items.len() == 1).await;
        let id = &dead[0]["id"];
        let answer = admin.done("POST", "/api/dead/replay", &json!({ "ids": [id] })).await;
        assert_eq!(answer["replayed"], json!([id]), "{answer}");
    };
    replay().await;
    assert!(outside.expert.called(3, LIMIT).await);
    replay().await;
    outside.reply(&said.conversation, CONFIRMED).await;
    let calls = outside.expert.calls();
    for call in &calls[1..] {
        assert_eq!(call.body["action"], "confirm");
        assert_eq!(call.body["resumes"], calls[0].body["turnId"]);
        assert_eq!(call.body["session"]["threadId"], calls[0].body["session"]["threadId"]);
    }
    assert_eq!(calls.len(), 4);
    service.finish().await;
}

#[tokio::test]
async fn a_press_that_is_asked_again_answers_its_own_question_and_no_later_one() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    let admin = service.admin();
    admin.publish("expert", "robot", &json!({ "runtime": xpert(&outside) })).await;
    let said = outside.say(Say::direct("robot", "ann", "confirm it"));
    let question = asked(&outside, &said.conversation).await;
    outside.xpert.fault(Fault::Status { status: 400, retry_after: None });
    assert_eq!(post(&link(&question, "Confirm")).await, 200);
    let dead = admin.list_until("/api/dead", |items| items.len() == 1).await;
    outside.say(Say::direct("robot", "ann", "confirm that"));
    wait_until("another question is open", LIMIT, async || {
        let read = outside.read_in(&said.conversation);
        read.iter().filter(|text| text.contains("[End session]")).count() == 2
    })
    .await;
    let replay = json!({ "ids": [dead[0]["id"]] });
    let skipped = admin.done("POST", "/api/dead/replay", &replay).await;
    let why = skipped["skipped"][0]["why"].as_str().unwrap_or_default();
    assert!(why.contains("a later question"), "{skipped}");
    let replies = outside.cloud.replies();
    let later = replies.iter().rfind(|reply| reply.text.contains("[End session]")).unwrap();
    assert_eq!(post(&link(later, "Confirm")).await, 200);
    outside.reply(&said.conversation, CONFIRMED).await;
    admin.done("POST", "/api/dead/replay", &replay).await;
    wait_until("the first question is answered too", LIMIT, async || {
        let read = outside.read_in(&said.conversation);
        read.iter().filter(|text| text.contains(CONFIRMED)).count() == 2
    })
    .await;
    let runs: Vec<_> = outside.xpert.calls().into_iter().map(|call| call.run).collect();
    assert_eq!(runs.len(), 4, "{runs:?}");
    assert_ne!(runs[0], runs[1]);
    assert_eq!(runs[2..], runs[..2].iter().rev().cloned().collect::<Vec<_>>(), "each its own");
    service.finish().await;
}

#[tokio::test]
async fn a_press_counts_from_the_asker_and_from_others_by_setting() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.http_robot(&outside, "robot").await;
    publish(&service, &outside, &Value::Null).await;
    let said = outside.say(Say::group("robot", "cid-team", "ann", "confirm it"));
    outside.reply(&said.conversation, "to the person who asked.").await;
    let turn = outside.expert.calls()[0].body["turnId"].clone();
    let confirm = json!({ "actionIds": ["confirm"] });
    press(&service, &outside, &turn, "bob", &confirm).await;
    outside.reply(&said.conversation, FOREIGN).await;
    press(&service, &outside, &turn, "bob", &json!({ "actionIds": ["end"] })).await;
    let more = json!({ "actionIds": ["x"], "params": { "action": "more", "page": 2 } });
    press(&service, &outside, &turn, "ann", &more).await;
    assert!(outside.expert.called(2, LIMIT).await);
    let custom = &outside.expert.calls()[1].body;
    assert_eq!((&custom["action"], &custom["params"]["page"]), (&json!("more"), &json!(2)));
    assert_eq!(outside.expert.calls().len(), 2, "bob's presses ask nobody");

    let open = json!({ "actBy": "anyone" });
    publish(&service, &outside, &open).await;
    let said = outside.say(Say::group("robot", "cid-two", "ann", "confirm it"));
    asked(&outside, &said.conversation).await;
    let turn = outside.expert.calls()[2].body["turnId"].clone();
    press(&service, &outside, &turn, "bob", &confirm).await;
    outside.reply(&said.conversation, CONFIRMED).await;
    service.finish().await;
}
