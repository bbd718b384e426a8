//! A runtime's question as a card: in Stream mode and through the webhook, pressed by the right person
//! and by others, once and again.

use dingtalk_trigger::sim::dingtalk::app::{App, Receive};
use dingtalk_trigger::sim::dingtalk::fault::{Fault, Outcome};
use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::dingtalk::record::Kind;
use serde_json::{Value, json};

use super::pressing::{CONFIRMED, FOREIGN, OVER, asked};
use super::{card_in, card_robot, click, closed, publish, shown};
use crate::support::outside::Outside;
use crate::support::program::LIMIT;
use crate::support::service::{AES_KEY, Service, TOKEN, callback};

const REJECTED: &str = "Rejected, nothing was done. · 已拒绝。";

/// What DingTalk shows at once of the answer to a press.
fn changes(answer: &Value) -> Option<(&str, Option<&str>)> {
    let params = &answer["cardData"]["cardParamMap"];
    assert_eq!(answer["cardUpdateOptions"]["updateCardDataByKey"], true, "{answer}");
    Some((params["open"].as_str()?, params["result"].as_str()))
}

#[tokio::test]
async fn a_card_is_pressed_once_and_says_what_was_chosen() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    card_robot(&service, &outside, "robot").await;
    publish(&service, &outside, &Value::Null).await;
    let said = outside.say(Say::direct("robot", "ann", "confirm the payment"));
    let card = card_in(&outside, &said.conversation, 0).await;
    let turn = outside.expert.calls()[0].body["turnId"].clone();
    assert_eq!(card.msg_id, turn.as_str().unwrap());
    let body = &card.body;
    assert_eq!(
        (&body["callbackType"], &body["openSpaceId"]),
        (&json!("STREAM"), &json!("dtv1.card//IM_ROBOT.ann"))
    );
    assert_eq!(body["cardData"]["cardParamMap"]["content"], "confirm the payment");
    assert_eq!(shown(&outside, &card), ("true".to_owned(), String::new(), 3));

    let answer = outside.cloud.click(click(&card, "ann", "confirm")).await.expect("within 2 s");
    assert_eq!(changes(&answer), Some(("false", Some("Confirmed"))));
    outside.reply(&said.conversation, CONFIRMED).await;
    closed(&outside, &card, "Confirmed").await;
    let calls = outside.expert.calls();
    assert_eq!((&calls[1].body["action"], &calls[1].body["resumes"]), (&json!("confirm"), &turn));

    // The same again is the same press, and answered like it; another one on the same card comes too late.
    let answer = outside.cloud.click(click(&card, "ann", "confirm")).await.expect("within 2 s");
    assert_eq!(changes(&answer), Some(("false", Some("Confirmed"))));
    let answer =
        outside.cloud.click(click(&card, "ann", "dingtalk:reject")).await.expect("within 2 s");
    assert_eq!(changes(&answer), Some(("false", None)));
    outside.reply(&said.conversation, OVER).await;
    let answer =
        outside.cloud.click(click(&card, "ann", "dingtalk:reject")).await.expect("within 2 s");
    assert_eq!(changes(&answer), Some(("false", None)), "late once is late again");
    closed(&outside, &card, "Confirmed").await;
    assert_eq!(outside.expert.calls().len(), 2);
    let read = outside.read_in(&said.conversation);
    assert!(!read.iter().any(|text| text.contains("](http")), "{read:?}");
    service.finish().await;
}

#[tokio::test]
async fn a_question_is_as_open_as_it_was_when_the_service_was_killed() {
    let outside = Outside::start().await;
    let mut service = Service::start(&outside).await;
    card_robot(&service, &outside, "robot").await;
    publish(&service, &outside, &Value::Null).await;
    let said = outside.say(Say::direct("robot", "ann", "confirm it"));
    let card = card_in(&outside, &said.conversation, 0).await;
    service.kill_group().await;
    service.restart().await;
    outside.cloud.click(click(&card, "ann", "confirm")).await;
    outside.reply(&said.conversation, CONFIRMED).await;
    closed(&outside, &card, "Confirmed").await;
    assert_eq!(outside.expert.calls().len(), 2);
    service.finish().await;
}

