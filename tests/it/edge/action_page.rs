//! The page behind a signed link, as a browser meets it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use dingtalk_trigger::domain::binding::Mode;
use dingtalk_trigger::domain::entry::{ActionKind, ControlKind, Entry};
use dingtalk_trigger::domain::id::IntegrationId;
use dingtalk_trigger::domain::inbound::PlaceKind;
use dingtalk_trigger::edge::accept::{self, Decision};
use dingtalk_trigger::edge::action_page;
use dingtalk_trigger::edge::stream::Outcome;
use dingtalk_trigger::protocol::action::{Kind, Link};
use dingtalk_trigger::protocol::{stream, subject};
use futures_util::FutureExt;
use serde_json::Value;

use crate::edge::{Bench, integration, message};

const TURN: &str = "http.abcdefghijklmnopqrstuvwx23.42";

fn link(bench: &Bench, kind: Kind) -> Link {
    Link {
        kind,
        integration: IntegrationId::parse("http").unwrap(),
        conversation_id: "cid6EU+/sg==".to_owned(),
        sender_id: "$:LWCP_v1:$a".to_owned(),
        staff_id: Some("staff1".to_owned()),
        place_kind: Some(PlaceKind::Group),
        turn: Some(TURN.parse().unwrap()),
        expires_at: bench.context.clock.now().after(Duration::from_secs(60)),
    }
}

#[tokio::test]
async fn a_look_changes_nothing_a_post_acts_and_a_second_post_is_gone() {
    let bench = Bench::start().await;
    let url = link(&bench, Kind::Confirm).to_url(&bench.base, &bench.key);
    for _ in 0..2 {
        let page = bench.client.get(&url).send().await.unwrap();
        assert_eq!(page.status(), 200);
        assert_eq!(page.headers()["cache-control"], "no-store");
        let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        let html = page.text().await.unwrap();
        assert!(html.contains("method=\"post\"") && html.contains(".submit()"), "{html}");
        assert!(html.contains("Confirm?") && !html.contains("确认"), "{html}");
    }
    assert_eq!(bench.client.head(&url).send().await.unwrap().status(), 200);
    assert!(bench.logged().await.is_empty());
    let done = bench.client.post(&url).send().await.unwrap();
    assert_eq!(done.status(), 200);
    assert!(done.text().await.unwrap().contains("Confirmed."));
    let again = bench.client.post(&url).send().await.unwrap();
    assert_eq!(again.status(), 410);
    assert!(again.text().await.unwrap().contains("was used"));
    let logged = bench.logged().await;
    assert_eq!(logged.len(), 1);
    let Entry::Action(action) = &logged[0].1 else { panic!("not an action") };
    assert_eq!((&action.kind, action.turn.to_string()), (&ActionKind::Confirm, TURN.to_owned()));
    assert_eq!(action.by.user_id(), "staff1");
    bench.finish().await;
}

#[tokio::test]
async fn a_message_that_comes_behind_a_followed_link_does_not_overtake_it() {
    let bench = Bench::start().await;
    let (robot, said) = (integration("http", Mode::Http), message("m1", "never mind"));
    let Ok(Decision::Publish(decided)) = accept::robot(&robot, &(&said).into()) else {
        panic!("it is published");
    };
    let turn = format!("http.{}.42", decided.conversation.key).parse().unwrap();
    let followed = Link { turn: Some(turn), ..link(&bench, Kind::Confirm) };
    let url = followed.to_url("", &bench.key);
    let query = url.split_once('?').map(|(_, query)| query.to_owned());
    // Both have arrived, one behind the other, before either gets on.
    let held = bench.edge.order.enter(&decided.conversation).await;
    let edge = Arc::new(bench.edge.clone());
    let mut first = Box::pin(action_page::post(State(edge), RawQuery(query)));
    let mut second = Box::pin(bench.edge.take_frame(&robot, stream::Kind::Bot, said));
    assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
    drop(held);
    let (page, outcome) = futures_util::future::join(first, second).await;
    assert_eq!((page.status().as_u16(), outcome), (200, Outcome::Ack(Value::Null)));
    let logged = bench.logged().await;
    assert!(
        matches!(logged.as_slice(), [(_, Entry::Action(_)), (_, Entry::Message(_))]),
        "{logged:?}"
    );
    bench.finish().await;
}

#[tokio::test]
async fn an_end_without_a_turn_ends_the_persons_conversation() {
    let bench = Bench::start().await;
    let made = Link { turn: None, ..link(&bench, Kind::End) };
    let done = bench.client.post(made.to_url(&bench.base, &bench.key)).send().await.unwrap();
    assert_eq!(done.status(), 200);
    let stream = bench.nats.jetstream().await.get_stream("DT_IN").await.unwrap();
    let expected =
        subject::conversation(&made.integration, &made.conversation_id, Some(&made.sender_id));
    let sequence = stream.cached_info().state.last_sequence;
    let stored = stream.get_raw_message(sequence).await.unwrap();
    assert_eq!(stored.subject.as_str(), subject::log(&expected));
    let logged = bench.logged().await;
    let Entry::Control(control) = &logged[0].1 else { panic!("not a control entry") };
    assert_eq!(control.kind, ControlKind::End);
    bench.finish().await;
}

#[tokio::test]
async fn a_wrong_link_is_403_and_an_expired_one_410_in_both_languages() {
    let bench = Bench::start().await;
    let good = link(&bench, Kind::End).to_url(&bench.base, &bench.key);
    let expired = Link { expires_at: bench.context.clock.now(), ..link(&bench, Kind::End) };
    let removed = Link {
        integration: IntegrationId::parse("gone").unwrap(),
        turn: None,
        ..link(&bench, Kind::End)
    };
    let address = format!("{}/api/dingtalk/action", bench.base);
    let cases = [
        (good.replace("dingtalk%3Aend", "dingtalk%3Areject"), 403, "此链接无效"),
        (good.replace("exp=1", "exp=2"), 403, "This link is not valid"),
        (format!("{good}&x=1"), 403, "此链接无效"),
        (format!("{address}?action=dingtalk:end"), 403, "此链接无效"),
        (address, 403, "此链接无效"),
        (expired.to_url(&bench.base, &bench.key), 410, "此链接已过期"),
        (removed.to_url(&bench.base, &bench.key), 410, "This link has expired"),
    ];
    for (url, status, says) in cases {
        for request in [bench.client.get(&url), bench.client.post(&url)] {
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), status, "{url}");
            let html = response.text().await.unwrap();
            assert!(html.contains(says) && !html.contains("<form"), "{html}");
        }
    }
    assert!(bench.logged().await.is_empty());
    bench.finish().await;
}

#[tokio::test]
async fn without_the_broker_the_page_says_try_again() {
    let mut bench = Bench::start().await;
    let url = link(&bench, Kind::Reject).to_url(&bench.base, &bench.key);
    bench.nats.kill();
    let response = bench.client.post(&url).send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    bench.nats.restart().await;
    bench.finish().await;
}
