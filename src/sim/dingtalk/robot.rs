//! How the robot speaks: session webhooks, direct and group sends, reactions, and tokens for them.
//!
//! Guarantees DingTalk's refusals in DingTalk's words, sizes and expiry included, and one `Reply`
//! record for each message that a person would see.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Refusal, refusal, told};
use super::cloud::{Cloud, Conversation, Place, random_id};
use super::delivery::Push;
use super::record::{Kind, Record};
use crate::sim::locked;

/// The largest body a session webhook takes.
const WEBHOOK_MAX_BYTES: usize = 20_000;
/// The largest `msgParam` of the robot's direct and group sends.
const PARAM_MAX_BYTES: usize = 15_000;
const USERS_MAX: usize = 20;

/// What the robot said, and by which API.
struct Spoken {
    route: &'static str,
    key: String,
    text: String,
    body: Value,
}

#[derive(Deserialize)]
pub struct SessionQuery {
    #[serde(default)]
    session: String,
}

/// `POST /robot/sendBySession?session=`: failures come with HTTP 200.
pub async fn by_session(
    State(cloud): State<Arc<Cloud>>,
    Query(query): Query<SessionQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Json<Value> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(|kind| kind.starts_with("application/json")) {
        return told(43_004, "无效的HTTP HEADER Content-Type");
    }
    let Some(conversation) = cloud.session(&query.session) else {
        return told(300_001, "session 不存在");
    };
    if body.len() > WEBHOOK_MAX_BYTES {
        return told(460_101, "message too long, exceed 20000 bytes");
    }
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return told(40_035, "缺少参数 json");
    };
    match body.get("msgtype").and_then(Value::as_str) {
        Some("text" | "markdown" | "actionCard" | "feedCard" | "link") => {}
        Some("empty") => return told(0, "ok"),
        _ => return told(400_105, "unsupported msgtype"),
    }
    let Some(text) = text_of(&body) else { return told(40_035, "缺少参数 json") };
    cloud.spoke(&conversation, Spoken { route: "webhook", key: random_id("msg"), text, body });
    told(0, "ok")
}

/// What a person reads of a webhook message; `None` where its own part is missing.
fn text_of(body: &Value) -> Option<String> {
    let kind = body.get("msgtype")?.as_str()?;
    let part = body.get(kind)?;
    let text = match kind {
        "text" => part.get("content")?.as_str()?,
        "feedCard" => part.pointer("/links/0/title")?.as_str()?,
        _ => part.get("text")?.as_str()?,
    };
    Some(text.to_owned())
}

