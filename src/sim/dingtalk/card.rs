//! Interactive cards: created, delivered, updated, streamed, and pressed.
//!
//! Guarantees DingTalk's traps: an update overwrites unless it says otherwise, an `outTrackId` is used
//! once, a wrong space fails inside a 200, and a card's callbacks come the way its creator chose.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::answer::{Refusal, refusal};
use super::app::AppState;
use super::cloud::{Cloud, Place, random_id};
use super::delivery::{Push, PushKind};
use super::record::{Kind, Record};
use crate::sim::locked;

/// The largest text of one streaming call that the simulator takes.
const CONTENT_MAX_BYTES: usize = 60_000;

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Card {
    pub out_track_id: String,
    pub template: String,
    pub robot: String,
    pub conversation: String,
    pub params: Map<String, Value>,
    /// By user, then as `params`.
    pub private: Map<String, Value>,
    /// `STREAM` or `HTTP`.
    pub callback_type: String,
    pub route_key: String,
    /// `processing`, `inputing`, `finished`, `failed`: how far its streaming is.
    pub stream_state: String,
    #[serde(skip)]
    guids: BTreeSet<String>,
}

/// Somebody presses a button.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Click {
    pub out_track_id: String,
    /// The staff id of who presses.
    pub user: String,
    #[serde(default)]
    pub action_ids: Vec<String>,
    #[serde(default)]
    pub params: Value,
}

fn text<'a>(body: &'a Value, name: &str) -> &'a str {
    body.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// `POST /v1.0/card/instances`.
