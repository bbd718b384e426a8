//! From the gateway into the log: the edge as it runs, with a real broker and a real database.

use std::time::Duration;

use dingtalk_trigger::context::{Clock, Context};
use dingtalk_trigger::domain::binding::{Integration, Mode};
use dingtalk_trigger::edge::order::Order;
use dingtalk_trigger::edge::{Edge, stream};
use dingtalk_trigger::io::journal::Journal;
use dingtalk_trigger::io::live::Live;
use dingtalk_trigger::io::log::Log;
use dingtalk_trigger::io::routing::{Change, Routing};
use dingtalk_trigger::io::store::events::Recorder;
use dingtalk_trigger::protocol::action::Key;
use serde_json::json;

use super::gateway::{Gateway, callback};
use super::pod::{broker, integration, parts};
use crate::store::{note, store};
use crate::support::database::Sqlite;
use crate::support::nats::Nats;
use crate::support::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(20);

fn message(id: &str, msg_id: &str) -> String {
    let data = json!({
        "conversationId": "cid+/==", "conversationType": "1", "msgId": msg_id, "msgtype": "text",
        "text": {"content": "hello"}, "senderId": "$:LWCP_v1:$s", "senderNick": "N",
        "chatbotUserId": "$:LWCP_v1:$r", "createAt": 1_700_000_000_000_i64,
    });
    callback("/v1.0/im/bot/messages/get", id, &data)
}

#[tokio::test]
async fn a_message_is_in_the_log_when_it_is_acknowledged_and_only_once() {
    let mut server = Nats::start().await;
    server.leaves_work();
    let mut gateway = Gateway::start().await;
    let context = Context::new(Clock::system());
    let connection = broker(&context, &server).await;
    let database = Sqlite::fresh();
    let store = store(database.url()).await;
    let routing = Routing::start(&context, store.clone(), None).await.unwrap();
    let edge = Edge {
        context: context.clone(),
        log: Log::new(&connection, 64 * 1024),
        journal: Journal::new(&connection),
        routing: routing.clone(),
        recorder: Recorder::start(&context, store.clone()),
        action_key: Key::derive(&[7; 32], None),
        body_max_bytes: 1024,
        readers: dingtalk_trigger::context::body::Readers::default(),
        dedupe_window: Duration::from_secs(600),
        order: Order::default(),
    };
    stream::serve(edge, parts(&context, Live::new(&connection), "edge-0", &gateway.url));

    // Created while it runs, as the console does it.
    let robot = Integration { mode: Mode::Stream, ..(*integration("robot", "secret")).clone() };
    store.create_integration(&robot, &note("create")).await.unwrap();
    routing.announce(Change::Integration(robot.id.clone())).await;
    let mut peer = gateway.peer().await;

    peer.push(message("m-1", "msg-1"));
    assert_eq!(peer.acknowledged().await, "m-1");
    let entries = async || {
        let stream = server.jetstream().await.get_stream("DT_IN").await.unwrap();
        stream.cached_info().state.messages
    };
    assert_eq!(entries().await, 1);
    // The same again, as after a lost acknowledgement.
    peer.push(message("m-2", "msg-1"));
    assert_eq!(peer.acknowledged().await, "m-2");
    assert_eq!(entries().await, 1);

    server.kill();
    peer.push(message("m-3", "msg-2"));
    wait_until("it could not be stored", LIMIT, async || {
        context.metrics.render().contains("result=\"NOT_DURABLE\"} 1\n")
    })
    .await;
    server.restart().await;
    peer.push(message("m-4", "msg-2"));
    // The first acknowledgement since: the third message never got one.
    assert_eq!(peer.acknowledged().await, "m-4");
    let stream = server.jetstream().await.get_stream("DT_IN").await.unwrap();
    assert_eq!(stream.cached_info().state.messages, 2);
    assert!(context.finish(LIMIT).await);
}
