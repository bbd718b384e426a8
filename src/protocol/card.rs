//! A press on a card's button: DingTalk's callback to an action on a turn, and the answer to it.
//!
//! A card of ours carries the id of its turn at the head of its `outTrackId`; any other card is
//! [`Outcome::Foreign`]. Who may press, and what it changes, is left to others.

pub mod question;

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use serde_json::json;
use serde_json_borrow::Value;
use sha2::{Digest, Sha256};

use super::loose;
use crate::domain::entry::{Action, ActionKind, Entry};
use crate::domain::id::{IntegrationId, TurnId};
use crate::domain::inbound::Sender;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Pressed(Box<Press>),
    /// The card belongs to somebody else.
    Foreign,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Press {
    pub turn: TurnId,
    pub entry: Entry,
    /// The same press again has the same one.
    pub message_id: String,
}

/// The field without which a press means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the card callback has no usable {0}")]
pub struct Malformed(pub &'static str);

/// True where `value` looks like a card callback rather than an event or a robot message.
pub fn is_card_callback(value: &Value<'_>) -> bool {
    loose::field(value, "outTrackId").is_some()
        || loose::field(value, "type").and_then(Value::as_str) == Some("actionCallback")
}

/// Reads what DingTalk sent, in HTTP mode as the body and in Stream mode as `data`.
pub fn inspect(integration: &IntegrationId, value: &Value<'_>) -> Result<Outcome, Malformed> {
    let track = loose::text(value, "outTrackId").ok_or(Malformed("outTrackId"))?;
    let Some(turn) = turn_of(&track).filter(|turn| turn.conversation.integration == *integration)
    else {
        return Ok(Outcome::Foreign);
    };
    let user = loose::text(value, "userId").ok_or(Malformed("userId"))?;
    // Older payloads name the same field `value`.
    let field = if loose::field(value, "content").is_some() { "content" } else { "value" };
    let content = loose::nested(value, field).ok_or(Malformed("content"))?;
    let private = loose::nested(&content, "cardPrivateData").ok_or(Malformed("content"))?;
    let params = loose::nested(&private, "params").unwrap_or_default();
    let action = loose::text(&params, "action")
        .or_else(|| first_id(&private))
        .ok_or(Malformed("content"))?;
    let raw = match loose::field(value, field) {
        Some(Value::Str(text)) => text.to_string(),
        other => json!(other).to_string(),
    };
    let message_id = format!("{integration}:card:{}", fingerprint(&[&track, &user, &raw]));
    let by = Sender {
        staff_id: is_staff(value).then(|| user.clone()),
        id: user,
        name: String::new(),
        corp_id: loose::text(value, "corpId"),
    };
    let params = if params.is_null() { "{}".to_owned() } else { params.to_string() };
    let entry = entry(&turn, &action, by, params);
    Ok(Outcome::Pressed(Box::new(Press { turn, entry, message_id })))
}

/// The turn at the head of an `outTrackId`: what follows its number must not be a digit.
pub fn turn_of(track: &str) -> Option<TurnId> {
    let (integration, rest) = track.split_once('.')?;
    let (key, rest) = rest.split_once('.')?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    format!("{integration}.{key}.{digits}").parse().ok()
}

/// The answer to a press: what changes on its card.
pub fn response(changes: &BTreeMap<String, String>) -> serde_json::Value {
    json!({
        "cardData": { "cardParamMap": changes },
        "cardUpdateOptions": { "updateCardDataByKey": true },
    })
}

fn first_id(private: &Value<'_>) -> Option<String> {
    match loose::items(private, "actionIds").first()? {
        Value::Str(id) if !id.trim().is_empty() => Some(id.to_string()),
        Value::Number(id) => Some(id.to_string()),
        Value::Str(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// 1 is the organisation's user id; where it is not said, DingTalk sends that one.
fn is_staff(value: &Value<'_>) -> bool {
    loose::number(value, "userIdType").is_none_or(|kind| kind == 1)
}

fn entry(turn: &TurnId, action: &str, by: Sender, params: String) -> Entry {
    let kind = match action.strip_prefix("dingtalk:").unwrap_or(action) {
        "confirm" => ActionKind::Confirm,
        "reject" => ActionKind::Reject,
        "end" => ActionKind::End,
        _ => ActionKind::Custom(action.to_owned()),
    };
    Entry::Action(Action { turn: turn.clone(), kind, by, place: None, params })
}

fn fingerprint(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // The length goes first, so that no two presses are written alike.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    HEXLOWER.encode(digest.first_chunk::<16>().map_or(&[][..], |bytes| &bytes[..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    const TURN: &str = "robot-1.abcdefghijklmnopqrstuvwx23.42";

    fn integration() -> IntegrationId {
        IntegrationId::parse("robot-1").unwrap()
    }

    fn fixture() -> Value {
        serde_json::from_str(include_str!("../../tests/fixtures/dingtalk/card_action.json"))
            .unwrap()
    }

    fn press(value: &Value) -> Press {
        match inspect(&integration(), &value.into()).unwrap() {
            Outcome::Pressed(press) => *press,
            Outcome::Foreign => panic!("taken for somebody else's"),
        }
    }

    fn with(content: &Value) -> Value {
        let mut value = fixture();
        value["content"] = json!(content.to_string());
        value
    }

    #[test]
    fn a_press_names_its_turn_its_person_and_its_parameters() {
        let press = press(&fixture());
        assert_eq!(press.turn.to_string(), TURN);
        assert!(press.message_id.starts_with("robot-1:card:"), "{}", press.message_id);
        let Entry::Action(action) = press.entry else { panic!("not an action") };
        assert_eq!(action.kind, ActionKind::Confirm);
        assert_eq!(action.by.user_id(), "staff1");
        assert_eq!(
            serde_json::from_str::<Value>(&action.params).unwrap(),
            json!({"action": "confirm", "comment": "好"})
        );
    }

    #[test]
    fn the_action_is_the_parameter_or_else_the_first_button() {
        let cases = [
            (json!({"actionIds": ["confirm"]}), ActionKind::Confirm),
            (json!({"actionIds": ["dingtalk:reject", "x"], "params": {}}), ActionKind::Reject),
            (json!({"actionIds": ["end"]}), ActionKind::End),
            (json!({"params": {"action": "dingtalk:end"}}), ActionKind::End),
            (
                json!({"actionIds": ["confirm"], "params": {"action": "accept"}}),
                ActionKind::Custom("accept".to_owned()),
            ),
            (json!({"actionIds": [1]}), ActionKind::Custom("1".to_owned())),
            (
                json!({"actionIds": ["dingtalk:more"]}),
                ActionKind::Custom("dingtalk:more".to_owned()),
            ),
        ];
        for (private, expected) in cases {
            let entry = press(&with(&json!({ "cardPrivateData": private }))).entry;
            let Entry::Action(action) = entry else { panic!("{private} became {entry:?}") };
            assert_eq!(action.kind, expected, "{private}");
        }
    }

    #[test]
    fn content_may_be_called_value_and_may_be_an_object() {
        let mut value = fixture();
        let content = value.as_object_mut().unwrap().remove("content").unwrap();
        value["value"] = content.clone();
        assert_eq!(press(&value), press(&fixture()));
        value["content"] = serde_json::from_str(content.as_str().unwrap()).unwrap();
        assert_eq!(press(&value).entry, press(&fixture()).entry);
    }

    #[test]
    fn the_turn_is_read_from_the_head_of_the_track_id() {
        for tail in ["", "-1", "_x", ".3", "/9", "a.b", "中"] {
            let turn = turn_of(&format!("{TURN}{tail}"));
            assert_eq!(turn.map(|turn| turn.to_string()).as_deref(), Some(TURN), "{tail}");
        }
        assert_eq!(turn_of(&format!("{TURN}0")).unwrap().last.0, 420);
    }

    #[test]
    fn a_card_of_somebody_else_is_foreign_whatever_it_holds() {
        for track in ["057b18e7", "robot-1.short.1", &TURN.replace("robot-1", "robot-2"), "a.b.c.d"]
        {
            let value = json!({ "outTrackId": track, "content": "not json" });
            assert_eq!(inspect(&integration(), &(&value).into()), Ok(Outcome::Foreign), "{track}");
        }
    }

    #[test]
    fn a_press_without_what_it_needs_names_the_field() {
        let without = |field: &str| {
            let mut value = fixture();
            value.as_object_mut().unwrap().remove(field);
            value
        };
        let cases = [
            (without("outTrackId"), "outTrackId"),
            (without("userId"), "userId"),
            (without("content"), "content"),
            (with(&json!({})), "content"),
            (with(&json!("text")), "content"),
            (with(&json!({"cardPrivateData": {"actionIds": []}})), "content"),
            (json!(null), "outTrackId"),
        ];
        for (value, field) in cases {
            assert_eq!(inspect(&integration(), &(&value).into()), Err(Malformed(field)), "{value}");
        }
    }

    #[test]
    fn the_same_press_has_the_same_id_and_another_has_not() {
        let first = press(&fixture()).message_id;
        assert_eq!(first, press(&fixture()).message_id);
        let mut other = fixture();
        other["userId"] = json!("staff2");
        assert_ne!(first, press(&other).message_id);
        assert_ne!(
            first,
            press(&with(&json!({"cardPrivateData": {"actionIds": ["1"]}}))).message_id
        );
    }

    #[test]
    fn the_answer_names_only_what_changes() {
        let changes = BTreeMap::from([("status".to_owned(), "agree".to_owned())]);
        assert_eq!(
            response(&changes),
            json!({
                "cardData": {"cardParamMap": {"status": "agree"}},
                "cardUpdateOptions": {"updateCardDataByKey": true},
            })
        );
    }

    proptest! {
        #[test]
        fn any_text_in_any_field_is_read_without_a_panic(track: String, user: String, content: String, tail: String) {
            for track in [track, format!("{TURN}{tail}")] {
                let value = json!({ "outTrackId": track, "userId": user, "content": content });
                inspect(&integration(), &(&value).into()).ok();
                turn_of(&track);
            }
        }
    }
}
