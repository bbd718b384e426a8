//! SIGKILL in the middle of 500 messages, in both modes, of `up` alone and of all that it started.
//!
//! What was acknowledged is answered after the restart; what was not is pushed again by DingTalk.

use std::time::Duration;

use dingtalk_trigger::sim::dingtalk::message::Say;
use serde_json::json;
use tokio::time::Instant;

use crate::support::oracle::{answered, assert_turns_in_order, doubt, judge, mark};
use crate::support::outside::Outside;
use crate::support::program::report;
use crate::support::service::{Service, callback};
use crate::support::wait::wait_until;

const MESSAGES: usize = 500;
const CONVERSATIONS: usize = 40;
const LIMIT: Duration = Duration::from_secs(90);

const UNLIMITED: [(&str, &str); 2] = [("DT_SEND_RATE", "0"), ("DT_WEBHOOK_RATE", "0")];

/// Whom the kill reaches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Alone,
    Group,
}

/// Every other conversation is in a group.
fn say(number: usize) -> Say {
    let conversation = number % CONVERSATIONS;
    let text = mark(conversation, number / CONVERSATIONS);
    let person = format!("person{conversation}");
    match conversation % 2 {
        0 => Say::direct("robot", &person, &text),
        _ => Say::group("robot", &format!("cid-group{conversation}"), &person, &text),
    }
}

async fn check(outside: &Outside, mut service: Service, reach: Reach) {
    service.admin().publish("expert", "robot", &json!({ "runtime": callback(outside) })).await;
    for number in 0..MESSAGES / 2 {
        outside.say(say(number));
    }
    wait_until("a part is answered", LIMIT, async || answered(&outside.cloud) >= MESSAGES / 8)
        .await;
    // More arrive while the process dies.
    for number in MESSAGES / 2..MESSAGES * 3 / 4 {
        outside.say(say(number));
    }
    match reach {
        Reach::Alone => service.kill().await,
        Reach::Group => service.kill_group().await,
    }
    let (killed_at, killed) = (outside.now_ms(), Instant::now());
    let before = answered(&outside.cloud);
    assert!(before < MESSAGES * 3 / 4, "the kill came too late");
    // And while it is away.
    for number in MESSAGES * 3 / 4..MESSAGES {
        outside.say(say(number));
    }
    let ready = service.restart().await;
    // The simulator reads what the dead process had sent while the new one starts.
    let ready_at = outside.now_ms();
    wait_until("an answer after the restart", LIMIT, async || answered(&outside.cloud) > before)
        .await;
    let first = killed.elapsed();
    wait_until("every message is answered", LIMIT, async || answered(&outside.cloud) == MESSAGES)
        .await;
    let all = killed.elapsed();
    service.settled().await;
    let verdict = judge(&outside.cloud, &[doubt(killed_at, ready_at)]);
    let ambiguous = service.metric("dt_ambiguous_sends_total", "").await;
    report(&format!(
        "measured: {before} answered at the kill; ready again after {ready:?}, first answer {first:?}, \
         all {all:?} after the kill; {} doubled, {ambiguous} counted ambiguous",
        verdict.doubled
    ));
    verdict.assert_good(ambiguous);
    assert_turns_in_order(&outside.expert.calls());
    service.finish().await;
}

#[tokio::test]
async fn stream_messages_survive_a_kill_of_up_alone() {
    let outside = Outside::start().await;
    let service = Service::start_with(&outside, &UNLIMITED).await;
    service.stream_robot(&outside, "robot").await;
    check(&outside, service, Reach::Alone).await;
}

#[tokio::test]
async fn http_messages_survive_a_kill_of_the_whole_group() {
    let outside = Outside::start().await;
    let service = Service::start_with(&outside, &UNLIMITED).await;
    service.http_robot(&outside, "robot").await;
    check(&outside, service, Reach::Group).await;
}
