//! Each rule of the edge as a table: what is published where, under which id, and what is left.
//!
//! The payloads are DingTalk's own samples, changed in one field at a time.

use serde_json::{Value, json};

use super::*;
use crate::domain::binding::{Language, Mode};
use crate::domain::id::IntegrationId;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;

macro_rules! fixture {
    ($name:literal) => {
        serde_json::from_str::<Value>(include_str!(concat!(
            "../../../tests/fixtures/dingtalk/",
            $name,
            ".json"
        )))
        .unwrap()
    };
}

fn integration(scope: Scope) -> Integration {
    Integration {
        id: IntegrationId::parse("robot-1").unwrap(),
        name: "n".to_owned(),
        mode: Mode::Http,
        client_id: "ding1".to_owned(),
        client_secret: Secret::new("s"),
        robot_code: None,
        callback_token: None,
        callback_aes_key: None,
        card_template_id: None,
        language: Language::En,
        receiver_id: None,
        corp_id: None,
        scope,
        is_paused: false,
    }
}

fn payload(value: &Value) -> Option<Payload> {
    super::payload(&value.into())
}

fn decide(
    integration: &Integration,
    payload: &Payload,
    value: &Value,
) -> Result<Decision, Malformed> {
    super::decide(integration, payload, &value.into())
}

fn published(scope: Scope, value: &Value) -> Publish {
    let payload = payload(value).unwrap();
    match decide(&integration(scope), &payload, value).unwrap() {
        Decision::Publish(publish) => *publish,
        Decision::Ignore(why) => panic!("ignored: {why:?}"),
    }
}

fn saying(text: &str) -> Value {
    let mut value = fixture!("robot_private_text");
    value["text"] = json!({ "content": text });
    value
}

#[test]
fn a_message_is_published_to_its_persons_conversation_under_its_own_id() {
    let value = fixture!("robot_private_text");
    let publish = published(Scope::Sender, &value);
    assert_eq!(publish.message_id, "robot-1:msgBjXREkdlZkfTfrIiQomjAw==");
    let expected = subject::conversation(
        &integration(Scope::Sender).id,
        "cidh6ezDLHQau9V23Es/xSLNoiDDmPuN354KylQ2BaIhuM=",
        Some("$:LWCP_v1:$gzXDEXQDiM8piyLH4HRRcg=="),
    );
    assert_eq!(publish.conversation, expected);
    assert!(matches!(publish.entry, Entry::Message(_)));
    assert_eq!(publish, published(Scope::Sender, &value));
}

#[test]
fn only_a_group_and_only_by_scope_shares_one_conversation() {
    let private = fixture!("robot_private_text");
    let group = fixture!("robot_group_text");
    let mut colleague = group.clone();
    colleague["senderId"] = json!("$:LWCP_v1:$other");
    let of = |scope, value: &Value| published(scope, value).conversation;
    assert_eq!(of(Scope::Group, &group), of(Scope::Group, &colleague));
    assert_ne!(of(Scope::Sender, &group), of(Scope::Sender, &colleague));
    assert_ne!(of(Scope::Sender, &group), of(Scope::Group, &group));
    assert_eq!(of(Scope::Sender, &private), of(Scope::Group, &private));
}

#[test]
fn commands_become_control_entries_or_questions_and_sentences_stay_messages() {
    let cases = [
        ("/stop", "Stop"),
        ("停止", "Stop"),
        (" /NEW ", "New"),
        ("结束会话", "End"),
        ("/status", "Status"),
        ("帮助", "Help"),
        ("stop it", "message"),
    ];
    for (text, expected) in cases {
        let (kind, origin) = match published(Scope::Sender, &saying(text)).entry {
            Entry::Control(control) => (format!("{:?}", control.kind), control.origin.unwrap()),
            Entry::Query(query) => (format!("{:?}", query.kind), query.origin),
            Entry::Message(message) => ("message".to_owned(), message.origin()),
            entry => panic!("{text} became {entry:?}"),
        };
        assert_eq!(kind, expected, "{text}");
        assert_eq!(origin.sender.user_id(), "032615015535634423");
        assert!(origin.webhook.is_some());
    }
}

