//! What people send and DingTalk pushes.

use serde_json::json;

use crate::field::Field;

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
