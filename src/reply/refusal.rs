//! Why an answer is not taken: `{"error":{"code","message"}}`.
//!
//! The codes are part of the outside interface. What may work in a moment is a 503, so that the runtime
//! tries again; nothing of the answer is repeated in it.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::context::body;
use crate::io::{journal, nats};

#[derive(Debug)]
pub(super) enum Refusal {
    /// No such turn.
    Unknown,
    Unauthorized,
    /// The second answer, or one that nobody waits for any more.
    Late,
    Malformed(String),
    /// Far longer than what is kept of an answer.
    TooLarge,
    Unavailable,
}

impl From<body::Error> for Refusal {
    fn from(error: body::Error) -> Self {
        match error {
            body::Error::TooLarge(_) => Self::TooLarge,
            body::Error::Broken => Self::Malformed(error.to_string()),
        }
    }
}

impl From<journal::Error> for Refusal {
    fn from(error: journal::Error) -> Self {
        tracing::warn!(%error, "a late answer was not taken");
        Self::Unavailable
    }
}

impl From<nats::Error> for Refusal {
    fn from(error: nats::Error) -> Self {
        tracing::warn!(%error, "a late answer was not taken");
        Self::Unavailable
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, message) = match self {
            Self::Unknown => (StatusCode::NOT_FOUND, "TURN_NOT_FOUND", "there is no such turn"),
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "UNAUTHORIZED",
                "sign the request by Standard Webhooks with the runtime's secret and `webhook-id` = the \
                 turn id, or send the admin token to the console as `Authorization: Bearer …`",
            ),
            Self::Late => (
                StatusCode::CONFLICT,
                "ALREADY_ANSWERED",
                "the turn was answered, ended, or is asked again; this answer is not used",
            ),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "PAYLOAD_TOO_LARGE",
                "the answer is far longer than DT_ANSWER_MAX_BYTES: send less, and the rest as a file",
            ),
            Self::Malformed(ref why) => (StatusCode::BAD_REQUEST, "MALFORMED", why.as_str()),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "UNAVAILABLE",
                "the broker or the database does not answer; try again",
            ),
        };
        let body = Json(json!({ "error": { "code": code, "message": message } }));
        let mut response = (status, body).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