#[test]
fn what_is_not_for_an_expert_is_left_with_its_reason() {
    let mut unmentioned = fixture!("robot_group_text");
    unmentioned["isInAtList"] = json!(false);
    let mut own = fixture!("robot_private_text");
    own["senderId"] = own["chatbotUserId"].clone();
    let cases = [
        (unmentioned, "ignored_not_mentioned"),
        (own, "ignored_own_message"),
        (fixture!("robot_quota"), "ignored_quota"),
        (json!({"EventType": "check_url"}), "ignored_event"),
        (fixture!("event_robot_msg_recall"), "ignored_event"),
        (json!({"type": "actionCallback", "outTrackId": "057b18e7"}), "ignored_foreign_card"),
    ];
    for (value, label) in cases {
        let payload = payload(&value).unwrap();
        match decide(&integration(Scope::Sender), &payload, &value) {
            Ok(Decision::Ignore(why)) => assert_eq!(why.label(), label),
            other => panic!("{label}: {other:?}"),
        }
    }
}

#[test]
fn payloads_are_told_apart_by_their_look() {
    assert_eq!(payload(&fixture!("card_action")), Some(Payload::Card));
    assert_eq!(payload(&fixture!("robot_quota")), Some(Payload::Robot));
    let event = json!({"EventType": "isw_user_msg_received", "msgId": "m", "msgType": "image"});
    assert_eq!(payload(&event), Some(Payload::Event("isw_user_msg_received".to_owned())));
    for value in [json!({}), json!(null), json!([1]), json!({"hello": 1}), json!("text")] {
        assert_eq!(payload(&value), None, "{value}");
    }
}

#[test]
fn a_press_goes_to_the_conversation_of_its_turn() {
    let publish = published(Scope::Sender, &fixture!("card_action"));
    assert_eq!(publish.conversation.to_string(), "robot-1.abcdefghijklmnopqrstuvwx23");
    assert!(publish.message_id.starts_with("robot-1:card:"));
    assert!(matches!(publish.entry, Entry::Action(Action { kind: ActionKind::Confirm, .. })));
}

#[test]
fn a_link_acts_in_the_conversation_of_its_turn_or_of_its_person() {
    let turn: TurnId = "robot-1.abcdefghijklmnopqrstuvwx23.42".parse().unwrap();
    let made = |kind, turn: Option<&TurnId>| Link {
        kind,
        integration: integration(Scope::Sender).id,
        conversation_id: "cid1".to_owned(),
        sender_id: "$:LWCP_v1:$a".to_owned(),
        staff_id: Some("staff1".to_owned()),
        place_kind: Some(PlaceKind::Group),
        turn: turn.cloned(),
        expires_at: Timestamp(1),
    };
    let confirm =
        link(&integration(Scope::Sender), &made(action::Kind::Confirm, Some(&turn)), "sig");
    assert_eq!(confirm.conversation, turn.conversation);
    assert_eq!(confirm.message_id, "robot-1:link:sig");
    let Entry::Action(action) = confirm.entry else { panic!("not an action") };
    assert_eq!(
        (action.kind, &action.turn, action.by.user_id()),
        (ActionKind::Confirm, &turn, "staff1")
    );
    let end = link(&integration(Scope::Sender), &made(action::Kind::End, Some(&turn)), "sig");
    assert_eq!(end.conversation, turn.conversation);
    assert!(matches!(end.entry, Entry::Action(Action { kind: ActionKind::End, .. })));
    for (scope, sender) in [(Scope::Sender, Some("$:LWCP_v1:$a")), (Scope::Group, None)] {
        let end = link(&integration(scope), &made(action::Kind::End, None), "sig");
        let expected = subject::conversation(&integration(scope).id, "cid1", sender);
        assert_eq!(end.conversation, expected);
        let Entry::Control(control) = end.entry else { panic!("not a control entry") };
        assert_eq!(control.kind, ControlKind::End);
        assert_eq!(control.origin.unwrap().place.kind, PlaceKind::Group);
    }
}
