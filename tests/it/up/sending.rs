//! Replies where DingTalk makes trouble: an expired webhook, limits, errors, tokens, cut connections.

use dingtalk_trigger::sim::dingtalk::fault::{Fault, Outcome};
use dingtalk_trigger::sim::dingtalk::message::Say;
use serde_json::json;

use crate::support::outside::Outside;
use crate::support::program::LIMIT;
use crate::support::service::{Service, echo};
use crate::support::wait::wait_until;

/// A message whose webhook has expired: its answer goes by the robot's API.
fn expired(mut say: Say) -> Say {
    say.extra.insert("sessionWebhookExpiredTime".to_owned(), json!(1000));
    say
}

#[tokio::test]
async fn an_expired_webhook_is_replaced_by_the_robots_api() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": echo() })).await;
    let direct = outside.ask(expired(Say::direct("robot", "ann", "direct")), "direct").await;
    assert_eq!(direct.detail, "oto");
    let group = Say::group("robot", "cid-team", "ann", "group");
    let group = outside.ask(expired(group), "group").await;
    assert_eq!(group.detail, "group");
    // DingTalk forgot the session before its time.
    outside.cloud.fault(Fault::preset("webhook", "sessionGone"));
    let gone = outside.ask(Say::direct("robot", "ann", "gone"), "gone").await;
    assert_eq!(gone.detail, "oto");
    // A token that DingTalk no longer knows is replaced within the same attempt.
    outside.cloud.revoke_tokens();
    outside.ask(expired(Say::direct("robot", "ann", "revoked")), "revoked").await;
    service.finish().await;
}

#[tokio::test]
async fn refused_and_cut_sends_are_tried_again_and_what_is_ambiguous_is_counted() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": echo() })).await;
    let mut counted = 0.0;
    for (name, api, outcome, is_ambiguous, read) in [
        ("qps", "oto", Outcome::Preset { name: "qps".to_owned() }, false, 1),
        ("token", "oto", Outcome::Preset { name: "tokenInvalid".to_owned() }, false, 1),
        ("too-fast", "webhook", Outcome::Preset { name: "tooMany".to_owned() }, false, 1),
        ("busy", "webhook", Outcome::Preset { name: "busy".to_owned() }, false, 1),
        ("unavailable", "oto", Outcome::Preset { name: "unavailable".to_owned() }, false, 1),
        ("internal", "oto", Outcome::Preset { name: "internal".to_owned() }, true, 1),
        ("reset", "webhook", Outcome::Reset, true, 1),
        ("accept", "webhook", Outcome::AcceptThenReset, true, 2),
        (
            "accept-500",
            "webhook",
            Outcome::AcceptThenAnswer { status: 500, body: json!({}) },
            true,
            2,
        ),
    ] {
        outside.cloud.fault(Fault::new(api, outcome));
        let say = Say::direct("robot", name, name);
        let say = if api == "oto" { expired(say) } else { say };
        let said = outside.say(say);
        // The second word comes after all attempts at the first.
        outside.ask(Say::direct("robot", name, "then"), "then").await;
        let texts = outside.read_in(&said.conversation);
        let (last, first) = texts.split_last().unwrap();
        assert_eq!(last, "then", "{name}: {texts:?}");
        assert_eq!(first, vec![name; read], "{name}");
        let now = service.metric("dt_ambiguous_sends_total", "").await;
        let expected = counted + f64::from(u8::from(is_ambiguous));
        assert!((now - expected).abs() < 0.1, "{name}: {now}, expected {expected}");
        counted = now;
    }
    service.finish().await;
}

#[tokio::test]
async fn an_error_of_dingtalk_is_tried_again() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": echo() })).await;
    for name in ["internal", "unavailable"] {
        outside.cloud.fault(Fault::preset("oto", name));
        let say = expired(Say::direct("robot", "ann", name));
        let answer = outside.ask(say, name).await;
        assert_eq!(answer.detail, "oto");
    }
    service.finish().await;
}

#[tokio::test]
async fn the_rate_of_a_webhook_holds_back_webhooks_alone() {
    let outside = Outside::start().await;
    let service = Service::start_with(&outside, &[("DT_WEBHOOK_RATE", "1")]).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": echo() })).await;
    // Four within a minute, of which the webhook takes one.
    for text in ["one", "two", "three"] {
        let answer = outside.ask(expired(Say::direct("robot", "ann", text)), text).await;
        assert_eq!(answer.detail, "oto");
    }
    let answer = outside.ask(Say::direct("robot", "ann", "four"), "four").await;
    assert_eq!(answer.detail, "webhook");
    service.finish().await;
}

#[tokio::test]
async fn a_status_that_may_have_been_said_is_said_again_and_counted() {
    let outside = Outside::start().await;
    let mut service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": echo() })).await;
    let ask = || outside.say(Say::direct("robot", "ann", "/status")).conversation;
    let read = async |conversation: String, count| {
        wait_until("the status is read", LIMIT, async || {
            outside.read_in(&conversation).len() == count
        })
        .await;
    };
    let counted = async |service: &Service| service.metric("dt_ambiguous_sends_total", "").await;
    outside.cloud.fault(Fault::new("webhook", Outcome::AcceptThenReset));
    read(ask(), 2).await;
    assert!((counted(&service).await - 1.0).abs() < 0.1);
    // Nobody hears how this post went: its process is killed meanwhile.
    outside.cloud.fault(Fault::new("webhook", Outcome::AcceptThenHang));
    let conversation = ask();
    read(conversation.clone(), 3).await;
    service.kill().await;
    service.restart().await;
    read(conversation, 4).await;
    assert!((counted(&service).await - 1.0).abs() < 0.1, "by the process that said it again");
    service.finish().await;
}
