//! Stream mode against a scripted gateway: what is acknowledged and when, how connections end and come
//! back, and who of several pods holds them.

pub(crate) mod gateway;
mod pod;
mod durable;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dingtalk_trigger::edge::stream::Outcome;
use dingtalk_trigger::protocol::live::LinkState;
use serde_json::json;
use tokio::time::Instant;

use self::gateway::{Gateway, Peer, bot, callback, ping, system};
use self::pod::{Handler, Integrations, Pod, integration};
use crate::support::nats::Nats;
use crate::support::wait::{wait_for, wait_until};

const LIMIT: Duration = Duration::from_secs(20);

async fn one(handler: Handler) -> (Nats, Gateway, Pod, Peer) {
    let server = Nats::start().await;
    let mut gateway = Gateway::start().await;
    let pod = Pod::of_one(&server, &gateway.url, handler).await;
    let peer = gateway.peer().await;
    (server, gateway, pod, peer)
}

#[tokio::test]
async fn a_message_is_acknowledged_when_it_is_durable_and_not_before() {
    let (_server, gateway, pod, mut peer) = one(Handler::held()).await;
    peer.push(bot("m-1", "cid", "msg-1"));
    wait_until("it is handled", LIMIT, async || !pod.handler.begun.lock().unwrap().is_empty())
        .await;
    peer.push(ping("p-1"));
    // The later ping is answered first: the message waits for the log.
    assert_eq!(
        peer.heard().await,
        json!({
            "code": 200, "headers": {"contentType": "application/json", "messageId": "p-1"},
            "message": "OK", "data": "{\"opaque\":\"0dcb\"}",
        })
    );
    pod.handler.gate.add_permits(1);
    assert_eq!(
        peer.heard().await,
        json!({
            "code": 200, "headers": {"contentType": "application/json", "messageId": "m-1"},
            "message": "OK", "data": "{\"response\":null}",
        })
    );
    let request = &gateway.requests()[0];
    assert_eq!(
        (&request["clientId"], &request["clientSecret"]),
        (&json!("robot"), &json!("secret"))
    );
    pod.stop().await;
}

#[tokio::test]
async fn what_is_not_durable_is_not_acknowledged_and_may_come_again() {
    let (_server, _gateway, pod, mut peer) = one(Handler::answering(Outcome::NoAck)).await;
    peer.push(bot("m-1", "cid", "msg-1"));
    wait_until("it is handled", LIMIT, async || !pod.handler.done.lock().unwrap().is_empty()).await;
    *pod.handler.outcome.lock().unwrap() = Outcome::Ack(json!(null));
    peer.push(bot("m-2", "cid", "msg-1"));
    assert_eq!(peer.acknowledged().await, "m-2");
    assert_eq!(*pod.handler.done.lock().unwrap(), ["msg-1", "msg-1"]);
    pod.stop().await;
}

