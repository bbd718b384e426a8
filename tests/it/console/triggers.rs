//! `/api/triggers`: the checklist, publishing, moving, unpublishing.

use dingtalk_trigger::domain::id::{ExpertId, IntegrationId};
use serde_json::{Value, json};

use super::{Console, error};

fn rules(answer: &Value) -> Vec<&str> {
    let items = answer["items"].as_array().unwrap();
    items.iter().map(|item| item["ruleCode"].as_str().unwrap()).collect()
}

const REQUIRED: &str = "TRIGGER_DINGTALK_INTEGRATION_REQUIRED";
const NOT_FOUND: &str = "TRIGGER_DINGTALK_INTEGRATION_NOT_FOUND";
const CONFLICT: &str = "TRIGGER_DINGTALK_INTEGRATION_CONFLICT";
const TIMEOUT: &str = "TRIGGER_DINGTALK_SESSION_TIMEOUT_OUT_OF_RANGE";
const STEER: &str = "TRIGGER_DINGTALK_STEER_UNSUPPORTED";
const WINDOW: &str = "TRIGGER_DINGTALK_SUMMARY_WINDOW_OUT_OF_RANGE";

#[tokio::test]
async fn the_checklist_names_what_stands_in_the_way() {
    let console = Console::start().await;
    console.robot("r").await;
    console.put("/api/triggers/other", json!({ "integrationId": "r" })).await;
    let cases = [
        (json!({ "xpertId": "e", "enabled": true }), vec![REQUIRED]),
        (json!({ "xpertId": "e", "enabled": false, "integrationId": "" }), vec![REQUIRED]),
        (json!({ "xpertId": "e", "enabled": false, "integrationId": "no" }), vec![NOT_FOUND]),
        (json!({ "xpertId": "e", "enabled": true, "integrationId": "r" }), vec![CONFLICT]),
        (json!({ "xpertId": "e", "enabled": false, "integrationId": "r" }), vec![]),
        (json!({ "xpertId": "other", "enabled": true, "integrationId": "r" }), vec![]),
        (
            json!({ "xpertId": "other", "integrationId": "r", "sessionTimeoutSeconds": 0 }),
            vec![TIMEOUT],
        ),
        (
            json!({ "xpertId": "other", "integrationId": "r", "sessionTimeoutSeconds": 604_801,
                "summaryWindowSeconds": 601 }),
            vec![TIMEOUT, WINDOW],
        ),
        (
            json!({ "xpertId": "other", "integrationId": "r", "summaryWindowSeconds": -1 }),
            vec![WINDOW],
        ),
        (
            json!({ "xpertId": "other", "integrationId": "r", "sessionTimeoutSeconds": 604_800,
                "summaryWindowSeconds": 600 }),
            vec![],
        ),
    ];
    for (body, expected) in cases {
        let (status, answer) = console.post("/api/triggers/validate", body.clone()).await;
        assert_eq!((status, rules(&answer)), (200, expected), "{body}");
    }
    let body = json!({ "xpertId": "e", "enabled": true, "integrationId": "no" });
    let (_, answer) = console.post("/api/triggers/validate", body).await;
    assert_eq!(
        answer["items"][0],
        json!({
            "ruleCode": NOT_FOUND, "field": "integrationId", "value": "no", "level": "error",
            "message": {
                "en_US": "DingTalk integration \"no\" not found",
                "zh_Hans": "钉钉集成 \"no\" 不存在",
            },
        })
    );
}

#[tokio::test]
async fn publishing_binds_registers_and_repairs() {
    let console = Console::start().await;
    console.robot("r").await;
    let body = json!({
        "integrationId": "r", "summaryWindowSeconds": 3, "busyPolicy": "steer",
        "allowSenders": ["u1"], "runtime": { "kind": "echo" },
    });
    for _ in 0..2 {
        let (status, shown) = console.put("/api/triggers/e", body.clone()).await;
        assert_eq!(status, 200, "{shown}");
        assert_eq!(
            (&shown["enabled"], &shown["sessionTimeoutSeconds"], &shown["summaryWindowSeconds"]),
            (&json!(true), &json!(3600), &json!(3))
        );
        assert_eq!(
            (&shown["busyPolicy"], &shown["queuedNotice"]),
            (&json!("steer"), &json!("reaction"))
        );
        assert_eq!((&shown["mentionAsker"], &shown["actBy"]), (&json!(true), &json!("asker")));
        assert_eq!(shown["runtime"]["kind"], "echo");
        assert_eq!((rules(&shown), &shown["items"][0]["level"]), (vec![STEER], &json!("warning")));
        let expert = ExpertId::parse("e").unwrap();
        assert!(console.routing.runtime(&expert).await.unwrap().is_some());
        assert_eq!(console.delete("/api/runtimes/e").await.0, 204);
    }
    let (status, shown) = console.get("/api/triggers/e").await;
    assert_eq!((status, &shown["runtime"]), (200, &Value::Null));
    let (_, list) = console.get("/api/triggers").await;
    assert_eq!(list["items"][0]["xpertId"], "e");
    assert_eq!(console.get("/api/triggers/none").await.0, 404);
}

