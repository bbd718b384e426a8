//! What must not work: altered links, other people's cards, commands of people who are not listed.

use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::expert::Next;
use dingtalk_trigger::sim::script::{Act, End};
use serde_json::{Value, json};

use super::pressing::{CONFIRMED, asked, link, post};
use super::{publish, published};
use crate::support::outside::Outside;
use crate::support::program::LIMIT;
use crate::support::service::{Service, callback};
use crate::support::wait::wait_until;

#[tokio::test]
async fn a_link_with_any_altered_byte_is_refused_and_counted() {
    let outside = Outside::start().await;
    let service = published(&outside, &Value::Null).await;
    let said = outside.say(Say::direct("robot", "ann", "confirm it"));
    let question = asked(&outside, &said.conversation).await;
    let client = reqwest::Client::new();
    let mut refused = 0;
    for word in ["Confirm", "End session"] {
        let good = link(&question, word);
        let query = good.find('?').expect("a query") + 1;
        for at in query..good.len() {
            let mut bytes = good.clone().into_bytes();
            // The other case, or the next character: both stay what a query may hold.
            bytes[at] = match bytes[at] {
                byte if byte.is_ascii_alphabetic() => byte ^ 0x20,
                b'9' => b'0',
                byte if byte.is_ascii_digit() => byte + 1,
                _ => b'x',
            };
            let altered = String::from_utf8(bytes).expect("ASCII");
            let looked = client.get(&altered).send().await.expect("look").status();
            assert_eq!((looked.as_u16(), post(&altered).await), (403, 403), "{altered}");
            refused += 2;
        }
    }
    let counted = service.metric("dt_inbound_total", "LINK_WRONG").await;
    assert!((counted - f64::from(refused)).abs() < 0.5, "{counted} of {refused}");
    // Nothing came of all that, and the link itself still acts.
    assert_eq!(post(&link(&question, "Confirm")).await, 200);
    outside.reply(&said.conversation, CONFIRMED).await;
    assert_eq!(outside.expert.calls().len(), 2);
    service.finish().await;
}

#[tokio::test]
async fn in_a_shared_session_only_listed_people_stop_what_others_asked() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    outside.cloud.put_app(dingtalk_trigger::sim::dingtalk::app::App::stream("robot", "app-secret"));
    let fields = json!({ "id": "robot", "mode": "stream", "scope": "group" });
    service.admin().integrate(&fields).await;
    wait_until("the robot is connected", LIMIT, async || outside.cloud.connections("robot") == 1)
        .await;
    let allowed = json!({ "runtime": callback(&outside), "allowSenders": ["ann", "bob"] });
    publish(&service, &outside, &allowed).await;
    let group = |who: &str, text: &str| Say::group("robot", "cid-team", who, text);
    let hang = Act { deltas: vec![], pause: std::time::Duration::ZERO, end: End::Hang };
    outside.expert.next(Next::Act(hang));
    let said = outside.say(group("ann", "think"));
    assert!(outside.expert.called(1, LIMIT).await);
    outside.say(group("ann", "and this"));
    for command in ["/stop", "/new", "/end", "结束会话"] {
        outside.say(group("mallory", command));
    }
    // Another robot has no staff id; this one does not hear itself.
    let mut bot = group("bot", "/stop");
    bot.extra.insert("senderStaffId".to_owned(), Value::Null);
    outside.say(bot);
    let mut own = group("ann", "/stop");
    let robot = |say: &Say| {
        let said = outside.say(say.clone());
        let records = outside.cloud.book().since(0, 10_000);
        let record = records.iter().find(|r| r.msg_id == said.msg_id).expect("it was said").clone();
        record.body["chatbotUserId"].clone()
    };
    let itself = robot(&group("ann", "hello"));
    own.extra.insert("senderId".to_owned(), itself);
    outside.say(own);
    outside.say(group("ann", "/status"));
    let status = outside.reply(&said.conversation, "Waiting messages: 2").await;
    assert!(status.text.contains("Now: answering"), "{}", status.text);
    assert_eq!(outside.expert.calls().len(), 1, "the run goes on");
    // One of those who share the session.
    outside.ask(group("bob", "/stop"), "Stopped.").await;
    outside.ask(group("ann", "next"), "You said: next").await;
    assert_eq!(outside.expert.calls().len(), 2);
    let thread = |index: usize| outside.expert.calls()[index].body["session"]["threadId"].clone();
    assert_eq!(thread(0), thread(1), "nobody ended the session");
    assert!(service.metric("dt_limit_breaches_total", "allow_list").await > 4.5);
    service.finish().await;
}
