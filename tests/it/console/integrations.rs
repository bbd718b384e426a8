//! `/api/integrations`, its test, and the two calls of Xpert's own pages.

use reqwest::Method;
use serde_json::{Value, json};

use super::{AES_KEY, Console, KNOWN_SECRET, REACHABLE, error, http_mode};
use crate::stream::gateway::Gateway;

#[tokio::test]
async fn an_integration_is_shown_without_its_secrets() {
    let console = Console::start().await;
    let made = console.robot("robot-1").await;
    let (status, shown) = console.get("/api/integrations/robot-1").await;
    assert_eq!((status, &shown), (200, &made));
    assert_eq!(
        shown["secrets"],
        json!({ "clientSecret": true, "callbackToken": true, "callbackAesKey": true })
    );
    let url = shown["callbackUrl"].as_str().unwrap();
    assert!(url.ends_with("/api/dingtalk/webhook/robot-1"), "{url}");
    assert_eq!((&shown["scope"], &shown["language"]), (&json!("sender"), &json!("zh-Hans")));
    assert!(shown["createdAt"].as_str().unwrap().ends_with('Z'));
    let (_, list) = console.get("/api/integrations").await;
    for text in [shown.to_string(), list.to_string()] {
        assert!(!text.contains(KNOWN_SECRET) && !text.contains(AES_KEY), "{text}");
    }
    let (status, answer) = console.post("/api/integrations", http_mode("robot-1")).await;
    assert_eq!((status, error(&answer).0), (409, "INTEGRATION_EXISTS"));
    let log = console.store.audit_log(&dingtalk_trigger::io::store::Page { after: None, limit: 9 });
    let log = log.await.unwrap();
    assert_eq!((log.len(), log[0].action.as_str()), (1, "integration.create"));
}

