//! How long messages wait: for quiet, for a window that was changed, behind a command, in a line.

use std::time::Duration;

use dingtalk_trigger::sim::dingtalk::fault::{Fault, Outcome};
use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::dingtalk::record::Kind;
use dingtalk_trigger::sim::expert::Next;
use dingtalk_trigger::sim::script::{Act, End};
use serde_json::{Value, json};
use tokio::time::{Instant, interval};

use super::sessions::silence;
use super::{publish, published};
use crate::support::outside::Outside;
use crate::support::program::{LIMIT, report};
use crate::support::service::Service;
use crate::support::wait::wait_until;

fn texts(outside: &Outside) -> Vec<String> {
    let calls = outside.expert.calls();
    let text = |call: &std::sync::Arc<dingtalk_trigger::sim::expert::Call>| {
        call.body["input"]["text"].as_str().unwrap_or_default().to_owned()
    };
    calls.iter().map(text).collect()
}

#[tokio::test]
async fn who_types_without_a_pause_is_answered_at_the_maximum_wait() {
    let outside = Outside::start().await;
    // The shortest there is: ten windows of a second.
    let service = Service::start_with(&outside, &[("DT_WINDOW_MAX_WAIT", "1")]).await;
    service.stream_robot(&outside, "robot").await;
    publish(&service, &outside, &json!({ "summaryWindowSeconds": 1, "queuedNotice": "none" }))
        .await;
    // Often enough for a message in every window also while the machine is busy.
    let mut typing = interval(Duration::from_millis(200));
    let began = Instant::now();
    let mut said = vec![];
    let mut conversation = String::new();
    while outside.expert.calls().is_empty() {
        assert!(began.elapsed() < LIMIT, "nobody is answered who types on");
        typing.tick().await;
        let text = format!("word{}", said.len());
        conversation = outside.say(Say::direct("robot", "ann", &text)).conversation;
        said.push(text);
    }
    let waited = began.elapsed();
    report(&format!("measured: answered after {waited:?}, {} messages", said.len()));
    assert!(waited >= Duration::from_millis(9500), "{waited:?}: the window was still open");
    assert!(waited < Duration::from_secs(20), "{waited:?}");
    // What was typed too late for that turn is in the next one: nothing is lost, nothing is twice.
    let last = said.last().cloned().unwrap_or_default();
    outside.reply(&conversation, &last).await;
    assert_eq!(texts(&outside).join("\n"), said.join("\n"));
    service.finish().await;
}

#[tokio::test]
async fn a_full_turn_is_asked_at_once_and_what_is_behind_it_waits_for_quiet() {
    let outside = Outside::start().await;
    let limits = [("DT_TURN_MAX_MESSAGES", "2"), ("DT_TURN_MAX_BYTES", "1024")];
    let service = Service::start_with(&outside, &limits).await;
    service.stream_robot(&outside, "robot").await;
    // No window ends within this test.
    publish(&service, &outside, &json!({ "summaryWindowSeconds": 600 })).await;
    for text in ["one", "two", "three"] {
        outside.say(Say::direct("robot", "ann", text));
    }
    assert!(outside.expert.called(1, LIMIT).await);
    outside.ask(Say::direct("robot", "ann", "/status"), "Waiting messages: 1").await;
    outside.ask(Say::direct("robot", "ann", "/stop"), "Stopped.").await;
    assert_eq!(texts(&outside), ["one\ntwo"]);

    // By bytes: one that has no room is behind it, and with another the next full turn.
    let (long, longer) = ("l".repeat(600), "m".repeat(700));
    outside.say(Say::direct("robot", "bob", &long));
    outside.say(Say::direct("robot", "bob", &longer));
    assert!(outside.expert.called(2, LIMIT).await);
    outside.ask(Say::direct("robot", "bob", "/status"), "Waiting messages: 1").await;
    let said = outside.ask(Say::direct("robot", "bob", "short"), "short").await;
    assert_eq!(texts(&outside)[1..], [long, format!("{longer}\nshort")]);
    assert_eq!(outside.read_in(&said.conversation).len(), 3);

    // What fills a turn while another is answered follows it.
    outside.say(Say::direct("robot", "carol", "slow 3"));
    outside.say(Say::direct("robot", "carol", "c1"));
    assert!(outside.expert.called(4, LIMIT).await);
    for text in ["c2", "c3", "c4"] {
        outside.say(Say::direct("robot", "carol", text));
    }
    assert!(outside.expert.called(5, LIMIT).await);
    outside.ask(Say::direct("robot", "carol", "/status"), "Waiting messages: 1").await;
    outside.ask(Say::direct("robot", "carol", "/stop"), "Stopped.").await;
    assert_eq!(texts(&outside)[3..], ["slow 3\nc1", "c2\nc3"]);
    // The timers of the windows stay until they fire: hints about nothing.
    service.idle().await;
}

