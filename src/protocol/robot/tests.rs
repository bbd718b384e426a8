//! DingTalk's samples and captures as fixtures, every oddity as one line, and rubbish of all kinds.
//!
//! Lines change a captured message in the fields they name.

mod kinds;
mod quotes;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::inbound::{Media, MediaKind, Missing, Part};

macro_rules! fixture {
    ($name:literal) => {
        serde_json::from_str::<Value>(include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/dingtalk/",
            $name,
            ".json"
        )))
        .unwrap()
    };
}

use fixture;

const ROBOT: &str = "$:LWCP_v1:$01B/44e/ph+R21B/X+43WLnAcUVO5BKL";

fn inspect(value: &Value) -> Result<Outcome, Malformed> {
    super::inspect(&value.into())
}

fn is_robot_message(value: &Value) -> bool {
    super::is_robot_message(&value.into())
}

fn message(value: &Value) -> Message {
    let Outcome::Message(message) = inspect(value).unwrap() else { panic!("not a message") };
    *message
}

/// The captured private text with some fields replaced; `null` takes one away.
fn private(changes: &Value) -> Value {
    let mut value = fixture!("robot_private_text");
    let fields = value.as_object_mut().unwrap();
    for (field, change) in changes.as_object().unwrap() {
        if change.is_null() {
            fields.remove(field);
        } else {
            fields.insert(field.clone(), change.clone());
        }
    }
    value
}

fn said(text: &str) -> Part {
    Part::Text(text.to_owned())
}

fn absent() -> Part {
    Part::Missing(Missing::Content)
}

fn media(kind: MediaKind, code: &str) -> Media {
    Media { kind, code: code.to_owned(), name: None, recognition: None }
}

#[test]
fn a_group_message_keeps_ids_sender_place_and_webhook() {
    let message = message(&fixture!("robot_group_text"));
    assert_eq!(message.msg_id.as_str(), "msgrK2xxxxU+riw==");
    assert_eq!(message.place.id, "cid6EUxxxxsg==");
    assert_eq!(message.place.kind, PlaceKind::Group);
    assert_eq!(message.place.title.as_deref(), Some("测试群"));
    assert_eq!(message.sender.id, "$:LWCP_v1:$BvMhAv9");
    assert_eq!(message.sender.staff_id.as_deref(), Some("0147xxxx8602"));
    assert_eq!(message.sender.name, "小钉");
    assert_eq!(message.robot_code.as_deref(), Some("dingoxxxxdm3k"));
    assert_eq!(message.created_at, Some(Timestamp(1_708_327_204_136)));
    assert_eq!(message.text(), "text");
    assert_eq!(message.quote, None);
    let webhook = message.webhook.unwrap();
    assert_eq!(webhook.expires_at, Timestamp(1_708_332_604_316));
    assert!(webhook.url.starts_with("https://oapi.dingtalk.com/"));
}

#[test]
fn each_kind_gives_its_parts() {
    let heard = Media {
        recognition: Some("钉钉，让进步发生".to_owned()),
        ..media(MediaKind::Audio, "mIofN681YE3f/+m+Nn")
    };
    let file = Media {
        name: Some("一种跨站脚本漏洞攻击防御方法及装置".to_owned()),
        ..media(MediaKind::File, "PsPvi/1l+zhLx9m")
    };
    let cases = [
        (fixture!("robot_private_text"), "text", vec![said("hello")]),
        (
            fixture!("robot_rich_text"),
            "richText",
            vec![
                said("你好"),
                said("\n"),
                Part::Media(media(MediaKind::Picture, "mIofN681YE3f/+m+")),
                said("@Tom"),
                said(" 看"),
            ],
        ),
        (
            fixture!("robot_picture"),
            "picture",
            vec![Part::Media(media(MediaKind::Picture, "mIofN681YE3f/+m+Nntq"))],
        ),
        (fixture!("robot_audio"), "audio", vec![Part::Media(heard)]),
        (
            fixture!("robot_video"),
            "video",
            vec![Part::Media(media(MediaKind::Video, "mIofN681YE3f/"))],
        ),
        (fixture!("robot_file"), "file", vec![Part::Media(file)]),
        (fixture!("robot_unknown"), "unknownMsgType", vec![]),
    ];
    for (value, kind, parts) in cases {
        let message = message(&value);
        assert_eq!((message.kind.as_str(), &message.parts), (kind, &parts));
        assert_eq!(message.is_unsupported(), parts.is_empty(), "{kind}");
    }
}