#[tokio::test]
async fn in_a_group_a_card_obeys_its_asker() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    card_robot(&service, &outside, "robot").await;
    publish(&service, &outside, &Value::Null).await;
    let said = outside.say(Say::group("robot", "cid-team", "ann", "confirm it"));
    let card = card_in(&outside, &said.conversation, 0).await;
    let deliver = &card.body["imGroupOpenDeliverModel"];
    assert_eq!(
        (&deliver["robotCode"], &deliver["atUserIds"]["ann"]),
        (&json!("robot"), &json!("ann"))
    );
    for action in ["confirm", "end", "more"] {
        let answer = outside.cloud.click(click(&card, "bob", action)).await.expect("within 2 s");
        assert_eq!(answer, json!({}), "{action}");
    }
    outside.reply(&said.conversation, FOREIGN).await;
    assert_eq!(shown(&outside, &card), ("true".to_owned(), String::new(), 3));
    let answer = outside.cloud.click(click(&card, "ann", "reject")).await.expect("within 2 s");
    assert_eq!(changes(&answer), Some(("false", Some("Rejected"))));
    outside.reply(&said.conversation, REJECTED).await;
    closed(&outside, &card, "Rejected").await;
    assert!(service.metric("dt_limit_breaches_total", "act_by").await > 2.5, "each is counted");
    assert_eq!(outside.expert.calls().len(), 2, "bob's presses ask nobody");

    // By setting everybody may whom the expert listens to.
    let open = json!({ "actBy": "anyone", "allowSenders": ["ann", "bob"] });
    publish(&service, &outside, &open).await;
    let seen = outside.cloud.book().last();
    outside.say(Say::group("robot", "cid-team", "ann", "confirm that"));
    let card = card_in(&outside, &said.conversation, seen).await;
    let answer = outside.cloud.click(click(&card, "carol", "confirm")).await.expect("within 2 s");
    assert_eq!(answer, json!({}));
    let more = outside.cloud.click(click(&card, "bob", "approve")).await.expect("within 2 s");
    assert_eq!(changes(&more), Some(("false", Some("Chosen: approve"))));
    assert!(outside.expert.called(4, LIMIT).await);
    assert_eq!(outside.expert.calls()[3].body["action"], "approve");
    assert_eq!(outside.expert.calls()[3].body["sender"]["id"], "bob");
    closed(&outside, &card, "Chosen: approve").await;

    // Of another organization: a card would not tell that it was this person who pressed it.
    publish(&service, &outside, &Value::Null).await;
    let mut guest = Say::group("robot", "cid-team", "guest", "confirm it");
    guest.extra.insert("senderStaffId".to_owned(), Value::Null);
    outside.ask(guest, super::aside::IN_WORDS).await;
    service.finish().await;
}

#[tokio::test]
async fn a_press_that_did_not_count_stays_without_effect_whatever_is_published_since() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    card_robot(&service, &outside, "robot").await;
    publish(&service, &outside, &Value::Null).await;
    let said = outside.say(Say::group("robot", "cid-team", "ann", "confirm it"));
    let card = card_in(&outside, &said.conversation, 0).await;
    let press = async |by: &str, action: &str| {
        outside.cloud.click(click(&card, by, action)).await.expect("within 2 s")
    };
    assert_eq!(press("bob", "confirm").await, json!({}));
    outside.reply(&said.conversation, FOREIGN).await;
    publish(&service, &outside, &json!({ "actBy": "anyone" })).await;
    assert_eq!(press("bob", "confirm").await, json!({}), "the log has it already");
    assert_eq!(shown(&outside, &card), ("true".to_owned(), String::new(), 3));
    assert_eq!(changes(&press("bob", "reject").await), Some(("false", Some("Rejected"))));
    outside.reply(&said.conversation, REJECTED).await;
    closed(&outside, &card, "Rejected").await;
    assert_eq!(changes(&press("bob", "confirm").await), Some(("false", None)));
    assert_eq!(outside.expert.calls().len(), 2);
    service.finish().await;
}

