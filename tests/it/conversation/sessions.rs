//! Sessions as people and operators see them: how long they last, with whom, and what starts them anew.

use std::time::Duration;

use dingtalk_trigger::sim::dingtalk::app::App;
use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::expert::Next;
use serde_json::{Value, json};

use super::{publish, published};
use crate::support::outside::Outside;
use crate::support::program::LIMIT;
use crate::support::service::{Service, callback};
use crate::support::wait::wait_until;

const NEW: &str = "A new session begins with your next message.";

/// Ann says it and is answered; the thread it was asked in.
async fn thread(outside: &Outside, text: &str) -> Value {
    outside.ask(Say::direct("robot", "ann", text), &format!("You said: {text}")).await;
    let calls = outside.expert.calls();
    calls.last().expect("the expert was asked").body["session"]["threadId"].clone()
}

/// Until so much time has passed for the service.
pub(super) async fn silence(outside: &Outside, length: Duration) {
    let until = outside.now_ms() + i64::try_from(length.as_millis()).expect("a short time");
    wait_until("nobody says anything", LIMIT, async || outside.now_ms() >= until).await;
}

#[tokio::test]
async fn a_timeout_that_is_published_again_holds_for_the_session_that_runs() {
    let outside = Outside::start().await;
    let service = published(&outside, &Value::Null).await;
    let first = thread(&outside, "one").await;
    assert_eq!(thread(&outside, "two").await, first);
    publish(&service, &outside, &json!({ "sessionTimeoutSeconds": 1 })).await;
    silence(&outside, Duration::from_millis(1500)).await;
    let second = thread(&outside, "three").await;
    assert_ne!(second, first, "the new timeout has ended it");
    publish(&service, &outside, &json!({ "sessionTimeoutSeconds": 3600 })).await;
    silence(&outside, Duration::from_millis(1500)).await;
    assert_eq!(thread(&outside, "four").await, second, "a longer one keeps it");
    // Unpublishing leaves both the session and its timeout.
    service.admin().done("DELETE", "/api/triggers/expert", &Value::Null).await;
    silence(&outside, Duration::from_millis(1500)).await;
    assert_eq!(thread(&outside, "five").await, second);
    service.finish().await;
}

#[tokio::test]
async fn a_session_that_sql_has_not_heard_of_is_listed_and_ended_all_the_same() {
    let outside = Outside::start().await;
    let service = Service::start_with(&outside, &[("DT_SWEEP_INTERVAL", "1s")]).await;
    service.stream_robot(&outside, "robot").await;
    publish(&service, &outside, &Value::Null).await;
    let first = thread(&outside, "one").await;
    let admin = service.admin();
    admin.list_until("/api/conversations", |items| items.len() == 1).await;
    service.settled().await;
    service.forget_sessions().await;
    let listed = admin.list_until("/api/conversations", |items| items.len() == 1).await;
    assert_eq!((&listed[0]["threadId"], &listed[0]["state"]), (&first, &json!("open")));
    let session = format!("/api/conversations/{}", listed[0]["key"].as_str().expect("a key"));
    admin.done("DELETE", &session, &Value::Null).await;
    assert_ne!(thread(&outside, "two").await, first);
    service.finish().await;
}

#[tokio::test]
async fn a_long_answer_does_not_end_the_session_of_who_waits_for_it() {
    let outside = Outside::start().await;
    let service = published(&outside, &json!({ "sessionTimeoutSeconds": 3 })).await;
    let first = thread(&outside, "slow 5").await;
    assert_eq!(thread(&outside, "thanks").await, first);
    silence(&outside, Duration::from_millis(3500)).await;
    assert_ne!(thread(&outside, "hello").await, first);
    service.finish().await;
}

