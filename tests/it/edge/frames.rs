//! Stream frames on the same road as callbacks: acknowledged only when the log has them, and counted.

use dingtalk_trigger::domain::binding::Mode;
use dingtalk_trigger::domain::entry::Entry;
use dingtalk_trigger::edge::accept::{self, Decision};
use dingtalk_trigger::edge::stream::Outcome;
use dingtalk_trigger::protocol::stream::Kind;
use futures_util::FutureExt;
use serde_json::{Value, json};

use crate::edge::{Bench, ENTRY_MAX_BYTES, integration, message};

#[tokio::test]
async fn each_frame_is_acknowledged_by_what_became_of_it() {
    let bench = Bench::start().await;
    let robot = integration("stream", Mode::Stream);
    let content = json!({"cardPrivateData": {"actionIds": ["reject"]}}).to_string();
    let press = |track: &str| json!({"outTrackId": track, "userId": "staff1", "content": content});
    let mut unmentioned = message("m2", "two");
    unmentioned["conversationType"] = json!("2");
    let (nothing, unchanged) = (Outcome::Ack(Value::Null), Outcome::Ack(json!({})));
    let turn = "stream.abcdefghijklmnopqrstuvwx23.42";
    let cases = [
        (Kind::Bot, message("m1", "one"), nothing.clone(), "accepted"),
        (Kind::Bot, message("m1", "one"), nothing.clone(), "duplicate"),
        (Kind::Bot, unmentioned, nothing, "ignored_not_mentioned"),
        (Kind::Bot, json!({}), Outcome::Unreadable, "MALFORMED"),
        (Kind::Card, press(turn), unchanged.clone(), "accepted"),
        (Kind::Card, press("somebody-else"), unchanged, "ignored_foreign_card"),
        (Kind::Card, json!({"outTrackId": turn}), Outcome::Unreadable, "MALFORMED"),
    ];
    for (kind, value, expected, _) in &cases {
        let outcome = bench.edge.take_frame(&robot, *kind, value.clone()).await;
        assert_eq!(outcome, *expected, "{value}");
    }
    let metrics = bench.context.metrics.render();
    for (_, _, _, result) in &cases {
        let count = cases.iter().filter(|case| case.3 == *result).count();
        let labels = format!(r#"integration="stream",mode="stream",result="{result}""#);
        let line = format!("dt_inbound_total{{{labels}}} {count}");
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
    let ids: Vec<String> = bench.logged().await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], "stream:m1");
    assert!(ids[1].starts_with("stream:card:"));
    bench.finish().await;
}

#[tokio::test]
async fn a_message_that_comes_behind_a_press_does_not_overtake_it() {
    let bench = Bench::start().await;
    let robot = integration("stream", Mode::Stream);
    let said = message("m1", "never mind");
    let Ok(Decision::Publish(decided)) = accept::robot(&robot, &(&said).into()) else {
        panic!("it is published");
    };
    let content = json!({"cardPrivateData": {"actionIds": ["confirm"]}}).to_string();
    let track = format!("stream.{}.42", decided.conversation.key);
    let press = json!({"outTrackId": track, "userId": "staff1", "content": content});
    // Both have arrived, one behind the other, before either gets on.
    let held = bench.edge.order.enter(&decided.conversation).await;
    let mut first = Box::pin(bench.edge.take_frame(&robot, Kind::Card, press));
    let mut second = Box::pin(bench.edge.take_frame(&robot, Kind::Bot, said));
    assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
    drop(held);
    let (first, second) = futures_util::future::join(first, second).await;
    assert_eq!((first, second), (Outcome::Ack(json!({})), Outcome::Ack(Value::Null)));
    let logged = bench.logged().await;
    assert!(
        matches!(logged.as_slice(), [(_, Entry::Action(_)), (_, Entry::Message(_))]),
        "{logged:?}"
    );
    bench.finish().await;
}

#[tokio::test]
async fn of_a_message_that_is_too_large_its_sender_remains_to_be_told() {
    let bench = Bench::start().await;
    let robot = integration("stream", Mode::Stream);
    let much = "x".repeat(ENTRY_MAX_BYTES);
    let segments: Vec<_> =
        (0..10_000).map(|_| json!({"type": "picture", "downloadCode": "c".repeat(64)})).collect();
    let mut rich = message("m2", "");
    rich["msgtype"] = json!("richText");
    rich["content"] = json!({ "richText": segments });
    let mut quoting = message("m3", "and this?");
    quoting["text"]["repliedMsg"] =
        json!({"msgType": "text", "msgId": "m0", "content": {"text": much}});
    // Here nothing is left that would fit.
    let mut endless = message("m4", "hello");
    endless["senderNick"] = json!(much);
    let told = Outcome::Ack(Value::Null);
    let cases = [
        (message("m1", &much), told.clone()),
        (rich, told.clone()),
        (quoting, told),
        (endless, Outcome::Unreadable),
    ];
    for (value, expected) in &cases {
        let outcome = bench.edge.take_frame(&robot, Kind::Bot, value.clone()).await;
        assert_eq!(outcome, *expected, "{}", value["msgId"]);
    }
    let mut ids = vec![];
    for (id, entry) in bench.logged().await {
        let Entry::Message(message) = entry else { panic!("{id} is no message") };
        assert!(message.is_unsupported() && message.quote.is_none(), "{id}");
        assert!(message.webhook.is_some(), "{id}: the way back stays");
        ids.push(id);
    }
    assert_eq!(ids, ["stream:m1", "stream:m2", "stream:m3"]);
    let metrics = bench.context.metrics.render();
    for (result, count) in [("PAYLOAD_TOO_LARGE", 4), ("accepted", 3)] {
        let labels = format!(r#"integration="stream",mode="stream",result="{result}""#);
        let line = format!("dt_inbound_total{{{labels}}} {count}");
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
    bench.finish().await;
}

#[tokio::test]
async fn a_frame_that_the_log_cannot_take_is_not_acknowledged() {
    let mut bench = Bench::start().await;
    bench.nats.kill();
    let robot = integration("stream", Mode::Stream);
    let outcome = bench.edge.take_frame(&robot, Kind::Bot, message("m1", "one")).await;
    assert_eq!(outcome, Outcome::NoAck);
    bench.nats.restart().await;
    bench.finish().await;
}