#[tokio::test]
async fn an_http_robots_card_comes_back_through_the_webhook() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    for (robot, sealed) in [("plain", false), ("sealed", true)] {
        let receive = Receive::Http {
            url: service.webhook(robot),
            token: TOKEN.to_owned(),
            aes_key: AES_KEY.to_owned(),
            sealed,
        };
        outside.cloud.put_app(App { receive, ..App::stream(robot, "app-secret") });
        let keys = json!({
            "id": robot, "mode": "http", "callbackToken": TOKEN, "callbackAesKey": AES_KEY,
            "cardTemplateId": "decide.schema",
        });
        service.admin().integrate(&keys).await;
        let runtime = callback(&outside);
        let expert = format!("expert-of-{robot}");
        service.admin().publish(&expert, robot, &json!({ "runtime": runtime })).await;
        for (person, word) in [("ann", "confirm"), ("bob", "reject")] {
            let said = outside.say(Say::direct(robot, person, "confirm it"));
            let card = card_in(&outside, &said.conversation, 0).await;
            assert_eq!(card.body["callbackRouteKey"], format!("dt-{robot}"));
            let answer = outside.cloud.click(click(&card, person, word)).await.expect("within 2 s");
            let (reply, result) =
                if word == "confirm" { (CONFIRMED, "Confirmed") } else { (REJECTED, "Rejected") };
            if sealed {
                assert!(answer["encrypt"].is_string(), "{answer}");
            } else {
                assert_eq!(changes(&answer), Some(("false", Some(result))));
            }
            outside.reply(&said.conversation, reply).await;
            closed(&outside, &card, result).await;
        }
        let records = outside.cloud.book().since(0, 10_000);
        let registered: Vec<_> =
            records.iter().filter(|r| r.kind == Kind::Registered && r.robot == robot).collect();
        assert_eq!(registered.len(), 1, "once, before the first card");
        assert_eq!(registered[0].text, service.webhook(robot));
        let first = records.iter().find(|r| r.kind == Kind::Card && r.robot == robot).unwrap();
        assert!(registered[0].seq < first.seq);
    }
    service.finish().await;
}

#[tokio::test]
async fn a_card_that_cannot_be_made_is_a_message_and_one_that_may_be_is_made_once() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    card_robot(&service, &outside, "robot").await;
    publish(&service, &outside, &Value::Null).await;
    let refused = json!({ "code": "param.templateNotExist", "message": "no such template" });
    outside.cloud.fault(Fault::new("card", Outcome::Answer { status: 400, body: refused }));
    let said = outside.say(Say::direct("robot", "ann", "confirm it"));
    let question = asked(&outside, &said.conversation).await;
    assert_eq!(super::pressing::post(&super::pressing::link(&question, "Confirm")).await, 200);
    outside.reply(&said.conversation, CONFIRMED).await;

    // Its outcome is unknown, and it is made all the same: the second try finds it there.
    outside.cloud.fault(Fault::new("card", Outcome::AcceptThenReset));
    let said = outside.say(Say::direct("robot", "bob", "confirm it"));
    let card = card_in(&outside, &said.conversation, 0).await;
    outside.cloud.click(click(&card, "bob", "confirm")).await.expect("within 2 s");
    outside.reply(&said.conversation, CONFIRMED).await;
    closed(&outside, &card, "Confirmed").await;
    let records = outside.cloud.book().since(0, 10_000);
    let here = |r: &&std::sync::Arc<dingtalk_trigger::sim::dingtalk::record::Record>| {
        r.kind == Kind::Card && r.detail == "deliver" && r.conversation == said.conversation
    };
    assert_eq!(records.iter().filter(here).count(), 1);
    assert_eq!(outside.read_in(&said.conversation), ["You said: confirm it", CONFIRMED]);
    assert!(
        service.metric("dt_ambiguous_sends_total", "").await < 0.5,
        "a card is never ambiguous"
    );

    // What no card holds is asked by a message.
    let long = format!("confirm {}", "x".repeat(4000));
    let said = outside.say(Say::direct("robot", "carol", &long));
    asked(&outside, &said.conversation).await;
    service.finish().await;
}
