//! The card of a runtime's question: what is written to DingTalk to show it and to close it.
//!
//! The variables are what a template may use: `title`, `content` (Markdown), `btns` (a button group's
//! dynamic buttons), `open` (`true` until it is closed) and `result` (how it was closed). Its `outTrackId`
//! is the id of the turn that asked, so that a card is made once however often it is asked for. DingTalk
//! takes strings only.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::domain::binding::Language;
use crate::domain::entry::Origin;
use crate::domain::id::{IntegrationId, TurnId};
use crate::domain::inbound::PlaceKind;
use crate::domain::secret::Secret;
use crate::domain::words::Word;
use crate::protocol::http::excerpt;
use crate::protocol::send::codes::{Cause, Class};
use crate::protocol::send::verdict::{Verdict, judge_card};

pub const CREATE: &str = "/v1.0/card/instances/createAndDeliver";
pub const UPDATE: &str = "/v1.0/card/instances";
pub const REGISTER: &str = "/v1.0/card/callbacks/register";

/// DingTalk recommends no more for a card's text; what is longer is asked in a message.
pub const TEXT_MAX_BYTES: usize = 3000;

/// What there is to decide, and for whom.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub turn: &'a TurnId,
    pub template: &'a str,
    pub robot_code: &'a str,
    pub title: &'a str,
    /// Markdown.
    pub text: &'a str,
    pub language: Language,
    /// Whether the asker is mentioned in a group.
    pub is_mentioned: bool,
}

/// How DingTalk tells of a press.
#[derive(Debug, Clone)]
pub enum Callback {
    Stream,
    Http(Route),
}

/// The address that DingTalk calls, and the secret by which it signs.
#[derive(Debug, Clone)]
pub struct Route {
    pub url: String,
    pub secret: Secret,
}

pub fn route_key(integration: &IntegrationId) -> String {
    format!("dt-{integration}")
}

/// `None` where DingTalk has no place for a card: a person without a staff id, a group without an id.
pub fn create(question: Question<'_>, origin: &Origin, callback: &Callback) -> Option<Vec<u8>> {
    let Question { turn, template, robot_code, title, .. } = question;
    let model = json!({
        "supportForward": false,
        "lastMessageI18n": { "ZH_CN": title },
        "notification": { "alertContent": title, "notificationOff": false },
    });
    let mut body = json!({
        "cardTemplateId": template,
        "outTrackId": turn.to_string(),
        "cardData": { "cardParamMap": opened(question) },
        "userIdType": 1,
        "callbackType": match callback { Callback::Stream => "STREAM", Callback::Http(_) => "HTTP" },
    });
    let fields = body.as_object_mut()?;
    if let Callback::Http(_) = callback {
        let key = route_key(&turn.conversation.integration);
        fields.insert("callbackRouteKey".to_owned(), json!(key));
    }
    let staff_id = origin.sender.staff_id.as_deref().filter(|id| !id.is_empty());
    let (space, space_model, deliver_model, mut deliver) = match origin.place.kind {
        PlaceKind::Private => (
            format!("IM_ROBOT.{}", staff_id?),
            "imRobotOpenSpaceModel",
            "imRobotOpenDeliverModel",
            json!({ "spaceType": "IM_ROBOT", "robotCode": robot_code }),
        ),
        PlaceKind::Group if origin.place.id.is_empty() => return None,
        PlaceKind::Group => (
            format!("IM_GROUP.{}", origin.place.id),
            "imGroupOpenSpaceModel",
            "imGroupOpenDeliverModel",
            json!({ "robotCode": robot_code }),
        ),
    };
    let mentioned = staff_id.filter(|_| question.is_mentioned);
    if let (PlaceKind::Group, Some(id), Some(deliver)) =
        (origin.place.kind, mentioned, deliver.as_object_mut())
    {
        let name = match origin.sender.name.as_str() {
            "" => id,
            name => name,
        };
        deliver.insert("atUserIds".to_owned(), json!({ id: name }));
    }
    fields.insert("openSpaceId".to_owned(), json!(format!("dtv1.card//{space}")));
    fields.insert(space_model.to_owned(), model);
    fields.insert(deliver_model.to_owned(), deliver);
    Some(bytes(&body))
}

/// The update that closes the card. Without a `result` the one it has stays.
pub fn close(turn: &TurnId, language: Language, result: Option<&str>) -> Vec<u8> {
    bytes(&json!({
        "outTrackId": turn.to_string(),
        "cardData": { "cardParamMap": closed(language, result) },
        "cardUpdateOptions": { "updateCardDataByKey": true },
    }))
}