/// `POST /v1.0/robot/oToMessages/batchSend`.
pub async fn direct(
    State(cloud): State<Arc<Cloud>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Refusal> {
    let app = cloud.authorised(&headers)?;
    let refused = |refusal| cloud.refused(&app, &body, refusal);
    let message = param(&app.app, &body).map_err(refused)?;
    let users: Vec<&str> = body
        .get("userIds")
        .and_then(Value::as_array)
        .map(|users| users.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    if users.is_empty() {
        return Err(refused(refusal(400, "invalidParameter.userIds.empty", "userIds为空")));
    }
    if users.len() > USERS_MAX {
        return Err(refused(refusal(400, "invalidParameter.userIds.overMax", "userIds超过上限")));
    }
    let key = random_id("pqk");
    let (mut invalid, mut flow_controlled) = (Vec::new(), Vec::new());
    for user in users {
        // DingTalk's encrypted sender ids are not staff ids.
        if user.starts_with('$') || locked(&cloud.invalid_staff).contains(user) {
            invalid.push(user.to_owned());
        } else if locked(&cloud.flow_controlled).contains(user) {
            flow_controlled.push(user.to_owned());
        } else {
            let conversation = cloud.direct(&app.app.client_id, user);
            cloud.spoke(
                &conversation,
                Spoken {
                    route: "oto",
                    key: key.clone(),
                    text: message.clone(),
                    body: body.clone(),
                },
            );
        }
    }
    Ok(Json(json!({
        "processQueryKey": key,
        "invalidStaffIdList": invalid,
        "flowControlledStaffIdList": flow_controlled,
    })))
}

/// `POST /v1.0/robot/groupMessages/send`.
pub async fn group(
    State(cloud): State<Arc<Cloud>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Refusal> {
    let app = cloud.authorised(&headers)?;
    let refused = |refusal| cloud.refused(&app, &body, refusal);
    let message = param(&app.app, &body).map_err(refused)?;
    let id = body.get("openConversationId").and_then(Value::as_str).unwrap_or_default();
    if id.is_empty() {
        return Err(refused(refusal(400, "miss.openConversationId", "缺少openConversationId")));
    }
    let conversation = cloud
        .known_conversation(&app.app.client_id, id)
        .filter(|conversation| matches!(conversation.place, Place::Group { .. }))
        .ok_or_else(|| {
            refused(refusal(400, "invalid.openConversationId", "openConversationId无效"))
        })?;
    let key = random_id("pqk");
    cloud.spoke(&conversation, Spoken { route: "group", key: key.clone(), text: message, body });
    Ok(Json(json!({ "processQueryKey": key })))
}

/// Checks robot code, message key and parameters; gives the text a person reads.
fn param(app: &super::app::App, body: &Value) -> Result<String, Refusal> {
    let field = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    match field("robotCode") {
        "" => return Err(refusal(400, "invalidParameter.robotCode.empty", "robotCode为空")),
        code if code != app.robot_code() => {
            return Err(refusal(400, "invalidParameter.robotCode.auth", "robotCode无权限"));
        }
        _ => {}
    }
    let names: &[&str] = match field("msgKey") {
        "sampleText" => &["content"],
        "sampleMarkdown" | "sampleLink" | "sampleActionCard" | "sampleActionCard2"
        | "sampleActionCard3" | "sampleActionCard4" | "sampleActionCard5" | "sampleActionCard6" => {
            &["title", "text"]
        }
        "sampleImageMsg" => &["photoURL"],
        "sampleAudio" => &["mediaId", "duration"],
        "sampleFile" => &["mediaId", "fileName", "fileType"],
        "sampleVideo" => &["videoMediaId", "videoType"],
        "" => return Err(refusal(400, "invalidParameter.msgKey.empty", "msgKey为空")),
        _ => return Err(refusal(400, "invalidParameter.msgKey.invalid", "msgKey无效")),
    };
    let param = field("msgParam");
    if param.len() > PARAM_MAX_BYTES {
        return Err(refusal(400, "invalidParameter.msgParam.tooLong", "消息内容太长"));
    }
    let invalid = refusal(400, "invalidParameter.msgParam.invalid", "msgParam无效");
    let param: Value = serde_json::from_str(param).map_err(|_| invalid)?;
    if names.iter().any(|name| param.get(name).and_then(Value::as_str).is_none()) {
        return Err(invalid);
    }
    let text = names.last().and_then(|name| param.get(name)).and_then(Value::as_str);
    Ok(text.unwrap_or_default().to_owned())
}

/// `POST /v1.0/robot/emotion/reply` and `/recall`.
pub async fn emotion(
    State(cloud): State<Arc<Cloud>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Refusal> {
    let app = cloud.authorised(&headers)?;
    let field = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    if field("openMsgId").is_empty() || field("openConversationId").is_empty() {
        let missing = refusal(400, "invalidParameter.param.invalid", "缺少参数");
        return Err(cloud.refused(&app, &body, missing));
    }
    cloud.record(Record {
        kind: Kind::Reaction,
        robot: app.app.client_id.clone(),
        conversation: field("openConversationId"),
        msg_id: field("openMsgId"),
        text: field("emotionName"),
        body,
        ..Record::default()
    });
    Ok(Json(json!({ "success": true })))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    #[serde(default)]
    app_key: String,
    #[serde(default)]
    app_secret: String,
}

/// `POST /v1.0/oauth2/accessToken`.
pub async fn access_token(
    State(cloud): State<Arc<Cloud>>,
    Json(asked): Json<Credentials>,
) -> Result<Json<Value>, Refusal> {
    let token = cloud
        .grant(&asked.app_key, &asked.app_secret)
        .ok_or_else(|| refusal(400, "invalidClientIdOrSecret", "无效的clientId或者clientSecret"))?;
    Ok(Json(json!({ "accessToken": token, "expireIn": 7200 })))
}

#[derive(Deserialize)]
pub struct OldCredentials {
    #[serde(default)]
    appkey: String,
    #[serde(default)]
    appsecret: String,
}

/// `GET /gettoken`.
pub async fn get_token(
    State(cloud): State<Arc<Cloud>>,
    Query(asked): Query<OldCredentials>,
) -> Json<Value> {
    match cloud.grant(&asked.appkey, &asked.appsecret) {
        Some(token) => {
            Json(json!({ "errcode": 0, "access_token": token, "errmsg": "ok", "expires_in": 7200 }))
        }
        None => told(40_089, "不合法的corpid或corpsecret"),
    }
}

impl Cloud {
    fn grant(&self, key: &str, secret: &str) -> Option<String> {
        let app = self
            .app(key)
            .filter(|app| app.app.client_id == key && app.app.client_secret.expose() == secret)?;
        self.record(Record {
            kind: Kind::Token,
            robot: app.app.client_id.clone(),
            ..Record::default()
        });
        Some(self.token(key))
    }

    /// One message of the robot in a conversation, as a person sees it.
    fn spoke(&self, conversation: &Conversation, spoken: Spoken) {
        let person = match &conversation.place {
            Place::Direct { person } => person.clone(),
            Place::Group { .. } => String::new(),
        };
        self.record(Record {
            kind: Kind::Reply,
            robot: conversation.robot.clone(),
            conversation: conversation.id.clone(),
            person,
            msg_id: spoken.key,
            detail: spoken.route.to_owned(),
            text: spoken.text,
            body: spoken.body,
            ..Record::default()
        });
    }

    /// The HTTP response to a robot message may itself be a message.
    pub fn spoke_at_once(&self, push: &Push, answer: &Value) {
        let Some(text) = text_of(answer) else { return };
        let known = self.known_conversation(&push.app.app.client_id, &push.conversation);
        if let Some(conversation) = known {
            let body = answer.clone();
            self.spoke(&conversation, Spoken { route: "sync", key: random_id("msg"), text, body });
        }
    }
}
