//! The simulated Xpert server's refusals, in the JSON of its framework, and its times.
//!
//! The forms are those of the real server, so that our client is tested against what it will meet.
//! Which call is refused is decided where it is served.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    message: String,
    code: Option<&'static str>,
}

impl Refusal {
    pub fn new(status: StatusCode, message: &str) -> Self {
        Self { status, message: message.to_owned(), code: None }
    }

    /// A refusal that programs know by its code.
    pub fn coded(code: &'static str, message: &str) -> Self {
        Self { code: Some(code), ..Self::new(StatusCode::BAD_REQUEST, message) }
    }

    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, &format!("The requested {what} was not found"))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        if let Some(code) = self.code {
            return (self.status, Json(json!({ "code": code, "message": self.message })))
                .into_response();
        }
        let body = json!({
            "statusCode": self.status.as_u16(),
            "message": self.message,
            "error": self.status.canonical_reason().unwrap_or_default(),
        });
        (self.status, Json(body)).into_response()
    }
}

/// RFC 3339 in UTC.
pub fn time_text(ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}