#[tokio::test]
async fn whatever_a_person_says_and_is_answered_keeps_the_session() {
    let outside = Outside::start().await;
    let service = published(&outside, &json!({ "sessionTimeoutSeconds": 10 })).await;
    let asked = async |person: &str, text: &str| {
        let answer = format!("You said: {text}");
        let said = outside.ask(Say::direct("robot", person, text), &answer).await;
        let calls = outside.expert.calls();
        let session = calls.last().expect("the expert was asked").body["session"].clone();
        (said.conversation.clone(), session["threadId"].clone(), session["isNew"].clone())
    };
    let people = ["ann", "bob", "carol"];
    let mut first = vec![];
    for person in people {
        first.push(asked(person, "one").await);
    }
    silence(&outside, Duration::from_secs(6)).await;
    let content = json!({ "msgtype": "location", "content": { "x": 1 } });
    outside.say(Say::direct("robot", "ann", "").content(content));
    outside.say(Say::direct("robot", "bob", "/help"));
    for (conversation, ..) in &first[..2] {
        wait_until("the service answers", LIMIT, async || outside.read_in(conversation).len() == 2)
            .await;
    }
    // The list knows as well; carol was the last of the first round.
    let list = "/api/conversations?integrationId=robot";
    let last = |items: &[Value]| items.last().map(|item| item["sender"]["id"].clone());
    service.admin().list_until(list, |items| last(items) == Some(json!("carol"))).await;
    silence(&outside, Duration::from_secs(6)).await;
    // Carol alone has been silent for longer than the timeout.
    for ((person, first), is_kept) in people.into_iter().zip(first).zip([true, true, false]) {
        let (_, thread, is_new) = asked(person, "two").await;
        assert_eq!(thread == first.1, is_kept, "{person}");
        assert_eq!(is_new, !is_kept, "{person}");
    }
    service.finish().await;
}

#[tokio::test]
async fn a_broker_that_lost_everything_leaves_people_their_sessions() {
    let outside = Outside::start().await;
    let mut service = published(&outside, &Value::Null).await;
    let first = thread(&outside, "one").await;
    let list = "/api/conversations?integrationId=robot";
    service.admin().list_until(list, |items| items.len() == 1).await;
    assert_eq!(service.program().terminate().await.code(), Some(0));
    std::fs::remove_dir_all(service.data.path().join("data/nats")).expect("lose the streams");
    service.restart().await;
    wait_until("connected again", LIMIT, async || outside.cloud.connections("robot") == 1).await;
    assert_eq!(thread(&outside, "two").await, first);
    let body = outside.expert.calls()[1].body.clone();
    assert_eq!(body["session"]["isNew"], false);
    outside.ask(Say::direct("robot", "ann", "/new"), NEW).await;
    assert_ne!(thread(&outside, "three").await, first);
    service.finish().await;
}

#[tokio::test]
async fn another_expert_takes_over_when_a_person_s_session_ends() {
    let outside = Outside::start().await;
    let service = published(&outside, &Value::Null).await;
    let asked = async |person: &str, text: &str| {
        outside.ask(Say::direct("robot", person, text), &format!("You said: {text}")).await;
        outside.expert.calls().last().expect("a call").body["xpertId"].clone()
    };
    for person in ["ann", "bob", "carol"] {
        assert_eq!(asked(person, "one").await, "expert", "{person}");
    }
    let admin = service.admin();
    admin.done("DELETE", "/api/triggers/expert", &Value::Null).await;
    admin.publish("other", "robot", &json!({ "runtime": callback(&outside) })).await;
    for person in ["ann", "bob", "carol"] {
        assert_eq!(asked(person, "two").await, "expert", "{person} is in a session");
    }
    assert_eq!(asked("dora", "one").await, "other", "who begins, begins with the new one");
    outside.ask(Say::direct("robot", "ann", "/new"), NEW).await;
    assert_eq!(asked("ann", "three").await, "other");
    // The operator ends what is left of the old expert at once; bob and carol need not do a thing.
    let list = "/api/conversations?xpertId=expert";
    let is_open = |item: &Value| item["state"] == "open";
    admin.list_until(list, |items| items.iter().filter(|item| is_open(item)).count() == 2).await;
    let ended = admin.done("DELETE", list, &Value::Null).await;
    assert_eq!(ended, json!({ "ended": 2 }));
    for person in ["bob", "carol"] {
        assert_eq!(asked(person, "three").await, "other", "{person}");
    }
    let ended = admin.done("DELETE", "/api/conversations?integrationId=robot", &Value::Null).await;
    assert_eq!(ended, json!({ "ended": 4 }));
    asked("ann", "four").await;
    let calls = outside.expert.calls();
    assert_eq!(calls.last().expect("a call").body["session"]["isNew"], true);
    service.finish().await;
}

