//! What people send and DingTalk pushes.

use dingtalk_trigger::sim::dingtalk::message::CORP_ID;
use serde_json::{Value, json};

use crate::field::{Field, case};
use crate::support::service::callback;

/// Starts the case, says all its messages, and gives what the expert read of each.
async fn heard(case: Value) -> Vec<Value> {
    let field = Field::play(case).await;
    let mut heard = Vec::new();
    for said in field.say_all() {
        heard.push(field.heard(&said).await);
        field.reply(&said).await;
    }
    field.finish().await;
    heard
}

#[tokio::test]
async fn a_case_reaches_the_expert_and_its_answer_reaches_the_person() {
    let case = json!({
        "messages": [
            { "text": { "content": "直接@@" } },
            { "text": { "content": "群里" }, "conversationType": "2", "sessionWebhookExpiredTime": "past" },
        ],
        "escapes": { "@@": "\\u0021" },
        "answers": { "group": [[503, { "code": "serviceBusy", "message": "busy" }]] },
        "runtime": { "body": "{\"text\":\"答：@@\"}", "fill": { "@@": ["好", 3] } },
    });
    let field = Field::play(case).await;
    let said = field.say_all();
    assert_eq!(field.heard(&said[0]).await["text"], "直接!");
    assert_eq!(field.turn(&said[1]).await["conversation"]["type"], "group");
    for (said, route) in said.iter().zip(["webhook", "group"]) {
        let reply = field.reply(said).await;
        assert_eq!(reply.detail, route);
        assert!(reply.text.contains("答：好好好"), "{}", reply.text);
    }
    field.finish().await;
}

#[tokio::test]
async fn forwarded_lines_reach_the_expert_with_who_said_them() {
    let heard = heard(case("f1-chat-record.json")).await;
    let expected = [
        "甲与乙的聊天记录\n甲: 合同金额是三十二万\n乙: 周五前确认",
        "群聊的聊天记录\n甲: 服务器在杭州\n乙: 端口是八千",
        "群聊的聊天记录\n甲:你好\n乙:在的",
    ];
    for (heard, expected) in heard.iter().zip(expected) {
        assert_eq!(heard["text"], expected);
    }
}

#[tokio::test]
async fn media_is_handed_on_by_whatever_name_it_comes() {
    let heard = heard(case("f2-media-names.json")).await;
    assert_eq!(heard[0]["text"], "明天开会吗");
    // The codes are made up: what could not be had is named in its place.
    assert_eq!(heard[1]["text"], "看图：[picture 1 (could not be read)]谢谢");
    assert_eq!(heard[2]["text"], "看附件[file 1 方案.pdf (could not be read)]");
    assert_eq!(
        (&heard[3]["text"], &heard[3]["quoted"]["text"]),
        (&json!("什么意思"), &json!("你好😀"))
    );
}

#[tokio::test]
async fn a_quote_that_cannot_be_read_is_said_to_be_there() {
    let heard = heard(case("f3-quoted-card.json")).await;
    assert_eq!(heard[0]["text"], "看看这个文档");
    assert_eq!(heard[0]["quoted"]["text"], "[quoted message (could not be read)]");
}

#[tokio::test]
async fn a_quoted_text_that_looks_like_json_stays_a_text() {
    let heard = heard(case("f14-quoted-json.json")).await;
    assert_eq!(heard[0]["quoted"]["text"], "{\"example\":\"原样保留\"}");
}

#[tokio::test]
async fn a_robot_code_of_normal_names_no_robot() {
    let field = Field::start("f7-robot-code-normal.json").await;
    for (said, route) in field.say_all().iter().zip(["oto", "group"]) {
        let reply = field.reply(said).await;
        assert_eq!(reply.detail, route);
        assert_eq!(reply.body["robotCode"], "robot");
    }
    field.finish().await;
}

#[tokio::test]
async fn a_webhook_that_names_no_expiry_is_tried() {
    let field = Field::start("f8-webhook-without-expiry.json").await;
    for said in field.say_all() {
        assert_eq!(field.reply(&said).await.detail, "webhook");
    }
    field.finish().await;
}

