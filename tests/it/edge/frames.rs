//! Stream frames on the same road as callbacks: acknowledged only when the log has them, and counted.

use dingtalk_trigger::domain::binding::Mode;
use dingtalk_trigger::edge::stream::Outcome;
use dingtalk_trigger::protocol::stream::Kind;
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
    let too_large = message("m3", &"x".repeat(ENTRY_MAX_BYTES));
    let cases = [
        (Kind::Bot, message("m1", "one"), nothing.clone(), "accepted"),
        (Kind::Bot, message("m1", "one"), nothing.clone(), "duplicate"),
        (Kind::Bot, unmentioned, nothing, "ignored_not_mentioned"),
        (Kind::Bot, json!({}), Outcome::Unreadable, "MALFORMED"),
        (Kind::Bot, too_large, Outcome::Unreadable, "PAYLOAD_TOO_LARGE"),
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
async fn a_frame_that_the_log_cannot_take_is_not_acknowledged() {
    let mut bench = Bench::start().await;
    bench.nats.kill();
    let robot = integration("stream", Mode::Stream);
    let outcome = bench.edge.take_frame(&robot, Kind::Bot, message("m1", "one")).await;
    assert_eq!(outcome, Outcome::NoAck);
    bench.nats.restart().await;
    bench.finish().await;
}
