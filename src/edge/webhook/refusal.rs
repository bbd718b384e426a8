//! The error answers of the webhook: one status, one code, one sentence.
//!
//! The sentence says what to do and names the part, never its content.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::context::body;
use crate::io::{log, store};
use crate::protocol::callback;

/// A sender that comes back after this finds the edge most often well again.
const RETRY_AFTER: &str = "1";

/// Why a request got no success answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    /// What the operator is told and the sender is not.
    pub exact: Option<&'static str>,
}

impl Refusal {
    pub fn unknown_integration() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            code: "INTEGRATION_NOT_FOUND",
            message: "no integration has this id: check the callback address".to_owned(),
            exact: None,
        }
    }

    pub fn no_such_call() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            code: "NOT_FOUND",
            message:
                "nothing is at this address: callbacks come to /api/dingtalk/webhook/ and the \
                      id of an integration"
                    .to_owned(),
            exact: None,
        }
    }

    pub fn no_such_method() -> Self {
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            code: "METHOD_NOT_ALLOWED",
            message: "this address takes no such method: callbacks are sent with POST".to_owned(),
            exact: None,
        }
    }

    pub fn not_http_mode() -> Self {
        Self {
            status: StatusCode::CONFLICT,
            code: "NOT_HTTP_MODE",
            message: "the integration is in stream mode: set its mode to http to use callbacks"
                .to_owned(),
            exact: None,
        }
    }

    pub fn too_large(message: String) -> Self {
        Self {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            code: "PAYLOAD_TOO_LARGE",
            message,
            exact: None,
        }
    }

    /// As the operator sees it.
    pub fn reason(&self) -> String {
        self.exact.map_or_else(|| self.code.to_owned(), |part| format!("{}: {part}", self.code))
    }

    pub fn too_late() -> Self {
        Self::not_durable("the message could not be stored in time")
    }

    fn not_durable(why: &str) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "NOT_DURABLE",
            message: format!("{why}: send it again"),
            exact: None,
        }
    }
}

impl From<callback::Error> for Refusal {
    fn from(error: callback::Error) -> Self {
        let status = match error {
            callback::Error::Malformed(_) | callback::Error::Unreadable(_) => {
                StatusCode::BAD_REQUEST
            }
            callback::Error::SignatureMissing(_)
            | callback::Error::SignatureMismatch
            | callback::Error::TimestampOutOfWindow
            | callback::Error::ReceiverMismatch => StatusCode::UNAUTHORIZED,
        };
        let exact = match error {
            callback::Error::Unreadable(part) => Some(part),
            _ => None,
        };
        Self { status, code: error.code(), message: error.to_string(), exact }
    }
}

impl From<body::Error> for Refusal {
    fn from(error: body::Error) -> Self {
        match error {
            body::Error::TooLarge(_) => Self::too_large(format!("{error}: see DT_BODY_MAX_BYTES")),
            body::Error::Broken => callback::Error::Malformed("the body").into(),
        }
    }
}

impl From<log::Error> for Refusal {
    fn from(error: log::Error) -> Self {
        if matches!(error, log::Error::TooLarge { .. }) {
            return Self::too_large(error.to_string());
        }
        tracing::warn!(%error, "the log did not take an entry");
        Self::not_durable("the log did not confirm the message")
    }
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        tracing::warn!(%error, "an integration could not be read");
        Self::not_durable("the integration could not be read")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": { "code": self.code, "message": self.message } }));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            return (self.status, [(header::RETRY_AFTER, RETRY_AFTER)], body).into_response();
        }
        (self.status, body).into_response()
    }
}