pub fn register(integration: &IntegrationId, route: &Route) -> Vec<u8> {
    bytes(&json!({
        "callbackRouteKey": route_key(integration),
        "callbackUrl": route.url,
        "apiSecret": route.secret.expose(),
        "forceUpdate": true,
    }))
}

/// The variables that change when a question is closed.
pub fn closed(language: Language, result: Option<&str>) -> BTreeMap<String, String> {
    let mut params = BTreeMap::from([
        ("open".to_owned(), "false".to_owned()),
        ("btns".to_owned(), buttons(language, "disabled")),
    ]);
    params.extend(result.map(|result| ("result".to_owned(), result.to_owned())));
    params
}

fn opened(question: Question<'_>) -> BTreeMap<String, String> {
    let params = [
        ("title", question.title.to_owned()),
        // In a card's text a line feed ends no line.
        ("content", question.text.replace("  \n  ", "<br>")),
        ("btns", buttons(question.language, "normal")),
        ("open", "true".to_owned()),
        ("result", String::new()),
    ];
    params.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn buttons(language: Language, status: &str) -> String {
    let all = [
        ("confirm", Word::Confirm, "blue"),
        ("reject", Word::Reject, "gray"),
        ("end", Word::End, "gray"),
    ];
    let button = |(action, word, color): (&str, Word, &str)| {
        let params = json!({ "actionId": action, "params": { "action": action } });
        json!({
            "text": word.text(language),
            "color": color,
            "status": status,
            "event": { "type": "sendCardRequest", "params": params },
        })
    };
    Value::from_iter(all.map(button)).to_string()
}

/// The answer to each of the three calls.
pub fn judge(status: u16, after: Option<Duration>, body: &[u8]) -> Verdict {
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let code = value.as_ref().and_then(|value| value.get("code")).and_then(Value::as_str);
    // An earlier try made it, and only its answer was lost.
    if code == Some("param.cardAlreadyExist") {
        return Verdict::Delivered { query_key: None };
    }
    let is_refused = |value: &Value| value.get("success") == Some(&Value::Bool(false));
    let results = value.as_ref().and_then(|value| value.pointer("/result/deliverResults"));
    let results = results.and_then(Value::as_array).into_iter().flatten();
    // What was delivered nowhere is told inside a 200.
    if (200..300).contains(&status) && (code.is_none() && value.as_ref().is_some_and(is_refused))
        || results.into_iter().any(is_refused)
    {
        let detail = format!("{status}: {}", excerpt(body));
        return Verdict::Failed { class: Class::Permanent(Cause::Address), detail };
    }
    judge_card(status, after, body)
}

fn bytes(body: &Value) -> Vec<u8> {
    serde_json::to_vec(body).expect("a JSON value is always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::inbound::{Place, Sender};
    use crate::protocol::send::codes::Scope;

    fn turn() -> TurnId {
        "robot-1.abcdefghijklmnopqrstuvwx23.42".parse().unwrap()
    }

    fn origin(kind: PlaceKind, staff_id: Option<&str>) -> Origin {
        Origin {
            place: Place { id: "cid+A==".to_owned(), kind, title: None },
            sender: Sender {
                id: "$:x".to_owned(),
                staff_id: staff_id.map(ToOwned::to_owned),
                name: "Ann".to_owned(),
                corp_id: None,
            },
            robot_code: None,
            webhook: None,
        }
    }

    fn made(origin: &Origin, callback: &Callback) -> Option<Value> {
        let turn = turn();
        let question = Question {
            turn: &turn,
            template: "t.schema",
            robot_code: "robot",
            title: "Pay?",
            text: "a  \n  b",
            language: Language::En,
            is_mentioned: true,
        };
        Some(serde_json::from_slice(&create(question, origin, callback)?).unwrap())
    }

    #[test]
    fn a_card_goes_to_a_person_or_a_group_and_tells_how_presses_come_back() {
        let direct = made(&origin(PlaceKind::Private, Some("ann")), &Callback::Stream).unwrap();
        assert_eq!(direct["outTrackId"], turn().to_string());
        assert_eq!(direct["openSpaceId"], "dtv1.card//IM_ROBOT.ann");
        assert_eq!(direct["imRobotOpenDeliverModel"]["spaceType"], "IM_ROBOT");
        assert_eq!(direct["callbackType"], "STREAM");
        assert!(direct.get("callbackRouteKey").is_none());
        let params = &direct["cardData"]["cardParamMap"];
        assert_eq!((&params["content"], &params["open"]), (&json!("a<br>b"), &json!("true")));
        let buttons: Value = serde_json::from_str(params["btns"].as_str().unwrap()).unwrap();
        assert_eq!(
            (&buttons[0]["text"], &buttons[0]["status"]),
            (&json!("Confirm"), &json!("normal"))
        );
        assert_eq!(
            buttons[1]["event"]["params"],
            json!({"actionId": "reject", "params": {"action": "reject"}})
        );
        assert!(params.as_object().unwrap().values().all(Value::is_string));

        let route = Route { url: "https://x/".to_owned(), secret: Secret::new("s") };
        let callback = Callback::Http(route);
        let group = made(&origin(PlaceKind::Group, Some("ann")), &callback).unwrap();
        assert_eq!(group["openSpaceId"], "dtv1.card//IM_GROUP.cid+A==");
        let deliver = json!({"robotCode": "robot", "atUserIds": {"ann": "Ann"}});
        assert_eq!(group["imGroupOpenDeliverModel"], deliver);
        assert_eq!(
            (&group["callbackType"], &group["callbackRouteKey"]),
            (&json!("HTTP"), &json!("dt-robot-1"))
        );
        let outsider = made(&origin(PlaceKind::Group, None), &callback).unwrap();
        assert!(outsider["imGroupOpenDeliverModel"].get("atUserIds").is_none());
        assert_eq!(made(&origin(PlaceKind::Private, None), &callback), None);
    }

    #[test]
    fn a_closed_card_keeps_what_it_says_and_loses_its_buttons() {
        let body: Value =
            serde_json::from_slice(&close(&turn(), Language::ZhHans, Some("已确认"))).unwrap();
        assert_eq!(body["cardUpdateOptions"]["updateCardDataByKey"], true);
        let params = &body["cardData"]["cardParamMap"];
        assert_eq!((&params["open"], &params["result"]), (&json!("false"), &json!("已确认")));
        assert!(params["btns"].as_str().unwrap().matches("\"disabled\"").count() == 3);
        assert!(params.get("content").is_none());
        assert!(!closed(Language::En, None).contains_key("result"), "what was chosen stays");
    }

    #[test]
    fn an_answer_is_judged_by_its_code_and_by_where_the_card_was_delivered() {
        let second = Duration::from_secs(1);
        let refused = Some(Class::Permanent(Cause::Address));
        let fast = |scope| Some(Class::Rate { after: second, scope });
        let table = [
            (200, r#"{"success":true,"result":{"deliverResults":[{"success":true}]}}"#, None),
            (200, r#"{"success":true,"result":true}"#, None),
            (400, r#"{"code":"param.cardAlreadyExist"}"#, None),
            (200, r#"{"success":true,"result":{"deliverResults":[{"success":false}]}}"#, refused),
            (200, r#"{"success":false}"#, refused),
            (400, r#"{"code":"param.templateNotExist"}"#, Some(Class::Template)),
            (400, r#"{"code":"param.templateUnpublished"}"#, Some(Class::Template)),
            (500, r#"{"code":"unknownError"}"#, Some(Class::Template)),
            (400, r#"{"code":"param.cardNotExist"}"#, Some(Class::Permanent(Cause::Card))),
            (400, r#"{"code":"param.stream.outTrackId"}"#, Some(Class::Permanent(Cause::Card))),
            (400, r#"{"code":"param.contentUnsafe"}"#, Some(Class::Content)),
            (400, r#"{"code":"param.stream.content"}"#, Some(Class::TooLong)),
            (403, r#"{"code":"Forbidden.AccessDenied.QpsLimitForAppkeyAndApi"}"#, fast(Scope::App)),
            (403, r#"{"code":"Forbidden"}"#, fast(Scope::Card)),
            (
                403,
                r#"{"code":"Forbidden.AccessDenied.AccessTokenPermissionDenied"}"#,
                Some(Class::Next(Cause::Permission)),
            ),
            (500, r#"{"code":"system.busy"}"#, Some(Class::Retry { is_ambiguous: false })),
            (401, "{}", Some(Class::Token)),
        ];
        for (status, body, expected) in table {
            let found = match judge(status, None, body.as_bytes()) {
                Verdict::Delivered { .. } => None,
                Verdict::Failed { class, .. } => Some(class),
            };
            assert_eq!(found, expected, "{status} {body}");
        }
    }
}
