//! The two calls that Xpert's own pages make: how to fill in DingTalk's console, and which integrations
//! a trigger may choose.
//!
//! Their form is Xpert's, not ours. No secret is part of either.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::{Query, absent};
use super::problem::Problem;
use crate::domain::binding::{Integration, Mode};
use crate::domain::id::IntegrationId;

/// A speech bubble, small enough to be sent with every option.
const ICON: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 24 24\"><path fill=\"#1677ff\" d=\"M4 4h16v12H9l-5 4z\"/></svg>";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    integration: Option<String>,
}

/// Xpert's pages may add parameters of their own, so none is refused.
#[derive(Debug, Deserialize)]
pub(super) struct Anything {}

pub(super) async fn callback_config(
    State(state): State<super::State>,
    Query(which): Query<Which>,
) -> Result<Json<Value>, Problem> {
    let text = which
        .integration
        .filter(|text| !text.is_empty())
        .ok_or_else(|| Problem::unreadable("Missing query parameter: integration"))?;
    let id = IntegrationId::parse(&text).map_err(|_| absent::<IntegrationId>())?;
    let record = state.store.integration(&id).await?.ok_or_else(absent::<IntegrationId>)?;
    let integration = record.integration;
    Ok(Json(json!({
        "mode": "http",
        "callbackUrl": state.callback_url(id.as_str()),
        "httpCallbackEnabled": integration.mode == Mode::Http,
        "signatureAlgorithm": "sha1(sort(token,timestamp,nonce,encrypt))",
        "encryptedAck": true,
        "expectedAckMs": 1500,
        "requiredConfig": {
            "callbackToken": integration.callback_token.is_some(),
            "callbackAesKey": integration.callback_aes_key.is_some(),
            "callbackAppKey": !integration.client_id.is_empty(),
        },
        "subscriptionHints": [
            "机器人接收消息事件",
            "机器人卡片回调事件",
            "机器人会话变更相关事件（按需）",
        ],
    })))
}

/// Those in Stream mode first, then by name.
pub(super) async fn integration_options(
    State(state): State<super::State>,
    Query(Anything {}): Query<Anything>,
) -> Json<Value> {
    let mut integrations = state.routing.integrations();
    integrations.sort_by(|a, b| order(a).cmp(&order(b)));
    let options: Vec<_> = integrations.iter().map(|integration| option(integration)).collect();
    Json(Value::Array(options))
}

fn order(integration: &Integration) -> (bool, &str, &str) {
    (integration.mode != Mode::Stream, &integration.name, integration.id.as_str())
}

fn option(integration: &Integration) -> Value {
    let description = match integration.mode {
        Mode::Stream => "DingTalk Stream",
        Mode::Http => "DingTalk HTTP",
    };
    json!({
        "value": integration.id.as_str(),
        "label": integration.name,
        "description": description,
        "icon": { "type": "svg", "value": ICON },
    })
}