#[tokio::test]
async fn a_window_that_is_published_holds_for_what_comes_after_it() {
    let outside = Outside::start().await;
    let service = published(&outside, &json!({ "summaryWindowSeconds": 4 })).await;
    let began = outside.now_ms();
    outside.say(Say::direct("robot", "ann", "patient"));
    wait_until("its timer is armed", LIMIT, async || {
        service.metric("dt_stage_outcomes_total", "intake").await > 0.5
    })
    .await;
    publish(&service, &outside, &json!({ "summaryWindowSeconds": 0 })).await;
    // Without a window now, and not held up by the window of somebody else.
    outside.ask(Say::direct("robot", "bob", "quick"), "You said: quick").await;
    assert_eq!(texts(&outside), ["quick"]);
    assert!(outside.expert.called(2, LIMIT).await);
    let waited = outside.expert.calls()[1].at_ms - began;
    assert!((3900..20_000).contains(&waited), "its own window was 4 s: {waited} ms");

    publish(&service, &outside, &json!({ "summaryWindowSeconds": 600 })).await;
    outside.say(Say::direct("robot", "carol", "c1"));
    wait_until("its timer is armed", LIMIT, async || {
        service.metric("dt_stage_outcomes_total", "intake").await > 2.5
    })
    .await;
    publish(&service, &outside, &json!({ "summaryWindowSeconds": 1 })).await;
    let said = outside.ask(Say::direct("robot", "carol", "c2"), "You said: c1\nc2").await;
    assert_eq!(outside.read_in(&said.conversation).len(), 1);
    // The timer of the long window stays until it fires: a hint about nothing.
    service.idle().await;
}

#[tokio::test]
async fn what_a_window_collected_is_asked_together_when_the_window_goes() {
    let outside = Outside::start().await;
    let service = published(&outside, &json!({ "summaryWindowSeconds": 600 })).await;
    for text in ["one", "two"] {
        outside.say(Say::direct("robot", "ann", text));
    }
    wait_until("their timers are armed", LIMIT, async || {
        service.metric("dt_stage_outcomes_total", "intake").await > 1.5
    })
    .await;
    // Clocks of two processes may differ by a little.
    silence(&outside, Duration::from_millis(300)).await;
    publish(&service, &outside, &json!({ "summaryWindowSeconds": 0 })).await;
    silence(&outside, Duration::from_millis(300)).await;
    outside.ask(Say::direct("robot", "ann", "three"), "You said: three").await;
    assert_eq!(texts(&outside), ["one\ntwo", "three"]);
    // The timers of the long window stay until they fire: hints about nothing.
    service.idle().await;
}

#[tokio::test]
async fn what_waits_for_an_answer_keeps_its_window_when_another_is_published() {
    let outside = Outside::start().await;
    let service = published(&outside, &json!({ "queuedNotice": "none" })).await;
    let mut asked = vec![];
    for (timers, person, windows_s, merged) in [
        (1, "ann", [0, 2], &["second", "third", "fourth\nfifth"][..]),
        (2, "bob", [2, 0], &["second\nthird", "fourth", "fifth"][..]),
    ] {
        let window =
            |seconds: u8| json!({ "summaryWindowSeconds": seconds, "queuedNotice": "none" });
        publish(&service, &outside, &window(windows_s[0])).await;
        let logged = async || service.metric("dt_stage_outcomes_total", "intake").await;
        let before = logged().await;
        outside.expert.next(Next::Status { status: 202, retry_after: None, body: String::new() });
        outside.say(Say::direct("robot", person, "first"));
        asked.push("first");
        assert!(outside.expert.called(asked.len() as u64, LIMIT).await);
        for text in ["second", "third"] {
            outside.say(Say::direct("robot", person, text));
        }
        wait_until("they are in the log", LIMIT, async || logged().await > before + 2.5).await;
        // Clocks of two processes may differ by a little.
        silence(&outside, Duration::from_millis(300)).await;
        publish(&service, &outside, &window(windows_s[1])).await;
        silence(&outside, Duration::from_millis(300)).await;
        for text in ["fourth", "fifth"] {
            outside.say(Say::direct("robot", person, text));
        }
        wait_until("all are in the log", LIMIT, async || logged().await > before + 4.5).await;
        // All of it waits behind the open turn; only the end of that one's patience has a timer.
        service.settled_but_for(timers).await;
        let turn = outside.expert.calls().last().expect("a call").body["turnId"].clone();
        let path = format!("/api/turns/{}/reply", turn.as_str().expect("a turn id"));
        service.admin().done("POST", &path, &json!({ "text": "late" })).await;
        asked.extend(merged);
        assert!(outside.expert.called(asked.len() as u64, LIMIT).await);
        assert_eq!(texts(&outside), asked, "{person}");
    }
    // The timers of the late answers stay until they fire: hints about nothing.
    service.idle().await;
}