#[test]
fn content_in_every_odd_shape_is_read() {
    let audio = |content: Value| json!({"msgtype": "audio", "text": null, "content": content});
    let code = Media { recognition: None, ..media(MediaKind::Audio, "c") };
    let cases = [
        (json!({"text": r#"{"content":"as a string"}"#}), vec![said("as a string")]),
        (json!({"text": "bare"}), vec![said("bare")]),
        (json!({"text": null, "content": {"content": "moved"}}), vec![said("moved")]),
        (json!({"text": {"content": ""}}), vec![said("")]),
        (json!({"text": {"content": format!("@{ROBOT} hi @Tom")}}), vec![said(" hi @Tom")]),
        (
            audio(json!(r#"{"downloadCode":"c","duration":"2000"}"#)),
            vec![Part::Media(code.clone())],
        ),
        (audio(json!({"downloadCode": "c", "recognition": ""})), vec![Part::Media(code)]),
        (audio(json!({"recognition": "heard"})), vec![said("heard")]),
        (audio(json!({"duration": 1})), vec![]),
        (audio(json!([1, 2])), vec![]),
        (
            json!({"msgtype": "picture", "content": {"pictureDownloadCode": "p"}}),
            vec![Part::Media(media(MediaKind::Picture, "p"))],
        ),
        (
            json!({"msgtype": "richText", "content": {"richText": [5, {"type": "x"}, {"text": "a"}]}}),
            vec![absent(), said("a")],
        ),
        (json!({"msgtype": "markdown", "content": {"title": "t", "text": "m"}}), vec![said("m")]),
        (
            json!({"msgtype": "chatRecord", "content": {"summary": "A:x", "chatRecord": "[]"}}),
            vec![said("A:x")],
        ),
        (
            json!({"msgtype": "interactiveCard", "content": {"biz_custom_action_url": "dingtalk://x"}}),
            vec![],
        ),
        (json!({"msgtype": "actionCard", "content": "?"}), vec![said("?")]),
        (json!({"msgtype": "actionCard", "content": {"buttons": 2}}), vec![]),
        (json!({"msgtype": "tomorrow", "text": null}), vec![]),
    ];
    for (changes, parts) in cases {
        assert_eq!(message(&private(&changes)).parts, parts, "{changes}");
    }
}

#[test]
fn fields_in_other_types_or_absent_are_no_obstacle() {
    let odd = message(&private(&json!({
        "createAt": "1774080994334", "conversationType": 1, "senderStaffId": "",
        "sessionWebhookExpiredTime": "1774086394522", "robotCode": null, "senderNick": null,
    })));
    let plain = message(&fixture!("robot_private_text"));
    assert_eq!(
        (odd.created_at, &odd.place, &odd.webhook),
        (plain.created_at, &plain.place, &plain.webhook)
    );
    assert_eq!((odd.sender.staff_id, odd.robot_code), (None, None));
    assert_eq!(odd.sender.name, "");
    for none in [json!(null), json!(0), json!("0"), json!("soon")] {
        let open = message(&private(&json!({"sessionWebhookExpiredTime": none})));
        let expires_at = open.webhook.map(|webhook| webhook.expires_at);
        assert_eq!(expires_at, Some(SessionWebhook::UNKNOWN_EXPIRY), "{none}");
    }
    for none in ["normal", "Normal "] {
        assert_eq!(message(&private(&json!({"robotCode": none}))).robot_code, None);
    }
    assert_eq!(plain.sender.corp_id.as_deref(), Some("dinge19e25c0b3f73fd635c2f4657eb6378f"));
    let misspelt = message(&private(&json!({"createAt": null, "createA": 5})));
    assert_eq!(misspelt.created_at, Some(Timestamp(5)));
    let bare =
        message(&private(&json!({"createAt": null, "sessionWebhook": null, "senderId": null})));
    assert_eq!((bare.created_at, bare.webhook), (None, None));
    assert_eq!(bare.sender.id, "032615015535634423");
}

#[test]
fn what_is_not_for_an_expert_has_an_outcome_of_its_own() {
    let group = |changes: &Value| {
        let mut value = private(changes);
        value["conversationType"] = json!("2");
        inspect(&value).unwrap()
    };
    let is_message = |outcome: &Outcome| matches!(outcome, Outcome::Message(_));
    assert_eq!(group(&json!({})), Outcome::NotMentioned);
    assert_eq!(group(&json!({"isInAtList": false})), Outcome::NotMentioned);
    assert_eq!(group(&json!({"atUsers": [{"dingtalkId": "other"}]})), Outcome::NotMentioned);
    assert_eq!(group(&json!({"chatbotUserId": null, "atUsers": [{}]})), Outcome::NotMentioned);
    assert!(is_message(&group(&json!({"isInAtList": true}))));
    assert!(is_message(&group(&json!({"atUsers": [{"dingtalkId": "x"}, {"dingtalkId": ROBOT}]}))));
    assert_eq!(inspect(&private(&json!({"senderId": ROBOT}))), Ok(Outcome::OwnMessage));
    let Ok(Outcome::QuotaExceeded { said }) = inspect(&fixture!("robot_quota")) else {
        panic!("the quota notice was read as something else")
    };
    assert!(said.contains("受调用量超量影响"));
    let bare = json!({"errCode": "20001", "errMsg": "over"});
    assert_eq!(inspect(&bare), Ok(Outcome::QuotaExceeded { said: "over".to_owned() }));
    let long = json!({ "errorCode": 20001, "errorMessage": "x".repeat(900_000) });
    let Ok(Outcome::QuotaExceeded { said }) = inspect(&long) else { panic!("no quota notice") };
    assert_eq!(said.len(), 300);
    assert!(is_robot_message(&bare));
    let null = json!({"errorCode": 20001, "errorMessage": "over", "text": null, "content": null});
    assert_eq!(inspect(&null), inspect(&bare));
    assert!(is_message(&inspect(&private(&json!({"errorCode": 20001}))).unwrap()));
}

#[test]
fn a_message_without_what_it_needs_names_the_field() {
    let long = "x".repeat(257);
    let cases = [
        (json!({"msgId": null}), "msgId"),
        (json!({"msgId": long}), "msgId"),
        (json!({"msgId": "a\r\nb"}), "msgId"),
        (json!({"msgtype": null}), "msgtype"),
        (json!({"conversationId": ""}), "conversationId"),
        (json!({"conversationType": "3"}), "conversationType"),
        (json!({"conversationType": null}), "conversationType"),
        (json!({"senderId": null, "senderStaffId": null}), "senderId"),
    ];
    for (changes, field) in cases {
        assert_eq!(inspect(&private(&changes)), Err(Malformed(field)), "{changes}");
    }
    for value in [json!(null), json!([]), json!("x"), json!(1)] {
        assert!(inspect(&value).is_err() && !is_robot_message(&value), "{value}");
    }
}

/// JSON of any shape whose keys are often ones that we read.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(vec![
            "text",
            "TEXT",
            "at",
            "picture",
            "2",
            r#"{"richText":[{"text":1}]}"#
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        let known = prop::sample::select(vec![
            "text",
            "content",
            "richText",
            "repliedMsg",
            "quoteMessage",
            "msgType",
            "type",
            "cardContent",
            "children",
            "elementType",
            "value",
            "cardData",
            "downloadCode",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((known, inner), 0..6)
                .prop_map(|pairs| pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_field_may_hold_anything(field in 0..24_usize, value in any_json(), kind in "text|richText|audio|interactiveCard|.*") {
        let mut message = fixture!("robot_quote");
        message["msgtype"] = json!(kind);
        message["content"] = value.clone();
        let fields = message.as_object_mut().unwrap();
        let name = fields.keys().nth(field % fields.len()).unwrap().clone();
        fields.insert(name, value);
        inspect(&message).ok();
        is_robot_message(&message);
    }

    #[test]
    fn a_body_cut_or_altered_anywhere_never_panics(at in 0..900_usize, byte: u8, cut: bool) {
        let mut bytes = include_bytes!("../../../tests/fixtures/dingtalk/robot_quote.json").to_vec();
        let at = at % bytes.len();
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Ok(value) = serde_json::from_slice::<Value>(&bytes) {
            inspect(&value).ok();
        }
    }
}

#[test]
fn a_very_deep_card_is_read_without_recursion() {
    let mut tree = json!({"elementType": "TEXT", "value": "bottom"});
    for _ in 0..100 {
        tree = json!({"children": [tree]});
    }
    let value = private(&json!({"msgtype": "interactiveCard", "content": {"cardContent": tree}}));
    assert_eq!(message(&value).text(), "bottom");
}
