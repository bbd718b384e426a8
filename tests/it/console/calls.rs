//! What holds for every call: the token, unreadable bodies, unknown fields, unknown addresses.

use std::time::Duration;

use dingtalk_trigger::console::database;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Console, TOKEN, error};
use crate::support::wait::wait_until;

#[tokio::test]
async fn without_the_admin_token_everything_is_401() {
    let console = Console::start().await;
    let wrong = [None, Some("Bearer"), Some("Bearer x"), Some("Basic x"), Some(TOKEN)];
    for path in ["/api/integrations", "/api/status", "/api/nothing"] {
        for header in wrong {
            let mut request = console.client.get(format!("{}{path}", console.url));
            if let Some(header) = header {
                request = request.header("Authorization", header);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status().as_u16(), 401, "{path} {header:?}");
            let body: Value = answer.json().await.unwrap();
            assert_eq!(error(&body).0, "UNAUTHORIZED");
        }
    }
    let lower = console.client.get(format!("{}/api/integrations", console.url));
    let lower = lower.header("Authorization", format!("bearer {TOKEN}")).send().await.unwrap();
    assert_eq!(lower.status().as_u16(), 200);
}

#[tokio::test]
async fn a_host_that_is_not_ours_is_421_before_the_token_is_looked_at() {
    let console = Console::start().await;
    let ask = async |host: &str, token: &str| {
        let request = console.client.get(format!("{}/api/integrations", console.url));
        let answer = request.header("Host", host).bearer_auth(token).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    for host in ["localhost:1", "10.0.0.7", "[::1]:8081", "console.example.org"] {
        assert_eq!(ask(host, TOKEN).await.0, 200, "{host}");
    }
    for host in ["evil.example.org", "localhost.evil.org:8081"] {
        for token in [TOKEN, "wrong"] {
            let (status, body) = ask(host, token).await;
            assert_eq!((status, error(&body).0), (421, "HOST_UNKNOWN"), "{host}");
        }
    }
    let metrics = console.context.metrics.render();
    assert!(metrics.contains("dt_admin_refused_total 0"), "{metrics}");
}

#[tokio::test]
async fn what_is_no_json_is_400_and_what_is_no_object_422() {
    let console = Console::start().await;
    let big = vec![b' '; 2 * 1024 * 1024];
    let cases: [(&[u8], u16); 7] = [
        (b"", 400),
        (b"{", 400),
        (b"{\"name\":\"\xff\"}", 400),
        (b"nonsense", 400),
        (b"[]", 422),
        (b"\"text\"", 422),
        (&big, 413),
    ];
    for (body, expected) in cases {
        let request = console.client.post(format!("{}/api/integrations", console.url));
        let answer = request.bearer_auth(TOKEN).body(body.to_vec()).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{} bytes", body.len());
        let body: Value = answer.json().await.unwrap();
        assert!(!error(&body).0.is_empty());
    }
}

#[tokio::test]
async fn an_unknown_field_is_refused_by_name_wherever_it_stands() {
    let console = Console::start().await;
    console.robot("r").await;
    let cases = [
        (Method::POST, "/api/integrations", json!({ "nmae": "x" }), "nmae"),
        (Method::PATCH, "/api/integrations/r", json!({ "id": "other" }), "id"),
        (Method::POST, "/api/triggers/validate", json!({ "xpert": "e" }), "xpert"),
        (Method::PUT, "/api/triggers/e", json!({ "sessionTimeout": 1 }), "sessionTimeout"),
        (
            Method::PUT,
            "/api/triggers/e",
            json!({ "runtime": { "kind": "echo", "uri": "x" } }),
            "runtime.uri",
        ),
        (Method::PUT, "/api/runtimes/e", json!({ "kind": "echo", "token": "x" }), "token"),
        (Method::PUT, "/api/runtimes/e", json!({ "kind": "echo", "url": "http://x" }), "url"),
    ];
    for (method, path, body, field) in cases {
        let (status, answer) = console.call(method, path, Some(body)).await;
        assert_eq!((status, error(&answer)), (422, ("UNKNOWN_FIELD", field)), "{answer}");
    }
    let (status, answer) = console.get("/api/integrations?page=2").await;
    assert_eq!((status, error(&answer)), (422, ("UNKNOWN_FIELD", "page")));
    let (status, answer) =
        console.put("/api/triggers/e", json!({ "integrationId": "r", "enabled": "yes" })).await;
    assert_eq!((status, error(&answer)), (422, ("INVALID_FIELD", "enabled")));
}

#[tokio::test]
async fn a_database_that_went_away_is_named_on_the_health_board() {
    let console = Console::start().await;
    assert_eq!(console.get("/api/integrations").await.0, 200);
    // As the role of its own does.
    console.context.spawn(database::watch(console.context.clone(), console.store.clone()));
    console.store.close().await;
    wait_until("the database is missing", Duration::from_secs(30), async || {
        console.context.health.missing().contains_key("database")
    })
    .await;
    assert_eq!(console.get("/api/integrations").await.0, 503);
}

#[tokio::test]
async fn unknown_addresses_and_methods_answer_as_json() {
    let console = Console::start().await;
    let (status, answer) = console.get("/api/nothing").await;
    assert_eq!((status, error(&answer).0), (404, "NOT_FOUND"));
    let (status, answer) = console.delete("/api/integrations").await;
    assert_eq!((status, error(&answer).0), (405, "METHOD_NOT_ALLOWED"));
}

#[tokio::test]
async fn lists_are_paged_and_their_limits_checked() {
    let console = Console::start().await;
    for id in ["a", "b", "c"] {
        console.robot(id).await;
    }
    let (_, first) = console.get("/api/integrations?limit=2").await;
    assert_eq!(first["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(first["next"], "b");
    let (_, second) = console.get("/api/integrations?limit=2&after=b").await;
    assert_eq!(second["items"][0]["id"], "c");
    assert_eq!(second["next"], Value::Null);
    for bad in ["0", "201", "x", "-1"] {
        let (status, answer) = console.get(&format!("/api/integrations?limit={bad}")).await;
        assert_eq!((status, error(&answer).1), (422, "limit"), "{bad}");
    }
}