#[tokio::test]
async fn a_stop_ends_an_answer_between_two_of_its_messages() {
    let outside = Outside::start().await;
    let service = published(&outside, &json!({ "queuedNotice": "none" })).await;
    let mut slow = Fault::new("webhook", Outcome::Slow);
    slow.delay_ms = 5000;
    outside.cloud.fault(slow);
    outside.say(Say::direct("robot", "ann", "long 40000"));
    wait_until("the first message is under way", LIMIT, async || {
        outside.cloud.book().since(0, usize::MAX).iter().any(|it| it.kind == Kind::Faulted)
    })
    .await;
    let said = outside.ask(Say::direct("robot", "ann", "/stop"), "Stopped.").await;
    let read = outside.read_in(&said.conversation);
    assert_eq!(read.len(), 2, "one of three, and the word: {read:?}");
    service.finish().await;
}

#[tokio::test]
async fn a_stop_ends_two_hundred_waiting_messages_at_once() {
    let outside = Outside::start().await;
    let service = published(&outside, &json!({ "queuedNotice": "none" })).await;
    let hang = Act { deltas: vec![], pause: Duration::ZERO, end: End::Hang };
    outside.expert.next(Next::Act(hang));
    outside.say(Say::direct("robot", "ann", "think"));
    assert!(outside.expert.called(1, LIMIT).await);
    for number in 0..200 {
        outside.say(Say::direct("robot", "ann", &format!("m{number}")));
    }
    let began = Instant::now();
    outside.ask(Say::direct("robot", "ann", "/stop"), "Stopped.").await;
    report(&format!("measured: 200 messages stopped after {:?}", began.elapsed()));
    let said = outside.ask(Say::direct("robot", "ann", "next"), "You said: next").await;
    assert_eq!(texts(&outside), ["think", "next"]);
    assert_eq!(outside.read_in(&said.conversation), ["Stopped.", "You said: next"]);

    // The same for those that wait for an expert that is paused.
    let admin = service.admin();
    admin.done("POST", "/api/runtimes/expert/pause", &Value::Null).await;
    for number in 0..200 {
        outside.say(Say::direct("robot", "bob", &format!("m{number}")));
    }
    let said = outside.ask(Say::direct("robot", "bob", "/stop"), "Stopped.").await;
    admin.done("POST", "/api/runtimes/expert/resume", &Value::Null).await;
    outside.ask(Say::direct("robot", "bob", "next"), "You said: next").await;
    assert_eq!(outside.read_in(&said.conversation), ["Stopped.", "You said: next"]);
    assert_eq!(texts(&outside), ["think", "next", "next"]);
    service.finish().await;
}

#[tokio::test]
async fn who_says_more_while_an_expert_is_paused_keeps_their_place_in_the_line() {
    let outside = Outside::start().await;
    let service = published(&outside, &json!({ "queuedNotice": "none" })).await;
    let admin = service.admin();
    admin.done("POST", "/api/runtimes/expert/pause", &Value::Null).await;
    let people = ["ann", "bob", "carol"];
    for (count, person) in (1..).zip(people) {
        outside.say(Say::direct("robot", person, &format!("{person} 1")));
        wait_until("it waits", LIMIT, async || {
            service.metric("dt_stage_outcomes_total", "dispatch").await > f64::from(count) - 0.5
        })
        .await;
    }
    outside.say(Say::direct("robot", "ann", "ann 2"));
    wait_until("ann's conversation was looked at again", LIMIT, async || {
        service.metric("dt_stage_outcomes_total", "dispatch").await > 3.5
    })
    .await;
    service.idle().await;
    admin.done("POST", "/api/runtimes/expert/resume", &Value::Null).await;
    assert!(outside.expert.called(4, LIMIT).await);
    let first: Vec<_> = texts(&outside).into_iter().filter(|text| text.ends_with('1')).collect();
    assert_eq!(first, ["ann 1", "bob 1", "carol 1"]);
    service.finish().await;
}
