//! `/api/runtimes`: three kinds, their fields, leases.

use dingtalk_trigger::domain::id::ExpertId;
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::io::lease;
use reqwest::Method;
use serde_json::json;

use super::{Console, error};

const SECRET: &str = "whsec_MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0";

#[tokio::test]
async fn each_kind_is_shown_without_its_secret() {
    let console = Console::start().await;
    let cases = [
        json!({ "kind": "xpert", "baseUrl": "https://x.example/api", "apiKey": "the-key", "organizationId": "o" }),
        json!({ "kind": "callback", "url": "http://127.0.0.1:9/in", "secret": SECRET, "leaseSeconds": 30 }),
        json!({ "kind": "echo" }),
    ];
    for body in cases {
        let (status, put) = console.put("/api/runtimes/e", body.clone()).await;
        assert_eq!((status, &put["kind"]), (200, &body["kind"]), "{put}");
        let (status, shown) = console.get("/api/runtimes/e").await;
        assert_eq!((status, &shown), (200, &put));
        let text = shown.to_string();
        assert!(!text.contains("the-key") && !text.contains(SECRET), "{text}");
        for field in ["baseUrl", "organizationId", "url", "leaseSeconds"] {
            assert_eq!(shown[field], body[field], "{field}");
        }
    }
    let (_, list) = console.get("/api/runtimes").await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let keyed = json!({ "kind": "callback", "url": "https://x.example/in?code=the-code", "secret": SECRET });
    let (status, shown) = console.put("/api/runtimes/e", keyed).await;
    assert_eq!((status, &shown["url"]), (200, &json!("https://x.example/in?***")));
    assert_eq!(console.delete("/api/runtimes/e").await.0, 204);
    let (status, answer) = console.delete("/api/runtimes/e").await;
    assert_eq!((status, error(&answer).0), (404, "RUNTIME_NOT_FOUND"));
}

#[tokio::test]
async fn what_a_runtime_lacks_is_named() {
    let console = Console::start().await;
    let short = "whsec_c2hvcnQ=";
    let cases = [
        (json!({}), "kind"),
        (json!({ "kind": "grpc" }), "kind"),
        (json!({ "kind": "xpert", "apiKey": "k" }), "baseUrl"),
        (json!({ "kind": "xpert", "baseUrl": "ftp://x", "apiKey": "k" }), "baseUrl"),
        (json!({ "kind": "xpert", "baseUrl": "http://x" }), "apiKey"),
        (json!({ "kind": "callback", "url": "http://x" }), "secret"),
        (json!({ "kind": "callback", "url": "http://x", "secret": short }), "secret"),
        (json!({ "kind": "callback", "url": "x", "secret": SECRET }), "url"),
        (json!({ "kind": "callback", "secret": SECRET }), "url"),
        (json!({ "kind": "callback", "url": "https://a:b@x", "secret": SECRET }), "url"),
        (json!({ "kind": "xpert", "baseUrl": "https://a@x", "apiKey": "k" }), "baseUrl"),
        (json!({ "kind": "echo", "leaseSeconds": 0 }), "leaseSeconds"),
        (json!({ "kind": "echo", "leaseSeconds": 86_401 }), "leaseSeconds"),
        (json!({ "kind": "echo", "leaseSeconds": 1.5 }), "leaseSeconds"),
    ];
    for (body, field) in cases {
        let (status, answer) = console.put("/api/runtimes/e", body.clone()).await;
        assert_eq!((status, error(&answer).1), (422, field), "{body} {answer}");
    }
}

#[tokio::test]
async fn a_heartbeat_renews_a_lease_and_brings_a_lapsed_one_back() {
    let console = Console::start().await;
    let expert = ExpertId::parse("e").unwrap();
    let heartbeat = async || console.call(Method::POST, "/api/runtimes/e/heartbeat", None).await;
    assert_eq!(heartbeat().await.0, 404);
    console.put("/api/runtimes/e", json!({ "kind": "echo" })).await;
    let (status, answer) = heartbeat().await;
    assert_eq!((status, error(&answer).0), (409, "NO_LEASE"));
    console.put("/api/runtimes/e", json!({ "kind": "echo", "leaseSeconds": 100 })).await;
    let runtime = console.routing.runtime(&expert).await.unwrap().unwrap();
    let now = console.context.clock.now();
    assert!(lease::is_alive(&console.live, &runtime, now).await.unwrap());
    let end = lease::expires_at(&console.live, &expert).await.unwrap().unwrap();
    assert!(!lease::is_alive(&console.live, &runtime, Timestamp(end.0 + 1)).await.unwrap());
    let mut changes = console.routing.changes();
    assert_eq!(heartbeat().await.0, 204);
    assert!(lease::expires_at(&console.live, &expert).await.unwrap().unwrap() >= end);
    assert!(changes.try_recv().is_err(), "nothing changed");
    let alive = async |path: &str| console.get(path).await.1;
    assert_eq!(alive("/api/runtimes/e").await["alive"], true);
    lease::remove(&console.live, &expert).await.unwrap();
    assert_eq!(alive("/api/runtimes/e").await["alive"], false);
    assert_eq!(alive("/api/runtimes").await["items"][0]["alive"], false);
    assert!(!lease::is_alive(&console.live, &runtime, now).await.unwrap());
    assert_eq!(heartbeat().await.0, 204);
    assert!(changes.try_recv().is_ok(), "those who wait are told");
}
