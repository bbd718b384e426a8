//! What a message quotes, in each shape DingTalk has sent it.
//!
//! The question itself stays, whatever becomes of the quote.

use serde_json::{Value, json};

use super::{fixture, media, message, private, said};
use crate::domain::inbound::{MediaKind, Part, Quote, text_of};

fn quoted(id: &str, parts: Vec<Part>) -> Quote {
    Quote { msg_id: Some(id.to_owned()), parts }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that json! gives")]
fn reply(replied: Value) -> Value {
    private(&json!({"text": {"content": "q", "isReplyMsg": true, "repliedMsg": replied}}))
}

#[test]
fn a_quoted_text_that_looks_like_json_stays_a_text_and_what_cannot_be_read_a_quote() {
    let cases = [
        (
            reply(json!({"msgType": "text", "msgId": "m", "content": "{\"like\":\"JSON\"}"})),
            quoted("m", vec![said("{\"like\":\"JSON\"}")]),
        ),
        (
            reply(json!({"msgType": "text", "msgId": "m", "content": "[1]"})),
            quoted("m", vec![said("[1]")]),
        ),
        (
            reply(json!({"msgType": "richText", "msgId": "m", "content": {"richText": [
                {"msgType": "text", "content": "x"}, {"msgType": "emoji", "content": "😀"}]}})),
            quoted("m", vec![said("x"), said("😀")]),
        ),
        (
            reply(json!({"msgType": "chatRecord", "msgId": "m", "content": {"records": [
                {"nick": "a", "text": "x"}]}})),
            quoted("m", vec![said("a: x")]),
        ),
        (reply(json!("?")), Quote { msg_id: None, parts: vec![] }),
    ];
    for (value, quote) in cases {
        assert_eq!(message(&value).quote, Some(quote), "{value}");
    }
}

#[test]
fn quotes_are_read_in_every_shape() {
    let tree = json!([{"elementType": "ROOT", "children": [
        {"elementType": "TEXT", "value": "one"}, {"elementType": "BOX", "children": [{"elementType": "TEXT", "value": "two"}]}]}]);
    // What is said is in `content`, and the quote in this field or at the top.
    let beside = |place: &str| {
        let replied = json!({"msgType": "text", "msgId": "m", "content": {"text": "x"}});
        let mut message = json!({"msgtype": "richText", "text": null,
            "content": {"richText": [{"text": "q"}]}});
        match place {
            "" => message["repliedMsg"] = replied,
            place => message[place]["repliedMsg"] = replied,
        }
        private(&message)
    };
    let cases = [
        (fixture!("robot_quote"), quoted("msg5Lkj==", vec![said("被引用内容")])),
        (fixture!("robot_quote_legacy"), quoted("msg5Lkj==", vec![said("被引用内容")])),
        (private(&json!({"originalMsgId": "o"})), quoted("o", vec![])),
        (
            reply(json!({"msgType": "text", "msgId": "m", "content": {"content": "x"}})),
            quoted("m", vec![said("x")]),
        ),
        (
            reply(json!({"msgType": "richText", "msgId": "m", "content": {"richText": [
                {"msgType": "text", "content": "x"}, {"msgType": "picture", "downloadCode": "p"}]}})),
            quoted("m", vec![said("x"), Part::Media(media(MediaKind::Picture, "p"))]),
        ),
        (
            reply(
                json!({"msgType": "video", "msgId": "m", "content": {"downloadCode": "v", "duration": "1"}}),
            ),
            quoted("m", vec![Part::Media(media(MediaKind::Video, "v"))]),
        ),
        (reply(json!({"msgType": "interactiveCard", "msgId": "m"})), quoted("m", vec![])),
        (
            reply(
                json!({"msgType": "interactiveCard", "msgId": "m", "content": {"cardContent": tree}}),
            ),
            quoted("m", vec![said("one\ntwo")]),
        ),
        (
            reply(json!({"msgType": "interactiveCard", "msgId": "m",
                "content": {"cardData": {"cardParamMap": {"msgContent": "shown"}}}})),
            quoted("m", vec![said("shown")]),
        ),
        (
            reply(json!({"msgType": "unknownMsgType", "msgId": "m", "content": {}})),
            quoted("m", vec![]),
        ),
        (beside("text"), quoted("m", vec![said("x")])),
        (beside("content"), quoted("m", vec![said("x")])),
        (beside(""), quoted("m", vec![said("x")])),
    ];
    for (value, quote) in cases {
        let message = message(&value);
        assert_eq!(message.quote, Some(quote), "{value}");
        assert!(!text_of(&message.parts).is_empty(), "the question itself stays");
    }
}
