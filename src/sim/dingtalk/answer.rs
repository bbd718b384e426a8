//! How the simulated cloud refuses: the newer API's error body, and the older one with `errcode`.
//!
//! Finds the app whose token a call shows, and writes each refused call into the book, so that a test
//! sees it. Faults that a test orders are `fault`'s.

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use std::sync::Arc;

use super::app::AppState;
use super::cloud::Cloud;
use super::record::{Kind, Record};

/// A refusal of `api.dingtalk.com`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub code: &'static str,
    pub message: &'static str,
}

pub fn refusal(status: u16, code: &'static str, message: &'static str) -> Refusal {
    Refusal { status, code, message }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let id = uuid::Uuid::new_v4().to_string().to_uppercase();
        let body = json!({ "code": self.code, "message": self.message, "requestid": id });
        (status, Json(body)).into_response()
    }
}

/// `oapi.dingtalk.com` says everything with HTTP 200.
pub fn told(code: i64, message: &str) -> Json<Value> {
    Json(json!({ "errcode": code, "errmsg": message }))
}

impl Cloud {
    /// The app whose token the caller shows.
    pub fn authorised(&self, headers: &HeaderMap) -> Result<Arc<AppState>, Refusal> {
        let token =
            headers.get("x-acs-dingtalk-access-token").and_then(|token| token.to_str().ok());
        token
            .and_then(|token| self.bearer(token))
            .ok_or_else(|| refusal(400, "InvalidAuthentication", "不合法的access_token"))
    }

    /// Writes a refused call into the book and hands the refusal on.
    pub fn refused(&self, app: &AppState, body: &Value, refusal: Refusal) -> Refusal {
        self.record(Record {
            kind: Kind::Refused,
            robot: app.app.client_id.clone(),
            detail: refusal.code.to_owned(),
            body: body.clone(),
            ..Record::default()
        });
        refusal
    }
}
