//! `/api/conversations`: lists and ending sessions, which appends control entries to the log.

use std::time::Duration;

use dingtalk_trigger::domain::entry::{ControlKind, Entry};
use dingtalk_trigger::domain::id::{Conversation, ExpertId, IntegrationId, Seq};
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::io::store::conversations::Session;
use dingtalk_trigger::protocol::subject;
use serde_json::{Value, json};

use super::{Console, error};

fn session(robot: &str, sender: &str, at: i64) -> Session {
    let integration = IntegrationId::parse(robot).unwrap();
    Session {
        conversation: subject::conversation(&integration, "cid", Some(sender)),
        expert: ExpertId::parse("e").unwrap(),
        thread: "thread".to_owned(),
        epoch: Seq(7),
        last_activity: Timestamp(at),
        timeout: Duration::from_secs(60),
        place_id: "cid".to_owned(),
        place_title: Some("Team".to_owned()),
        sender_id: sender.to_owned(),
        sender_name: format!("Name of {sender}"),
        is_ended: false,
    }
}

/// The kinds of control entries in a conversation's log.
async fn controls(console: &Console, conversation: &Conversation) -> Vec<ControlKind> {
    let log = &console.log;
    let mut found = Vec::new();
    let mut position = Seq(0);
    while let Some(logged) = log.first_after(conversation, position).await.unwrap() {
        position = logged.seq;
        if let Entry::Control(control) = logged.entry {
            found.push(control.kind);
        }
    }
    found
}

#[tokio::test]
async fn conversations_are_listed_latest_first_and_searched() {
    let console = Console::start().await;
    let now = console.context.clock.now().0;
    let mut rows =
        vec![session("a", "u1", now), session("a", "u2", 1_000), session("b", "u3", 2_000)];
    rows[2].is_ended = true;
    console.store.put_conversations(&rows).await.unwrap();
    let (status, all) = console.get("/api/conversations").await;
    assert_eq!(status, 200);
    let states: Vec<_> = all["items"].as_array().unwrap().iter().map(|i| &i["state"]).collect();
    assert_eq!(states, ["open", "ended", "expired"]);
    let last = &all["items"][2];
    assert_eq!(
        (&last["lastActivityAt"], &last["expiresAt"]),
        (&json!("1970-01-01T00:00:01Z"), &json!("1970-01-01T00:01:01Z"))
    );
    assert_eq!(last["key"], rows[1].conversation.key.as_str());
    assert_eq!(last["conversation"], json!({ "id": "cid", "title": "Team" }));
    assert_eq!(last["sender"], json!({ "id": "u2", "name": "Name of u2" }));
    let count = async |query: &str| {
        let (status, list) = console.get(&format!("/api/conversations?{query}")).await;
        assert_eq!(status, 200, "{list}");
        list["items"].as_array().unwrap().len()
    };
    for (query, expected) in
        [("integrationId=a", 2), ("xpertId=e", 3), ("xpertId=f", 0), ("q=OF%20U2", 1), ("q=%25", 0)]
    {
        assert_eq!(count(query).await, expected, "{query}");
    }
    let (_, first) = console.get("/api/conversations?limit=2").await;
    let next = first["next"].as_str().unwrap();
    let (_, rest) = console.get(&format!("/api/conversations?limit=2&after={next}")).await;
    assert_eq!((&rest["items"][0], &rest["next"]), (last, &Value::Null));
    for (query, field) in
        [("after=x", "after"), ("integrationId=a.b", "integrationId"), ("x=1", "x")]
    {
        let (status, answer) = console.get(&format!("/api/conversations?{query}")).await;
        assert_eq!((status, error(&answer).1), (422, field));
    }
}

#[tokio::test]
async fn ending_appends_a_control_entry() {
    let console = Console::start().await;
    console.nats.leaves_work();
    let one = session("a", "u1", 1_000);
    console.store.put_conversations(std::slice::from_ref(&one)).await.unwrap();
    let path = format!("/api/conversations/{}", one.conversation.key);
    assert_eq!(console.delete(&path).await.0, 204);
    assert_eq!(controls(&console, &one.conversation).await, [ControlKind::End]);
    assert_eq!(console.delete(&path).await.0, 204, "a second press does no harm");
    for unknown in ["short", "aaaaaaaaaaaaaaaaaaaaaaaaaa"] {
        let (status, answer) = console.delete(&format!("/api/conversations/{unknown}")).await;
        assert_eq!((status, error(&answer).0), (404, "CONVERSATION_NOT_FOUND"));
    }
}

#[tokio::test]
async fn all_sessions_of_an_integration_or_expert_end_at_once() {
    let console = Console::start().await;
    console.nats.leaves_work();
    let now = console.context.clock.now().0;
    let mut rows: Vec<_> = (0..120).map(|n| session("a", &format!("u{n}"), now - n)).collect();
    rows.push(session("b", "u", now));
    rows[0].is_ended = true;
    // One ran out an hour ago and may still have something open, one so long ago that nothing is.
    let day_ms = 24 * 3_600_000;
    rows[1].last_activity = Timestamp(now - 3_600_000);
    rows[2].last_activity = Timestamp(now - 9 * day_ms);
    console.store.put_conversations(&rows).await.unwrap();
    let (status, answer) = console.delete("/api/conversations?integrationId=a").await;
    assert_eq!((status, answer), (200, json!({ "ended": 117 })));
    for (row, ended) in [(0, 0), (1, 1), (2, 0), (119, 1), (120, 0)] {
        let controls = controls(&console, &rows[row].conversation).await;
        assert_eq!(controls, vec![ControlKind::End; ended], "{row}");
    }
    let (_, answer) = console.delete("/api/conversations?xpertId=e").await;
    assert_eq!(answer, json!({ "ended": 118 }));
    for query in ["", "?integrationId=a&xpertId=e", "?integration=a"] {
        let (status, _) = console.delete(&format!("/api/conversations{query}")).await;
        assert_eq!(status, 422, "{query}");
    }
}