#[tokio::test]
async fn half_an_emoji_in_a_message_is_replaced_in_both_modes() {
    for mode in ["stream", "http"] {
        let mut case = case("f12-lone-surrogate-message.json");
        case["mode"] = json!(mode);
        let field = Field::play(case).await;
        for said in field.say_all() {
            assert_eq!(field.turn(&said).await["sender"]["name"], "小明\u{fffd}");
            field.reply(&said).await;
        }
        field.finish().await;
    }
}

#[tokio::test]
async fn half_an_emoji_in_an_answer_is_replaced_or_joined_with_its_other_half() {
    let stream = concat!(
        "data: {\"delta\":\"好的\\ud83d\"}\n\n",
        "data: {\"delta\":\"\\ude00。\\ud83d\"}\n\n",
        "data: {\"done\":true}\n\n",
    );
    let mut streamed = case("f12-lone-surrogate-answer.json");
    streamed["runtime"] = json!({ "contentType": "text/event-stream", "body": stream });
    for (case, expected) in
        [(case("f12-lone-surrogate-answer.json"), "好的\u{fffd}"), (streamed, "好的😀。\u{fffd}")]
    {
        let field = Field::play(case).await;
        for said in field.say_all() {
            assert_eq!(field.reply(&said).await.text.trim(), expected);
        }
        field.finish().await;
    }
}

#[tokio::test]
async fn a_command_behind_a_mention_that_was_left_in_the_text_is_a_command() {
    let text = |text: &str| json!({ "text": { "content": text }, "conversationType": "2" });
    let case = json!({ "messages": [text("@小助手\u{2005}/new"), text("@小助手 /new idea")] });
    let field = Field::play(case).await;
    let said = field.say_all();
    let reply = field.reply(&said[0]).await;
    assert!(reply.text.contains("A new session begins"), "{}", reply.text);
    assert_eq!(field.heard(&said[1]).await["text"], "@小助手 /new idea");
    field.reply(&said[1]).await;
    field.finish().await;
}

#[tokio::test]
async fn a_stream_message_without_an_id_has_that_of_its_frame() {
    let message = json!({ "text": { "content": "无编号" }, "msgId": null });
    let field = Field::play(json!({ "mode": "stream", "messages": [message] })).await;
    let said = field.say(0);
    assert!(field.reply(&said).await.text.contains("无编号"));
    let calls = field.outside.expert.calls();
    let msg_id = calls[0].body["input"]["messages"][0]["msgId"].as_str().unwrap();
    let is_frame =
        |record: &dingtalk_trigger::sim::dingtalk::record::Record| record.detail == msg_id;
    assert!(
        field.outside.cloud.book().since(0, usize::MAX).iter().any(|it| is_frame(it)),
        "{msg_id}"
    );
    field.finish().await;
}

#[tokio::test]
async fn an_allow_list_names_people_of_the_integrations_organisation() {
    let said = |corp: &str| json!({ "text": { "content": "谁" }, "senderCorpId": corp });
    let field = Field::play(json!({ "messages": [said("dingother"), said(CORP_ID)] })).await;
    let admin = field.service.admin();
    let allowed =
        json!({ "allowSenders": ["person-0", "person-1"], "runtime": callback(&field.outside) });
    admin.publish("expert", "robot", &allowed).await;
    let changed =
        admin.done("PATCH", "/api/integrations/robot", &json!({ "corpId": CORP_ID })).await;
    assert_eq!(changed["corpId"], CORP_ID);
    let said = field.say_all();
    field.reply(&said[1]).await;
    field.service.settled().await;
    assert_eq!(field.outside.read_in(&said[0].conversation), Vec::<String>::new());
    let calls = field.outside.expert.calls();
    let senders: Vec<_> = calls.iter().map(|call| &call.body["sender"]["id"]).collect();
    assert_eq!(senders, ["person-1"]);
    // Without an organisation to compare, the staff id alone decides.
    admin.done("PATCH", "/api/integrations/robot", &json!({ "corpId": null })).await;
    let again = field.say(0);
    field.reply(&again).await;
    field.finish().await;
}