pub async fn create(
    State(cloud): State<Arc<Cloud>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Refusal> {
    let app = cloud.authorised(&headers)?;
    put(&cloud, &app, &body).map_err(|refusal| cloud.refused(&app, &body, refusal))?;
    note(&cloud, "create", text(&body, "outTrackId"), &body);
    Ok(Json(json!({ "success": true, "result": text(&body, "outTrackId") })))
}

/// `POST /v1.0/card/instances/deliver`.
pub async fn deliver(
    State(cloud): State<Arc<Cloud>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Refusal> {
    let app = cloud.authorised(&headers)?;
    let results = place(&cloud, &app, &body).map_err(|r| cloud.refused(&app, &body, r))?;
    note(&cloud, "deliver", text(&body, "outTrackId"), &body);
    Ok(Json(json!({ "success": true, "result": results })))
}

/// `POST /v1.0/card/instances/createAndDeliver`.
pub async fn create_and_deliver(
    State(cloud): State<Arc<Cloud>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Refusal> {
    let app = cloud.authorised(&headers)?;
    put(&cloud, &app, &body).map_err(|r| cloud.refused(&app, &body, r))?;
    let results = place(&cloud, &app, &body).map_err(|r| cloud.refused(&app, &body, r))?;
    let id = text(&body, "outTrackId");
    note(&cloud, "deliver", id, &body);
    Ok(Json(json!({ "success": true, "result": { "outTrackId": id, "deliverResults": results } })))
}

fn put(cloud: &Cloud, app: &AppState, body: &Value) -> Result<(), Refusal> {
    let id = text(body, "outTrackId");
    if text(body, "cardTemplateId").is_empty() {
        return Err(refusal(400, "param.cardTemplateIdEmpty", "cardTemplateId empty"));
    }
    if id.is_empty() {
        return Err(refusal(400, "param.outTrackIdEmpty", "outTrackId empty"));
    }
    let Some(params) = body.pointer("/cardData/cardParamMap").and_then(Value::as_object) else {
        return Err(refusal(400, "param.cardPublicDataEmpty", "cardData empty"));
    };
    if params.iter().any(|(_, value)| !value.is_string()) {
        return Err(refusal(400, "param.invalid", "cardParamMap takes strings"));
    }
    let card = Card {
        out_track_id: id.to_owned(),
        template: text(body, "cardTemplateId").to_owned(),
        robot: app.app.client_id.clone(),
        params: params.clone(),
        callback_type: text(body, "callbackType").to_owned(),
        route_key: text(body, "callbackRouteKey").to_owned(),
        stream_state: "processing".to_owned(),
        ..Card::default()
    };
    let mut cards = locked(&cloud.cards);
    if cards.contains_key(id) {
        return Err(refusal(400, "param.cardAlreadyExist", "outTrackId already exists"));
    }
    cards.insert(id.to_owned(), card);
    Ok(())
}

fn place(cloud: &Cloud, app: &AppState, body: &Value) -> Result<Value, Refusal> {
    let space = text(body, "openSpaceId");
    if space.is_empty() {
        return Err(refusal(400, "param.openSpaceIdEmpty", "openSpaceId empty"));
    }
    let Some((kind, id)) = space.strip_prefix("dtv1.card//").and_then(|rest| rest.split_once('.'))
    else {
        return Err(refusal(400, "param.openSpaceIdInvalid", "openSpaceId invalid"));
    };
    let robot = &app.app.client_id;
    let kind = kind.to_uppercase();
    let (conversation, model) = match kind.as_str() {
        // A conversation id is not a person: the classic mistake, told inside a 200.
        "IM_ROBOT" if id.starts_with("cid") => (None, "imRobotOpenDeliverModel"),
        "IM_ROBOT" => (Some(cloud.direct(robot, id)), "imRobotOpenDeliverModel"),
        "IM_GROUP" => {
            let known = cloud.known_conversation(robot, id);
            (known.filter(|c| matches!(c.place, Place::Group { .. })), "imGroupOpenDeliverModel")
        }
        _ => return Err(refusal(400, "param.openSpaceIdInvalid", "space type unknown")),
    };
    let Some(model) = body.get(model) else {
        return Err(refusal(400, "param.openDeliverModelEmpty", "deliver model empty"));
    };
    if kind == "IM_GROUP" && text(model, "robotCode") != app.app.robot_code() {
        return Err(refusal(400, "param.openDeliverModelError", "robotCode wrong"));
    }
    let Some(conversation) = conversation else {
        return Ok(json!([{
            "spaceType": kind, "spaceId": id, "success": false, "errorMsg": "spaceId is illegal",
        }]));
    };
    let mut cards = locked(&cloud.cards);
    let Some(card) = cards.get_mut(text(body, "outTrackId")) else {
        return Err(refusal(400, "param.cardNotExist", "card is not exist"));
    };
    card.conversation.clone_from(&conversation.id);
    let carrier = random_id("");
    Ok(json!([{
        "spaceType": kind, "spaceId": id, "success": true, "carrierId": carrier, "errorMsg": "",
    }]))
}

/// `PUT /v1.0/card/instances`.
pub async fn update(
    State(cloud): State<Arc<Cloud>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Refusal> {
    let app = cloud.authorised(&headers)?;
    let id = text(&body, "outTrackId");
    let refused = |refusal| cloud.refused(&app, &body, refusal);
    if id.is_empty() {
        return Err(refused(refusal(400, "param.outTrackIdEmpty", "outTrackId empty")));
    }
    if body.get("cardData").is_none() && body.get("privateData").is_none() {
        let both = "param.cardDataAndPrivateDataBothEmpty";
        return Err(refused(refusal(400, both, "cardData and privateData empty")));
    }
    if !change(&cloud, id, &body) {
        return Err(refused(refusal(400, "param.cardNotExist", "card is not exist")));
    }
    note(&cloud, "update", id, &body);
    Ok(Json(json!({ "success": true, "result": true })))
}

/// Applies `cardData`, `privateData` and `cardUpdateOptions`; false where there is no such card.
fn change(cloud: &Cloud, id: &str, body: &Value) -> bool {
    let mut cards = locked(&cloud.cards);
    let Some(card) = cards.get_mut(id) else { return false };
    let by_key =
        |name: &str| body.pointer(&format!("/cardUpdateOptions/{name}")) == Some(&json!(true));
    if let Some(params) = body.pointer("/cardData/cardParamMap").and_then(Value::as_object) {
        if !by_key("updateCardDataByKey") {
            card.params.clear();
        }
        card.params.extend(params.clone());
    }
    if let Some(private) = body.get("privateData").and_then(Value::as_object) {
        if !by_key("updatePrivateDataByKey") {
            card.private.clear();
        }
        card.private.extend(private.clone());
    }
    true
}

/// `PUT /v1.0/card/streaming`.
pub async fn streaming(
    State(cloud): State<Arc<Cloud>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Refusal> {
    let app = cloud.authorised(&headers)?;
    stream(&cloud, &body).map_err(|refusal| cloud.refused(&app, &body, refusal))?;
    note(&cloud, "stream", text(&body, "outTrackId"), &body);
    Ok(Json(json!({ "success": true, "result": true })))
}

fn stream(cloud: &Cloud, body: &Value) -> Result<(), Refusal> {
    let is = |name: &str| body.get(name) == Some(&json!(true));
    let (key, content, guid) = (text(body, "key"), text(body, "content"), text(body, "guid"));
    if key.is_empty() {
        return Err(refusal(400, "param.stream.keyEmpty", "key empty"));
    }
    if guid.is_empty() {
        return Err(refusal(400, "param.stream.guidEmpty", "guid empty"));
    }
    if content.is_empty() && !is("isError") {
        return Err(refusal(400, "param.stream.contentEmpty", "content empty"));
    }
    if content.len() > CONTENT_MAX_BYTES {
        return Err(refusal(400, "param.stream.content", "content is too large"));
    }
    let mut cards = locked(&cloud.cards);
    let Some(card) = cards.get_mut(text(body, "outTrackId")) else {
        return Err(refusal(400, "param.stream.outTrackId", "card is not exist"));
    };
    if !card.params.contains_key(key) {
        return Err(refusal(500, "unknownError", "未知错误"));
    }
    if !card.guids.insert(guid.to_owned()) {
        return Ok(());
    }
    if is("isFull") {
        card.params.insert(key.to_owned(), json!(content));
    } else if let Some(Value::String(known)) = card.params.get_mut(key) {
        known.push_str(content);
    }
    card.stream_state = match (is("isError"), is("isFinalize")) {
        (true, _) => "failed",
        (false, true) => "finished",
        (false, false) => "inputing",
    }
    .to_owned();
    Ok(())
}

/// `POST /v1.0/card/callbacks/register`.
pub async fn register(
    State(cloud): State<Arc<Cloud>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Refusal> {
    let app = cloud.authorised(&headers)?;
    let (key, url) = (text(&body, "callbackRouteKey"), text(&body, "callbackUrl"));
    if key.is_empty() {
        return Err(refusal(400, "param.callbackRouteKeyEmpty", "callbackRouteKey empty"));
    }
    if url.is_empty() {
        return Err(refusal(400, "param.callbackUrlEmpty", "callbackUrl empty"));
    }
    let secret = text(&body, "apiSecret").to_owned();
    let mut routes = locked(&cloud.routes);
    if routes.contains_key(key) && body.get("forceUpdate") != Some(&json!(true)) {
        return Err(refusal(500, "param.callbackRouteKeyExist", "callbackRouteKey exists"));
    }
    routes.insert(key.to_owned(), (url.to_owned(), secret.clone()));
    cloud.record(Record {
        kind: Kind::Registered,
        robot: app.app.client_id.clone(),
        detail: key.to_owned(),
        text: url.to_owned(),
        ..Record::default()
    });
    Ok(Json(json!({ "success": true, "result": { "callbackUrl": url, "apiSecret": secret } })))
}

fn note(cloud: &Cloud, what: &str, id: &str, body: &Value) {
    let card = locked(&cloud.cards).get(id).cloned().unwrap_or_default();
    cloud.record(Record {
        kind: Kind::Card,
        robot: card.robot,
        conversation: card.conversation,
        msg_id: id.to_owned(),
        detail: what.to_owned(),
        text: card.stream_state,
        body: body.clone(),
        ..Record::default()
    });
}

/// What the service answered to a callback changes the card at once.
pub fn apply_response(cloud: &Cloud, push: &Push, response: &Value) {
    let private = response.get("userPrivateData").cloned();
    let mut body = response.clone();
    if let (Some(private), Some(fields)) = (private, body.as_object_mut()) {
        fields.insert("privateData".to_owned(), json!({ push.person.clone(): private }));
    }
    if change(cloud, &push.msg_id, &body) && body.get("cardData").is_some() {
        note(cloud, "response", &push.msg_id, &body);
    }
}

impl Cloud {
    /// Presses a button. The receiver gets the service's answer; `None` where there is no such card.
    pub fn click(self: &Arc<Self>, click: &Click) -> Option<oneshot::Receiver<Value>> {
        let card = locked(&self.cards).get(&click.out_track_id).cloned()?;
        let app = self.app(&card.robot)?;
        let is_http = card.callback_type == "HTTP";
        let route =
            if is_http { Some(locked(&self.routes).get(&card.route_key).cloned()?) } else { None };
        let place = self.known_conversation(&card.robot, &card.conversation)?;
        let space_type = match place.place {
            Place::Direct { .. } => "IM_ROBOT",
            Place::Group { .. } => "IM_GROUP",
        };
        let params = if click.params.is_null() { json!({}) } else { click.params.clone() };
        let private =
            json!({ "cardPrivateData": { "actionIds": click.action_ids, "params": params } });
        let data = json!({
            "type": "actionCallback",
            "outTrackId": click.out_track_id,
            "corpId": super::message::CORP_ID,
            "userId": click.user,
            "userIdType": 1,
            "spaceType": space_type,
            "spaceId": card.conversation,
            "extension": "{}",
            "content": private.to_string(),
        });
        let push = Push {
            app,
            kind: PushKind::Card { route },
            conversation: card.conversation,
            person: click.user.clone(),
            msg_id: click.out_track_id.clone(),
            data,
        };
        let (answer, answered) = oneshot::channel();
        self.push(push, Some(answer));
        Some(answered)
    }
}
