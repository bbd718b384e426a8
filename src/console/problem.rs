//! What a refused call answers: `{"error":{"code","message","field"?}}`, with `items` where a
//! checklist found something.
//!
//! Errors that are not the caller's are logged here, once, and told without their inside.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::checklist::Item;
use crate::io::{journal, live, log, nats, store};

#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
    field: Option<String>,
    items: Option<Vec<Item>>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), field: None, items: None }
    }

    pub(super) fn unauthorized() -> Self {
        let message = "send the admin token as `Authorization: Bearer <DT_ADMIN_TOKEN>`";
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message)
    }

    pub(super) fn misdirected() -> Self {
        let message = "this server does not answer to the name in Host: add it to DT_CONSOLE_HOSTS";
        Self::new(StatusCode::MISDIRECTED_REQUEST, "HOST_UNKNOWN", message)
    }

    pub(super) fn unreadable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MALFORMED", message)
    }

    pub(super) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE", "the body has more than 1 MiB")
    }

    /// A field that cannot be taken as it is; the message does not repeat its value.
    pub(super) fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()),
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "INVALID_FIELD", message)
        }
    }

    pub(super) fn unknown_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: "UNKNOWN_FIELD", ..Self::field(field, message) }
    }

    pub(super) fn missing(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(super) fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 409 where the conflict is the only thing found, else 422.
    pub(super) fn checklist(items: Vec<Item>) -> Self {
        let is_conflict = items.iter().all(Item::is_conflict);
        let status =
            if is_conflict { StatusCode::CONFLICT } else { StatusCode::UNPROCESSABLE_ENTITY };
        let first = items.first();
        let code = first.map_or("INVALID_FIELD", |item| item.rule_code);
        let message = first.map(|item| item.message.en_us.clone()).unwrap_or_default();
        let field = first.map(|item| item.field.to_owned());
        Self { status, code, message, field, items: Some(items) }
    }

    fn unavailable(what: &'static str, error: &dyn std::fmt::Display) -> Self {
        tracing::warn!(%error, what, "an admin call was not served");
        let message = format!("{what} does not answer; try again");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message)
    }

    fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "an admin call failed");
        let message = "the call failed; the log of this process says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", message)
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Unavailable(_) => Self::unavailable("the database", &error),
            store::Error::Missing { .. } => Self::missing("NOT_FOUND", error.to_string()),
            store::Error::Exists { .. } => Self::conflict("EXISTS", error.to_string()),
            store::Error::InUse { .. } => Self::conflict("IN_USE", error.to_string()),
            store::Error::Stale { .. } => Self::conflict("CHANGED_MEANWHILE", error.to_string()),
            store::Error::Conflict { .. } => Self::conflict("CONFLICT", error.to_string()),
            store::Error::Refused(_)
            | store::Error::Migration(_)
            | store::Error::Key(_)
            | store::Error::Sealed(_)
            | store::Error::Unreadable { .. } => Self::internal(&error),
        }
    }
}

impl From<live::Error> for Problem {
    fn from(error: live::Error) -> Self {
        Self::unavailable("the broker", &error)
    }
}

impl From<nats::Error> for Problem {
    fn from(error: nats::Error) -> Self {
        Self::unavailable("the broker", &error)
    }
}

impl From<journal::Error> for Problem {
    fn from(error: journal::Error) -> Self {
        Self::unavailable("the broker", &error)
    }
}

impl From<log::Error> for Problem {
    fn from(error: log::Error) -> Self {
        Self::unavailable("the broker", &error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(field) = self.field {
            error["field"] = Value::String(field);
        }
        let mut body = json!({ "error": error });
        if let Some(items) = self.items {
            body["items"] = json!(items);
        }
        let mut response = (self.status, Json(body)).into_response();
        let extra = match self.status {
            StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, "Bearer")),
            StatusCode::SERVICE_UNAVAILABLE => Some((header::RETRY_AFTER, "1")),
            _ => None,
        };
        if let Some((name, value)) = extra {
            response.headers_mut().insert(name, header::HeaderValue::from_static(value));
        }
        response
    }
}

pub(super) async fn no_such_call() -> Problem {
    Problem::missing("NOT_FOUND", "there is no such call; the contract lists them")
}

pub(super) async fn no_such_method() -> Problem {
    let message = "this address takes other methods";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message)
}