#[tokio::test]
async fn steering_is_warned_of_where_the_runtime_takes_nothing_while_it_answers() {
    let console = Console::start().await;
    console.robot("r").await;
    let key = json!({ "kind": "xpert", "baseUrl": "http://127.0.0.1:1", "apiKey": "sk-x-1" });
    let callback = json!({
        "kind": "callback", "url": "http://127.0.0.1:1",
        "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    });
    let none = Vec::<&str>::new();
    for (runtime, policy, expected) in [
        (Value::Null, "steer", &none),
        (json!({ "kind": "echo" }), "steer", &vec![STEER]),
        (callback.clone(), "interrupt", &none),
        (callback, "steer", &vec![STEER]),
        (key, "steer", &none),
    ] {
        if runtime != Value::Null {
            assert_eq!(console.put("/api/runtimes/e", runtime.clone()).await.0, 200);
        }
        let proposal = json!({ "xpertId": "e", "integrationId": "r", "busyPolicy": policy });
        let (status, answer) = console.post("/api/triggers/validate", proposal).await;
        assert_eq!((status, &rules(&answer)), (200, expected), "{runtime} {policy}");
        let body = json!({ "integrationId": "r", "busyPolicy": policy });
        let (status, shown) = console.put("/api/triggers/e", body).await;
        assert_eq!((status, shown.get("items").is_some()), (200, !expected.is_empty()));
        if !expected.is_empty() {
            let item = &shown["items"][0];
            assert_eq!((&item["field"], &item["level"]), (&json!("busyPolicy"), &json!("warning")));
            let remedy = item["message"]["en_US"].as_str().unwrap();
            assert!(remedy.contains("register a runtime of kind xpert"), "{remedy}");
        }
    }
    let wrong = json!({ "xpertId": "e", "integrationId": "r", "busyPolicy": "wait" });
    let (status, answer) = console.post("/api/triggers/validate", wrong).await;
    assert_eq!((status, error(&answer).1), (422, "busyPolicy"), "{answer}");
}

#[tokio::test]
async fn what_cannot_be_published_changes_nothing() {
    let console = Console::start().await;
    console.robot("r").await;
    console.put("/api/triggers/other", json!({ "integrationId": "r" })).await;
    let echo = json!({ "kind": "echo" });
    let cases = [
        (json!({ "runtime": echo }), 422, vec![REQUIRED]),
        (json!({ "integrationId": "no", "runtime": echo }), 422, vec![NOT_FOUND]),
        (json!({ "integrationId": "r", "runtime": echo }), 409, vec![CONFLICT]),
        (
            json!({ "integrationId": "r", "summaryWindowSeconds": 601, "runtime": echo }),
            422,
            vec![CONFLICT, WINDOW],
        ),
    ];
    for (body, status, expected) in cases {
        let (given, answer) = console.put("/api/triggers/e", body).await;
        assert_eq!((given, rules(&answer)), (status, expected), "{answer}");
    }
    let fields = [
        ("busyPolicy", json!("wait")),
        ("queuedNotice", json!("loud")),
        ("actBy", json!("all")),
        ("allowSenders", json!([""])),
        ("sessionTimeoutSeconds", json!("1h")),
        ("runtime.kind", json!(null)),
    ];
    for (field, value) in fields {
        let mut body = json!({ "integrationId": "r" });
        match field.split_once('.') {
            Some((outer, inner)) => body[outer] = json!({ inner: value }),
            None => body[field] = value,
        }
        let (status, answer) = console.put("/api/triggers/other", body).await;
        assert_eq!((status, error(&answer).1), (422, field), "{answer}");
    }
    assert_eq!(console.put("/api/triggers/-bad", json!({ "integrationId": "r" })).await.0, 422);
    assert_eq!(console.get("/api/triggers/e").await.0, 404);
    assert_eq!(console.get("/api/runtimes/e").await.0, 404);
}

#[tokio::test]
async fn an_expert_moves_in_one_step_and_is_unpublished() {
    let console = Console::start().await;
    console.robot("a").await;
    console.robot("b").await;
    let (a, b) = (IntegrationId::parse("a").unwrap(), IntegrationId::parse("b").unwrap());
    console
        .put("/api/triggers/e", json!({ "integrationId": "a", "runtime": { "kind": "echo" } }))
        .await;
    assert!(console.routing.trigger_of(&a).is_some());
    assert_eq!(console.put("/api/triggers/e", json!({ "integrationId": "b" })).await.0, 200);
    assert!(console.routing.trigger_of(&a).is_none() && console.routing.trigger_of(&b).is_some());
    assert_eq!(console.put("/api/triggers/f", json!({ "integrationId": "a" })).await.0, 200);
    let off = json!({ "integrationId": "b", "enabled": false });
    assert_eq!(console.put("/api/triggers/e", off).await.0, 200);
    assert!(console.routing.trigger_of(&b).is_none());
    assert_eq!(console.delete("/api/triggers/e").await.0, 204);
    assert_eq!(console.delete("/api/triggers/e").await.0, 404);
    assert_eq!(console.get("/api/runtimes/e").await.0, 200, "the runtime stays");
}