#[tokio::test]
async fn a_late_answer_of_an_old_session_does_not_bring_it_back() {
    let outside = Outside::start().await;
    let service = published(&outside, &Value::Null).await;
    outside.expert.next(Next::Status { status: 202, retry_after: None, body: String::new() });
    let said = outside.say(Say::direct("robot", "ann", "think"));
    assert!(outside.expert.called(1, LIMIT).await);
    let old = outside.expert.calls()[0].body.clone();
    outside.ask(Say::direct("robot", "ann", "/new"), NEW).await;
    let fresh = thread(&outside, "fresh").await;
    assert_ne!(fresh, old["session"]["threadId"]);
    let turn = old["turnId"].as_str().expect("a turn id");
    let late = json!({ "text": "too late" });
    let (status, _) =
        service.admin().call("POST", &format!("/api/turns/{turn}/reply"), &late).await;
    assert_eq!(status, 409);
    assert_eq!(thread(&outside, "still").await, fresh);
    let read = outside.read_in(&said.conversation);
    assert_eq!(read, [NEW, "You said: fresh", "You said: still"]);
    // The timer of the old wait stays until it fires: a hint about nothing.
    service.idle().await;
}

#[tokio::test]
async fn a_group_that_shares_a_session_is_answered_in_order_and_nobody_is_merged_with_another() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    outside.cloud.put_app(App::stream("robot", "app-secret"));
    let fields = json!({ "id": "robot", "mode": "stream", "scope": "group" });
    service.admin().integrate(&fields).await;
    wait_until("connected", LIMIT, async || outside.cloud.connections("robot") == 1).await;
    publish(&service, &outside, &json!({ "summaryWindowSeconds": 1, "mentionAsker": false })).await;
    for (person, text) in
        [("ann", "a1"), ("ann", "a2"), ("bob", "b1"), ("bob", "b2"), ("ann", "a3"), ("bob", "b3")]
    {
        outside.say(Say::group("robot", "cid-team", person, text));
    }
    outside.reply("cid-team", "You said: b3").await;
    let expected = ["a1\na2", "b1\nb2", "a3", "b3"];
    let calls = outside.expert.calls();
    let texts: Vec<_> = calls.iter().map(|call| call.body["input"]["text"].clone()).collect();
    assert_eq!(texts, expected);
    let senders: Vec<_> = calls.iter().map(|call| call.body["sender"]["id"].clone()).collect();
    assert_eq!(senders, ["ann", "bob", "ann", "bob"]);
    let one = &calls[0].body["session"]["threadId"];
    assert!(calls.iter().all(|call| call.body["session"]["threadId"] == *one));
    let answers = expected.map(|text| format!("You said: {text}"));
    assert_eq!(outside.read_in("cid-team"), answers);
    // Anybody ends it, for all.
    outside.ask(Say::group("robot", "cid-team", "bob", "/new"), NEW).await;
    outside.ask(Say::group("robot", "cid-team", "ann", "a4"), "You said: a4").await;
    assert_ne!(outside.expert.calls()[4].body["session"]["threadId"], *one);
    service.finish().await;
}

#[tokio::test]
async fn what_no_expert_can_read_is_said_so_and_delays_nothing() {
    let outside = Outside::start().await;
    let service = published(&outside, &Value::Null).await;
    let word = "This kind of message is not supported yet. Please write text.";
    let kinds = ["location", "interactiveCard", "chatRecord", "somethingNew"];
    for kind in kinds {
        let content = json!({ "msgtype": kind, "content": { "x": 1 } });
        outside.say(Say::direct("robot", "ann", "").content(content));
    }
    let said = outside.ask(Say::direct("robot", "ann", "words"), "You said: words").await;
    let read = outside.read_in(&said.conversation);
    assert_eq!(read, [word, word, word, word, "You said: words"]);
    assert_eq!(outside.expert.calls().len(), 1);
    service.finish().await;
}