#[tokio::test]
async fn a_card_is_answered_with_its_new_data() {
    let response = json!({"cardData": {"cardParamMap": {"k": "v"}}});
    let (_server, _gateway, pod, mut peer) = one(Handler::answering(Outcome::Ack(response))).await;
    let press = json!({"outTrackId": "robot.x.1", "userId": "staff"});
    peer.push(callback("/v1.0/card/instances/callback", "c-1", &press));
    let data = peer.heard().await["data"].as_str().unwrap().to_owned();
    assert_eq!(data, r#"{"response":{"cardData":{"cardParamMap":{"k":"v"}}}}"#);
    pod.stop().await;
}

#[tokio::test]
async fn one_conversation_is_handled_in_order_and_others_do_not_wait_for_it() {
    let (_server, _gateway, pod, mut peer) = one(Handler::held()).await;
    for (id, conversation) in [("1", "a"), ("2", "a"), ("3", "b"), ("4", "a")] {
        peer.push(bot(id, conversation, id));
    }
    wait_until("two begin", LIMIT, async || pod.handler.begun.lock().unwrap().len() == 2).await;
    assert_eq!(*pod.handler.begun.lock().unwrap(), ["1", "3"]);
    pod.handler.gate.add_permits(4);
    let mut acknowledged = Vec::new();
    for _ in 0..4 {
        acknowledged.push(peer.acknowledged().await);
    }
    acknowledged.retain(|id| id != "3");
    assert_eq!(acknowledged, ["1", "2", "4"]);
    pod.stop().await;
}

#[tokio::test]
async fn a_bad_frame_is_counted_and_the_connection_stays() {
    let (_server, mut gateway, pod, mut peer) = one(Handler::answering(Outcome::Unreadable)).await;
    let silent = ["garbage", "{}", "[]", r#"{"type":"SYSTEM","headers":{"topic":"KEEPALIVE"}}"#];
    for frame in silent {
        peer.push(frame);
    }
    peer.push(callback("/v1.0/graph/api/invoke", "u-1", &json!({})));
    assert_eq!(peer.heard().await["code"], 404);
    peer.push(bot("b-1", "cid", "msg-1"));
    assert_eq!(peer.heard().await["code"], 400);
    peer.push(ping("p-1"));
    assert_eq!(peer.acknowledged().await, "p-1");
    let metrics = pod.context.metrics.render();
    for (result, count) in [("malformed_json", 1), ("malformed_topic", 2), ("ignored_topic", 1)] {
        let line = format!(
            "dt_inbound_total{{integration=\"robot\",mode=\"stream\",result=\"{result}\"}} {count}\n"
        );
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    assert!(gateway.try_peer().is_none());
    pod.stop().await;
}

#[tokio::test]
async fn an_event_is_acknowledged_and_counted_by_its_type() {
    let (_server, _gateway, pod, mut peer) = one(Handler::answering(Outcome::NoAck)).await;
    for (id, kind) in [("e-1", "user_add_org"), ("e-2", "chat disband"), ("e-3", "user_add_org")] {
        let headers = json!({ "topic": "*", "messageId": id, "eventType": kind });
        peer.push(json!({ "type": "EVENT", "headers": headers, "data": "{}" }).to_string());
        let ack = peer.heard().await;
        assert_eq!((&ack["code"], &ack["headers"]["messageId"]), (&json!(200), &json!(id)));
    }
    let metrics = pod.context.metrics.render();
    for line in [
        r#"dt_events_total{integration="robot",kind="user_add_org"} 2"#,
        r#"dt_events_total{integration="robot",kind="other"} 1"#,
        r#"dt_inbound_total{integration="robot",mode="stream",result="ignored_event"} 3"#,
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    pod.stop().await;
}

#[tokio::test]
async fn a_frame_that_is_too_large_is_refused_by_its_id_and_the_connection_stays() {
    let (_server, mut gateway, pod, mut peer) = one(Handler::answering(Outcome::NoAck)).await;
    let text = "x".repeat(1024 * 1024);
    let large = json!({"msgId": "msg-1", "conversationId": "cid", "text": {"content": text}});
    peer.push(callback("/v1.0/im/bot/messages/get", "m-1", &large));
    let refused = peer.heard().await;
    assert_eq!((&refused["code"], &refused["headers"]["messageId"]), (&json!(400), &json!("m-1")));
    peer.push(ping("p-1"));
    assert_eq!(peer.acknowledged().await, "p-1");
    let metrics = pod.context.metrics.render();
    let line = "integration=\"robot\",mode=\"stream\",result=\"frame_too_large\"} 1\n";
    assert!(metrics.contains(line), "{metrics}");
    assert!(gateway.try_peer().is_none() && pod.handler.begun.lock().unwrap().is_empty());
    pod.stop().await;
}

#[tokio::test]
async fn an_announced_end_leaves_no_gap() {
    let (_server, mut gateway, pod, mut old) = one(Handler::held()).await;
    old.push(bot("m-1", "cid", "msg-1"));
    old.push(system("disconnect", "d-1", &json!({"reason": "connection is expired"})));
    let mut new = gateway.peer().await;
    assert!(old.is_open());
    // The old one still takes and acknowledges, through itself.
    old.push(bot("m-2", "other", "msg-2"));
    wait_until("both begin", LIMIT, async || pod.handler.begun.lock().unwrap().len() == 2).await;
    pod.handler.gate.add_permits(3);
    let mut acknowledged = [old.acknowledged().await, old.acknowledged().await];
    acknowledged.sort();
    assert_eq!(acknowledged, ["m-1", "m-2"]);
    new.push(bot("m-3", "cid", "msg-3"));
    assert_eq!(new.acknowledged().await, "m-3");
    old.closed().await;
    assert!(new.is_open());
    pod.stop().await;
}

#[tokio::test]
async fn what_a_lost_connection_brought_still_becomes_durable() {
    let (_server, mut gateway, pod, peer) = one(Handler::held()).await;
    peer.push(bot("m-1", "cid", "msg-1"));
    wait_until("it is handled", LIMIT, async || !pod.handler.begun.lock().unwrap().is_empty())
        .await;
    peer.close();
    let _next = gateway.peer().await;
    pod.handler.gate.add_permits(1);
    wait_until("it is through", LIMIT, async || !pod.handler.done.lock().unwrap().is_empty()).await;
    pod.stop().await;
}

#[tokio::test]
async fn a_silent_connection_is_replaced() {
    let (_server, mut gateway, pod, peer) = one(Handler::held()).await;
    peer.freeze();
    let mut next = gateway.peer().await;
    next.push(ping("p-1"));
    assert_eq!(next.acknowledged().await, "p-1");
    pod.stop().await;
}

#[tokio::test]
async fn a_kicked_connection_comes_back_ever_slower_and_says_why() {
    let (_server, mut gateway, pod, mut peer) = one(Handler::held()).await;
    let started = Instant::now();
    for _ in 0..2 {
        peer.push(ping("p-1"));
        peer.acknowledged().await;
        peer.close();
        peer = gateway.peer().await;
    }
    // At least half a second, then one, although each connection carried a frame.
    assert!(started.elapsed() >= Duration::from_millis(1500));
    peer.close();
    let link = wait_for("it waits", LIMIT, async || {
        pod.links("robot").await.into_iter().find(|link| link.state == LinkState::Retrying)
    })
    .await;
    assert!(link.last_error.unwrap().starts_with("the gateway closed the connection after "));
    pod.stop().await;
}

#[tokio::test]
async fn a_refusal_is_reported_and_tried_again() {
    let server = Nats::start().await;
    let mut gateway = Gateway::start().await;
    for _ in 0..3 {
        gateway.refuse(401, r#"{"requestid":"E","code":"authFailed","message":"no"}"#);
    }
    let pod = Pod::of_one(&server, &gateway.url, Handler::held()).await;
    let link = wait_for("it is reported", LIMIT, async || {
        pod.links("robot").await.into_iter().find(|link| link.state == LinkState::Retrying)
    })
    .await;
    assert!(link.last_error.unwrap().contains("clientId and clientSecret (authFailed no)"));
    let _peer = gateway.peer().await;
    let reported = Instant::now();
    wait_until("it is connected", LIMIT, async || {
        pod.links("robot").await.iter().any(|link| link.state == LinkState::Connected)
    })
    .await;
    assert!(
        reported.elapsed() < Duration::from_secs(8),
        "a report of its own, not the next in turn"
    );
    assert!(pod.context.metrics.render().contains("dt_stream_connected{integration=\"robot\"} 1"));
    pod.stop().await;
}

#[tokio::test]
async fn integrations_come_change_and_go_without_a_restart() {
    let server = Nats::start().await;
    let mut gateway = Gateway::start().await;
    let all: Integrations = Arc::default();
    let pod = Pod::start(&server, "edge-0", &gateway.url, &all, Handler::held()).await;
    *all.lock().unwrap() = vec![integration("robot", "one")];
    pod.hint.notify_one();
    let mut first = gateway.peer().await;
    *all.lock().unwrap() = vec![integration("robot", "two")];
    // No hint: it may be lost.
    let changed = Instant::now();
    let mut second = gateway.peer().await;
    assert!(changed.elapsed() < Duration::from_secs(10));
    first.closed().await;
    assert_eq!(gateway.requests()[1]["clientSecret"], "two");
    all.lock().unwrap().clear();
    pod.hint.notify_one();
    second.closed().await;
    wait_until("its state is gone", LIMIT, async || pod.links("robot").await.is_empty()).await;
    assert!(!pod.context.metrics.render().contains("dt_stream_connected{"));
    pod.stop().await;
}

/// Which of the peers are open, by client id.
fn open_ids(peers: &[Peer]) -> Vec<String> {
    let mut ids: Vec<_> =
        peers.iter().filter(|peer| peer.is_open()).map(|peer| peer.client_id.clone()).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn pods_share_the_integrations_and_hand_them_over_without_a_gap() {
    let server = Nats::start().await;
    let mut gateway = Gateway::start().await;
    let names: Vec<_> = (0..12).map(|i| format!("robot-{i:02}")).collect();
    let all: Integrations =
        Arc::new(Mutex::new(names.iter().map(|name| integration(name, "s")).collect()));
    let one = Pod::start(&server, "edge-0", &gateway.url, &all, Handler::held()).await;
    let mut peers = Vec::new();
    for _ in &names {
        peers.push(gateway.peer().await);
    }
    let other = Pod::start(&server, "edge-1", &gateway.url, &all, Handler::held()).await;
    let mut moved = 0;
    wait_until("some move, and each is held once", LIMIT, async || {
        while let Some(peer) = gateway.try_peer() {
            peers.push(peer);
            moved += 1;
        }
        let open = open_ids(&peers);
        assert!(names.iter().all(|name| open.contains(name)), "a gap: {open:?}");
        moved > 0 && open == names
    })
    .await;
    assert!(moved < names.len(), "{moved} moved");
    // A pod that stops keeps what it has until the other one is connected.
    let stopped = one.stop();
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            () = &mut stopped => break,
            () = tokio::time::sleep(Duration::from_millis(10)) => {
                while let Some(peer) = gateway.try_peer() {
                    peers.push(peer);
                }
                let open = open_ids(&peers);
                assert!(names.iter().all(|name| open.contains(name)), "a gap: {open:?}");
            }
        }
    }
    wait_until("the other holds all", LIMIT, async || open_ids(&peers) == names).await;
    other.stop().await;
}

#[tokio::test]
async fn without_a_broker_connections_stay_and_none_is_taken() {
    let (mut server, mut gateway, pod, peer) = {
        let server = Nats::start().await;
        let mut gateway = Gateway::start().await;
        let all: Integrations = Arc::new(Mutex::new(vec![integration("robot", "s")]));
        let pod = Pod::start(&server, "edge-0", &gateway.url, &all, Handler::held()).await;
        let peer = gateway.peer().await;
        server.leaves_work();
        (server, gateway, (pod, all), peer)
    };
    let (pod, all) = pod;
    server.kill();
    wait_until("the outage is noticed", LIMIT, async || {
        server.logs.lines().iter().any(|line| line.contains("takes no new connections"))
    })
    .await;
    all.lock().unwrap().push(integration("second", "s"));
    pod.hint.notify_one();
    // What is held is opened again even now.
    peer.push(system("disconnect", "d-1", &json!({})));
    let mut again = gateway.peer().await;
    assert_eq!(again.client_id, "robot");
    again.push(ping("p-1"));
    assert_eq!(again.acknowledged().await, "p-1");
    assert!(gateway.try_peer().is_none());
    server.restart().await;
    assert_eq!(gateway.peer().await.client_id, "second");
    pod.stop().await;
}
