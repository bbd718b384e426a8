//! What DingTalk answers to a send, and what the expert answers to a question.

use dingtalk_trigger::sim::dingtalk::fault::{Fault, Outcome};
use dingtalk_trigger::sim::dingtalk::message::Said;
use dingtalk_trigger::sim::dingtalk::record::Kind;
use serde_json::{Value, json};

use crate::field::Field;
use crate::support::program::LIMIT;
use crate::support::wait::wait_until;

/// Everything that people read in the message's conversation.
fn read(field: &Field, said: &Said) -> Vec<(String, String)> {
    let replies = field.outside.cloud.replies();
    let of_this = replies.iter().filter(|reply| reply.conversation == said.conversation);
    of_this.map(|reply| (reply.detail.clone(), reply.text.clone())).collect()
}

async fn dead(field: &Field) -> Value {
    let admin = field.service.admin();
    let letters = admin.list_until("/api/dead", |items| items.len() == 1).await;
    let id = letters[0]["id"].as_str().expect("an id");
    admin.done("GET", &format!("/api/dead/{id}"), &Value::Null).await
}

#[tokio::test]
async fn a_system_error_of_the_webhook_is_sent_again() {
    let field = Field::start("f4-errcode-500100.json").await;
    let said = field.say_all();
    let reply = field.reply(&said[0]).await;
    assert_eq!(reply.detail, "webhook");
    field.service.idle().await;
    assert_eq!(read(&field, &said[0]).len(), 1);
    field.finish().await;
}

#[tokio::test]
async fn a_system_error_behind_a_400_is_sent_again() {
    let field = Field::start("f5-system-error-400.json").await;
    let said = field.say_all();
    assert_eq!(field.reply(&said[0]).await.detail, "oto");
    field.service.idle().await;
    assert_eq!(read(&field, &said[0]).len(), 1);
    field.finish().await;
}

#[tokio::test]
async fn the_sender_hears_that_dingtalk_refused_the_answer_for_its_content() {
    let field = Field::start("f6-refused-content.json").await;
    let said = field.say_all();
    let reply = field.reply(&said[0]).await;
    assert_eq!(reply.detail, "webhook");
    let letter = dead(&field).await;
    assert_eq!(letter["reason"], "reply_content", "{letter}");
    assert!(letter.to_string().contains("430101"), "DingTalk's words are kept: {letter}");
    field.service.idle().await;
    assert_eq!(read(&field, &said[0]).len(), 1, "the word is said once");
    field.finish().await;
}

#[tokio::test]
async fn a_token_without_a_usable_lifetime_is_used() {
    let field = Field::start("f9-token-lifetime.json").await;
    // The case's own token is one that the cloud does not know.
    field.outside.cloud.clear_faults();
    let url = format!("{}/v1.0/oauth2/accessToken", field.outside.cloud.url());
    let app = json!({ "appKey": "robot", "appSecret": "app-secret" });
    let given = reqwest::Client::new().post(url).json(&app).send().await.expect("a token");
    let mut body: Value = given.json().await.expect("a token in JSON");
    body["expireIn"] = json!("7200");
    field.outside.cloud.fault(Fault::new("token", Outcome::Answer { status: 200, body }));
    let said = field.say_all();
    assert_eq!(field.reply(&said[0]).await.detail, "oto");
    let asked = field.outside.cloud.book().since(0, 10_000);
    let asked = asked.iter().filter(|record| record.kind == Kind::Token).count();
    assert_eq!(asked, 1, "the test's own: the service asked for no other token");
    field.finish().await;
}

#[tokio::test]
async fn a_token_call_that_fails_at_dingtalk_is_repeated() {
    let past = json!({ "text": { "content": "hi" }, "sessionWebhookExpiredTime": "past" });
    let case = json!({
        "messages": [past],
        "answers": { "token": [
            [400, { "code": "systemError", "message": "系统错误" }],
            [400, { "code": "some.new.code", "message": "?" }],
        ] },
    });
    let field = Field::play(case).await;
    let said = field.say_all();
    assert_eq!(field.reply(&said[0]).await.detail, "oto");
    field.finish().await;
}

#[tokio::test]
async fn a_picture_within_an_answer_is_one_message_with_a_word() {
    let field = Field::start("f10-data-uri.json").await;
    let said = field.say_all();
    let reply = field.reply(&said[0]).await;
    assert!(reply.text.starts_with("图：[") && reply.text.contains(": x]"), "{}", reply.text);
    assert!(!reply.text.contains("base64"), "{}", reply.text);
    field.service.idle().await;
    assert_eq!(read(&field, &said[0]).len(), 1);
    field.finish().await;
}

#[tokio::test]
async fn an_answer_that_no_release_knows_is_tried_three_times_and_buried_with_its_words() {
    let refused = json!([400, { "code": "some.new.code", "message": "新的错误" }]);
    let past = json!({ "text": { "content": "hi" }, "sessionWebhookExpiredTime": "past" });
    let case = json!({ "messages": [past], "answers": { "oto": vec![refused; 4] } });
    let field = Field::play(case).await;
    field.say_all();
    let letter = dead(&field).await;
    assert_eq!(letter["reason"], "reply_exhausted", "{letter}");
    assert!(letter.to_string().contains("some.new.code"), "{letter}");
    let met = |field: &Field| {
        let records = field.outside.cloud.book().since(0, 10_000);
        records.iter().filter(|record| record.kind == Kind::Faulted).count()
    };
    assert_eq!(met(&field), 3);
    field.outside.cloud.clear_faults();
    field.finish().await;
}

#[tokio::test]
async fn a_refusal_that_an_operator_can_mend_is_the_integrations_last_error() {
    let denied = json!({
        "code": "Forbidden.AccessDenied.AccessTokenPermissionDenied",
        "accessdenieddetail": { "requiredScopes": ["qyapi_robot_sendmsg"] },
    });
    let past = json!({ "text": { "content": "hi" }, "sessionWebhookExpiredTime": "past" });
    let case = json!({ "messages": [past], "answers": { "oto": [[403, denied]] } });
    let field = Field::play(case).await;
    field.say_all();
    let admin = field.service.admin();
    wait_until("the integration shows it", LIMIT, async || {
        let status = admin.done("GET", "/api/integrations/robot/status", &Value::Null).await;
        let said = status["lastError"].as_str().unwrap_or_default().to_owned();
        said.contains("grant it in DingTalk") && said.contains("qyapi_robot_sendmsg")
    })
    .await;
    field.finish().await;
}

#[tokio::test]
async fn a_used_up_quota_keeps_the_answer_instead_of_burying_it() {
    let over = json!([403, { "code": "Forbidden.AccessDenied.ApiCountLimitForOrg" }]);
    let past = json!({ "text": { "content": "hi" }, "sessionWebhookExpiredTime": "past" });
    let case = json!({ "messages": [past], "answers": { "oto": [over] } });
    let mut field = Field::play(case).await;
    let said = field.say_all();
    let admin = field.service.admin();
    wait_until("the integration shows it", LIMIT, async || {
        let status = admin.done("GET", "/api/integrations/robot/status", &Value::Null).await;
        status["lastError"].as_str().is_some_and(|said| said.contains("monthly calls"))
    })
    .await;
    field.service.settled_but_for(1).await;
    assert!(field.service.admin().list_until("/api/dead", <[Value]>::is_empty).await.is_empty());
    assert!(read(&field, &said[0]).is_empty());
    field.service.kill_group().await;
}