#[tokio::test]
async fn what_an_integration_lacks_is_named() {
    let console = Console::start().await;
    let cases = [
        ("id", json!("Robot")),
        ("id", json!("replay")),
        ("id", json!("-r")),
        ("id", json!("a".repeat(41))),
        ("name", json!("")),
        ("name", json!("a\u{0}b")),
        ("name", Value::Null),
        ("mode", json!("webhook")),
        ("clientId", json!("")),
        ("clientSecret", json!("has space")),
        ("clientSecret", json!(7)),
        ("callbackToken", Value::Null),
        ("callbackAesKey", Value::Null),
        ("callbackAesKey", json!("a".repeat(42))),
        ("callbackAesKey", json!(format!("{}=", "a".repeat(42)))),
        ("language", json!("fr")),
        ("scope", json!("all")),
    ];
    for (field, value) in cases {
        let mut body = http_mode("r");
        body[field] = value.clone();
        let (status, answer) = console.post("/api/integrations", body).await;
        assert_eq!((status, error(&answer).1), (422, field), "{value} {answer}");
        assert!(!answer.to_string().contains("has space"), "no value is repeated");
    }
    for field in ["name", "mode", "clientId", "clientSecret"] {
        let mut body = http_mode("r");
        body.as_object_mut().unwrap().remove(field);
        let (status, answer) = console.post("/api/integrations", body).await;
        assert_eq!((status, error(&answer).1), (422, field));
    }
    let stream = json!({ "name": "S", "mode": "stream", "clientId": "c", "clientSecret": "s", "robotCode": "Normal" });
    let (status, made) = console.post("/api/integrations", stream).await;
    assert_eq!((status, &made["robotCode"]), (201, &Value::Null));
    assert!(!made["id"].as_str().unwrap().is_empty(), "an id is made where none is given");
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_keeps_the_whole_valid() {
    let console = Console::start().await;
    console.robot("r").await;
    let (status, shown) =
        console.patch("/api/integrations/r", json!({ "name": "New", "receiverId": "corp" })).await;
    assert_eq!(
        (status, &shown["name"], &shown["receiverId"]),
        (200, &json!("New"), &json!("corp"))
    );
    let (_, shown) = console.patch("/api/integrations/r", json!({ "corpId": "ding-corp" })).await;
    assert_eq!(shown["corpId"], "ding-corp");
    let (_, shown) = console.patch("/api/integrations/r", json!({ "receiverId": null })).await;
    assert_eq!((&shown["name"], &shown["receiverId"]), (&json!("New"), &Value::Null));
    let (status, answer) =
        console.patch("/api/integrations/r", json!({ "callbackToken": null })).await;
    assert_eq!((status, error(&answer).1), (422, "callbackToken"));
    let to_stream = json!({ "mode": "stream", "callbackToken": null, "callbackAesKey": null });
    let (status, shown) = console.patch("/api/integrations/r", to_stream).await;
    assert_eq!((status, &shown["secrets"]["callbackToken"]), (200, &json!(false)));
    let (status, answer) = console.patch("/api/integrations/r", json!({ "mode": "http" })).await;
    assert_eq!((status, error(&answer).1), (422, "callbackToken"));
    let routed = console.routing.integrations();
    assert_eq!(routed[0].name, "New", "this process acts on it at once");
    let (status, answer) = console.patch("/api/integrations/none", json!({})).await;
    assert_eq!((status, error(&answer).0), (404, "INTEGRATION_NOT_FOUND"));
}

#[tokio::test]
async fn an_integration_in_use_stays_and_keeps_its_scope() {
    let console = Console::start().await;
    console.robot("r").await;
    let (status, _) = console.put("/api/triggers/e", json!({ "integrationId": "r" })).await;
    assert_eq!(status, 200);
    let (status, answer) = console.delete("/api/integrations/r").await;
    assert_eq!((status, error(&answer).0), (409, "INTEGRATION_IN_USE"));
    let (status, answer) = console.patch("/api/integrations/r", json!({ "scope": "group" })).await;
    assert_eq!((status, error(&answer).0), (409, "SCOPE_IN_USE"));
    assert_eq!(console.delete("/api/triggers/e").await.0, 204);
    let (status, _) = console.patch("/api/integrations/r", json!({ "scope": "group" })).await;
    assert_eq!(status, 200);
    assert_eq!(console.delete("/api/integrations/r").await.0, 204);
    assert_eq!(console.get("/api/integrations/r").await.0, 404);
    assert_eq!(console.delete("/api/integrations/r").await.0, 404);
    assert!(console.routing.integrations().is_empty());
}

/// The names of the checks that failed.
fn failed(outcome: &Value) -> Vec<&str> {
    let checks = outcome["checks"].as_array().unwrap();
    checks.iter().filter(|c| c["ok"] == false).map(|c| c["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_test_tries_token_address_and_keys_for_real() {
    let console = Console::start().await;
    console.robot(REACHABLE).await;
    console.robot("elsewhere").await;
    let path = |id: &str| format!("/api/integrations/{id}/test");
    let (status, outcome) = console.call(Method::POST, &path(REACHABLE), None).await;
    assert_eq!((status, &outcome["ok"]), (200, &json!(true)), "{outcome}");
    assert_eq!(outcome["checks"].as_array().unwrap().len(), 3);
    let (_, outcome) = console.call(Method::POST, &path("elsewhere"), None).await;
    assert_eq!((&outcome["ok"], failed(&outcome)), (&json!(false), vec!["callbackUrl"]));
    let (_, _) = console
        .patch(&format!("/api/integrations/{REACHABLE}"), json!({ "clientSecret": "wrong" }))
        .await;
    let (_, outcome) = console.call(Method::POST, &path(REACHABLE), None).await;
    assert_eq!(failed(&outcome), ["token"]);
    let said = outcome["checks"][0]["message"].as_str().unwrap();
    assert!(said.contains("invalidClientIdOrSecret") && !said.contains("wrong"), "{said}");
    assert_eq!(console.call(Method::POST, &path("none"), None).await.0, 404);
}

#[tokio::test]
async fn a_stream_test_opens_a_real_connection_and_closes_it() {
    let mut gateway = Gateway::start().await;
    let console = Console::with_gateway(&gateway.url).await;
    let robot = json!({
        "id": "s", "name": "S", "mode": "stream", "clientId": "ding1", "clientSecret": KNOWN_SECRET,
    });
    console.post("/api/integrations", robot).await;
    let (_, outcome) = console.call(Method::POST, "/api/integrations/s/test", None).await;
    assert_eq!(outcome["ok"], true, "{outcome}");
    assert_eq!(gateway.peer().await.client_id, "ding1");
    gateway.refuse(401, r#"{"code":"authFailed","message":"鉴权失败"}"#);
    let (_, outcome) = console.call(Method::POST, "/api/integrations/s/test", None).await;
    assert_eq!(failed(&outcome), ["stream"]);
}

#[tokio::test]
async fn xperts_pages_find_their_two_calls() {
    let console = Console::start().await;
    console.robot("http-robot").await;
    let stream = json!({
        "id": "stream-robot", "name": "Z", "mode": "stream", "clientId": "c", "clientSecret": "s",
    });
    console.post("/api/integrations", stream).await;
    let (status, options) = console.get("/api/dingtalk/integration-select-options").await;
    assert_eq!(status, 200);
    assert_eq!(
        (&options[0]["value"], &options[1]["value"]),
        (&json!("stream-robot"), &json!("http-robot"))
    );
    assert_eq!((&options[0]["label"], &options[0]["icon"]["type"]), (&json!("Z"), &json!("svg")));
    let path = "/api/dingtalk/callback-config";
    let (status, config) = console.get(&format!("{path}?integration=http-robot")).await;
    assert_eq!(status, 200);
    assert_eq!(
        config["requiredConfig"],
        json!({ "callbackToken": true, "callbackAesKey": true, "callbackAppKey": true })
    );
    assert_eq!(
        (&config["mode"], &config["httpCallbackEnabled"], &config["expectedAckMs"]),
        (&json!("http"), &json!(true), &json!(1500))
    );
    let (_, config) = console.get(&format!("{path}?integration=stream-robot")).await;
    assert_eq!(config["httpCallbackEnabled"], false);
    assert_eq!(console.get(path).await.0, 400);
    assert_eq!(console.get(&format!("{path}?integration=none")).await.0, 404);
}
