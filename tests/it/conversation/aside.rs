//! A runtime's question in a group, without cards: its links go where only who may act can follow them.

use std::sync::Arc;
use std::time::Duration;

use dingtalk_trigger::sim::dingtalk::fault::{Fault, Outcome};
use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::dingtalk::record::{Kind, Record};
use dingtalk_trigger::sim::expert::Next;
use dingtalk_trigger::sim::script::{Act, End};
use serde_json::{Value, json};

use super::pressing::{CONFIRMED, OVER, asked, link, post};
use super::{publish, published};
use crate::support::outside::Outside;
use crate::support::program::LIMIT;
use crate::support::wait::wait_until;

const IN_PRIVATE: &str = "The buttons are in a direct message to the person who asked.";
pub(super) const IN_WORDS: &str =
    "To answer, send me a message with your decision. /end ends the session.";

/// The direct messages with links that this person got so far.
pub(super) fn asides(outside: &Outside, person: &str) -> Vec<Arc<Record>> {
    let is_aside = |record: &&Arc<Record>| {
        record.kind == Kind::Reply && record.detail == "oto" && record.person == person
    };
    outside.cloud.book().since(0, 10_000).iter().filter(is_aside).cloned().collect()
}

/// A question and nothing else.
fn asks_alone() -> Next {
    let end = End::Interrupt { title: String::new(), text: "Shall I?".to_owned() };
    Next::Act(Act { deltas: vec![], pause: Duration::ZERO, end })
}

fn has_links(texts: &[String]) -> bool {
    texts.iter().any(|text| text.contains("](http"))
}

#[tokio::test]
async fn the_links_of_a_question_in_a_group_are_its_askers_alone() {
    let outside = Outside::start().await;
    let service = published(&outside, &Value::Null).await;
    let said = outside.say(Say::group("robot", "cid-team", "ann", "confirm the payment"));
    let told = outside.reply(&said.conversation, IN_PRIVATE).await;
    assert!(told.text.contains("confirm the payment"), "{told:?}");
    let aside = asides(&outside, "ann");
    assert_eq!(aside.len(), 1);
    assert!(aside[0].seq < told.seq, "nobody is promised what was not sent");
    assert!(aside[0].text.contains("confirm the payment"), "{}", aside[0].text);
    assert!(aside[0].text.starts_with("Asked in the group "), "{}", aside[0].text);
    assert_eq!(post(&link(&aside[0], "Confirm")).await, 200);
    outside.reply(&said.conversation, CONFIRMED).await;
    assert_eq!(outside.expert.calls()[1].body["sender"]["id"], "ann");
    assert_eq!(post(&link(&aside[0], "Reject")).await, 410);
    outside.reply(&said.conversation, OVER).await;
    assert!(!has_links(&outside.read_in(&said.conversation)));

    // Who may act is not who is there: the list is for some of them.
    publish(&service, &outside, &json!({ "actBy": "anyone", "allowSenders": ["ann", "bob"] }))
        .await;
    let listed = outside.say(Say::group("robot", "cid-listed", "ann", "confirm it"));
    outside.reply(&listed.conversation, IN_PRIVATE).await;
    assert!(!has_links(&outside.read_in(&listed.conversation)));

    publish(&service, &outside, &json!({ "actBy": "anyone" })).await;
    let open = outside.say(Say::group("robot", "cid-open", "bob", "confirm it"));
    let question = asked(&outside, &open.conversation).await;
    assert_eq!(asides(&outside, "bob").len(), 0);
    assert_eq!(post(&link(&question, "Reject")).await, 200);
    outside.reply(&open.conversation, "Rejected, nothing was done. · 已拒绝。").await;
    service.finish().await;
}

#[tokio::test]
async fn who_cannot_be_written_to_answers_in_words() {
    let outside = Outside::start().await;
    let service = published(&outside, &Value::Null).await;
    // Of another organization: no staff id, and no direct message.
    let guest = |text: &str| {
        let mut say = Say::group("robot", "cid-team", "guest", text);
        say.extra.insert("senderStaffId".to_owned(), Value::Null);
        say
    };
    outside.ask(guest("confirm it"), IN_WORDS).await;
    let said = outside.ask(guest("yes, go on"), "You said: yes, go on").await;
    outside.ask(guest("confirm that"), IN_WORDS).await;
    outside.ask(guest("/end"), "The session has ended.").await;
    assert!(!has_links(&outside.read_in(&said.conversation)));

    // A person who does not take the robot's direct messages.
    let refused = json!({ "code": "robot.oto.notExist", "message": "not allowed" });
    outside.cloud.fault(Fault::new("oto", Outcome::Answer { status: 400, body: refused }));
    let said = outside.ask(Say::group("robot", "cid-two", "bob", "confirm it"), IN_WORDS).await;
    assert!(!has_links(&outside.read_in(&said.conversation)));
    assert_eq!(asides(&outside, "bob").len(), 0);
    service.finish().await;
}

#[tokio::test]
async fn a_kill_between_the_links_and_the_word_in_the_group_doubles_nothing_silently() {
    let outside = Outside::start().await;
    let mut service = published(&outside, &Value::Null).await;
    outside.expert.next(asks_alone());
    // The group's message never arrives while the first process lives.
    outside.cloud.fault(Fault::new("webhook", Outcome::Hang));
    let said = outside.say(Say::group("robot", "cid-team", "ann", "confirm it"));
    wait_until("ann has the links", LIMIT, async || asides(&outside, "ann").len() == 1).await;
    wait_until("the group's message is under way", LIMIT, async || {
        let records = outside.cloud.book().since(0, 10_000);
        records.iter().any(|record| record.kind == Kind::Faulted)
    })
    .await;
    service.kill_group().await;
    outside.cloud.clear_faults();
    service.restart().await;
    outside.reply(&said.conversation, IN_PRIVATE).await;
    let read = outside.read_in(&said.conversation);
    assert!(read.len() == 1 && read[0].starts_with("@ann"), "{read:?}");
    let aside = asides(&outside, "ann");
    assert_eq!(aside.len(), 1, "the links are on record as sent");
    let counted = service.metric("dt_ambiguous_sends_total", "").await;
    assert!((counted - 1.0).abs() < 0.5, "the group's message may have been sent: {counted}");
    assert_eq!(post(&link(&aside[0], "Confirm")).await, 200);
    outside.reply(&said.conversation, CONFIRMED).await;
    assert_eq!(outside.expert.calls().len(), 2);

    // Whether the links arrived is not known here: they come again, and are counted.
    outside.expert.next(asks_alone());
    outside.cloud.fault(Fault::new("oto", Outcome::AcceptThenReset));
    let said = outside.ask(Say::group("robot", "cid-two", "bob", "confirm it"), IN_PRIVATE).await;
    let aside = asides(&outside, "bob");
    assert_eq!((aside.len(), &aside[0].text), (2, &aside[1].text));
    assert!(service.metric("dt_ambiguous_sends_total", "").await > 1.5);
    assert_eq!(outside.read_in(&said.conversation).len(), 1);
    service.finish().await;
}
