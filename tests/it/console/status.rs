//! The status of one integration, and of the whole service.

use std::time::Duration;

use dingtalk_trigger::domain::id::IntegrationId;
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::io::store::events::Seen;
use dingtalk_trigger::protocol::live::{self, Link, LinkState, Member};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Console;

const KEPT: Duration = Duration::from_secs(60);

async fn put_link(console: &Console, pod: &str, state: LinkState, error: Option<&str>) {
    let link = Link {
        pod: pod.to_owned(),
        state,
        since_ms: 1_000,
        last_frame_at_ms: Some(2_000),
        last_error: error.map(str::to_owned),
    };
    let key = live::link_key(&IntegrationId::parse("s").unwrap(), pod);
    console.live.put(&key, live::write(&link), KEPT).await.unwrap();
}

#[tokio::test]
async fn a_stream_integration_shows_its_connections() {
    let console = Console::start().await;
    let robot =
        json!({ "id": "s", "name": "S", "mode": "stream", "clientId": "c", "clientSecret": "s" });
    console.post("/api/integrations", robot).await;
    let (status, shown) = console.get("/api/integrations/s/status").await;
    assert_eq!(
        (status, &shown["mode"], &shown["state"]),
        (200, &json!("stream"), &json!("disconnected"))
    );
    assert_eq!((&shown["connections"], &shown["trigger"]), (&json!([]), &Value::Null));
    put_link(&console, "edge-1", LinkState::Retrying, Some("refused")).await;
    let (_, shown) = console.get("/api/integrations/s/status").await;
    assert_eq!((&shown["state"], &shown["lastError"]), (&json!("retrying"), &json!("refused")));
    put_link(&console, "edge-1", LinkState::Connected, None).await;
    console.put("/api/triggers/e", json!({ "integrationId": "s" })).await;
    let (_, shown) = console.get("/api/integrations/s/status").await;
    assert_eq!((&shown["state"], &shown["trigger"]["xpertId"]), (&json!("connected"), &json!("e")));
    assert_eq!(
        shown["connections"],
        json!([{ "pod": "edge-1", "since": "1970-01-01T00:00:01Z", "lastFrameAt": "1970-01-01T00:00:02Z" }])
    );
    assert_eq!(console.get("/api/integrations/none/status").await.0, 404);
}

#[tokio::test]
async fn what_a_killed_pod_left_behind_does_not_count_as_a_connection() {
    let console = Console::start().await;
    let robot =
        json!({ "id": "s", "name": "S", "mode": "stream", "clientId": "c", "clientSecret": "s" });
    console.post("/api/integrations", robot).await;
    let member = Member { pod: "edge-1".to_owned(), is_leaving: false };
    console.live.put(&live::member_key("edge-1"), live::write(&member), KEPT).await.unwrap();
    put_link(&console, "edge-1", LinkState::Connected, None).await;
    for (later_ms, state, connections) in
        [(0, "connected", json!(["edge-1"])), (9_500, "disconnected", json!([]))]
    {
        console.context.clock.set_offset_ms(later_ms);
        let (_, shown) = console.get("/api/integrations/s/status").await;
        let pods: Vec<_> =
            shown["connections"].as_array().unwrap().iter().map(|it| &it["pod"]).collect();
        assert_eq!((&shown["state"], json!(pods)), (&json!(state), connections), "{later_ms}");
        let (_, shown) = console.get("/api/status").await;
        let known = shown["connections"].as_array().unwrap().iter().any(|it| it["state"] == state);
        assert_eq!(known, state == "connected", "{shown}");
    }
}

#[tokio::test]
async fn without_a_broker_one_look_says_so_soon() {
    let mut console = Console::start().await;
    console.nats.kill();
    let begun = Instant::now();
    let (status, shown) = console.get("/api/status").await;
    // Its ten questions wait 3 s each, together.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!((status, &shown["database"]["ok"]), (200, &json!(true)), "{shown}");
    for part in ["streams", "consumers"] {
        let answers = shown[part].as_array().unwrap();
        assert!(answers.iter().all(|it| it["error"].is_string()), "{part}: {shown}");
    }
    for part in ["pods", "connections"] {
        assert!(shown[part]["error"].is_string(), "{part}: {shown}");
    }
    assert_eq!(shown["lag"], json!({ "intake": null, "due": null, "dispatch": null }));
}

#[tokio::test]
async fn an_http_integration_shows_its_callbacks() {
    let console = Console::start().await;
    console.robot("r").await;
    let (_, shown) = console.get("/api/integrations/r/status").await;
    assert_eq!(shown["state"], "http");
    assert_eq!(shown["callback"], json!({ "verifiedAt": null, "lastRejected": null }));
    let seen = Seen {
        verified_at: Some(Timestamp(1_000)),
        rejected: Some((Timestamp(2_000), "SIGNATURE_MISMATCH".to_owned())),
        last_event_at: Some(Timestamp(3_000)),
        last_error: Some((Timestamp(4_000), "quota".to_owned())),
    };
    console.store.put_seen(&[(IntegrationId::parse("r").unwrap(), seen)]).await.unwrap();
    let (_, shown) = console.get("/api/integrations/r/status").await;
    assert_eq!(
        shown["callback"],
        json!({
            "verifiedAt": "1970-01-01T00:00:01Z",
            "lastRejected": { "at": "1970-01-01T00:00:02Z", "code": "SIGNATURE_MISMATCH" },
        })
    );
    assert_eq!(
        (&shown["lastEventAt"], &shown["lastError"]),
        (&json!("1970-01-01T00:00:03Z"), &json!("quota"))
    );
    // What came with the error is no sign that it is over; what comes after it is.
    for (at, expected) in [(4_000, json!("quota")), (4_001, Value::Null)] {
        let seen = Seen { last_event_at: Some(Timestamp(at)), ..Seen::default() };
        console.store.put_seen(&[(IntegrationId::parse("r").unwrap(), seen)]).await.unwrap();
        let (_, shown) = console.get("/api/integrations/r/status").await;
        assert_eq!(shown["lastError"], expected, "{at}");
    }
}

#[tokio::test]
async fn one_look_shows_streams_consumers_pods_and_connections() {
    let console = Console::start().await;
    let member = Member { pod: "edge-1".to_owned(), is_leaving: false };
    console.live.put(&live::member_key("edge-1"), live::write(&member), KEPT).await.unwrap();
    put_link(&console, "edge-1", LinkState::Connected, None).await;
    let (status, shown) = console.get("/api/status").await;
    assert_eq!(status, 200);
    let names: Vec<_> = shown["streams"].as_array().unwrap().iter().map(|s| &s["name"]).collect();
    assert_eq!(names, ["DT_IN", "DT_TIMER", "DT_RUN", "DT_JOURNAL", "DT_HANDOFF", "DT_DEAD"]);
    assert!(shown["streams"].as_array().unwrap().iter().all(|s| s["messages"] == 0), "{shown}");
    assert_eq!(shown["lag"], json!({ "intake": 0, "due": 0, "dispatch": 0 }));
    assert_eq!(shown["pods"][0]["pod"], "edge-1");
    assert_eq!(
        shown["connections"],
        json!([{ "integrationId": "s", "state": "connected", "pods": ["edge-1"] }])
    );
    assert_eq!((&shown["ready"], &shown["database"]["ok"]), (&json!(true), &json!(true)));
}
