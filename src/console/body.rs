//! Reading requests: JSON bodies, query strings and ids in paths.
//!
//! Guarantees the contract's answers: 400 for what is no JSON, 422 with the field for what is JSON and
//! cannot be taken, an unknown field among it. A content type is not asked for.

use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer};
use serde_json::Value;

use super::problem::Problem;
use crate::domain::id::{ConversationKey, ExpertId, IntegrationId};

/// A body of JSON.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                Problem::too_large()
            } else {
                Problem::unreadable("the body could not be read to its end")
            }
        })?;
        let json: Value = serde_json::from_slice(&bytes).map_err(|error| {
            Problem::unreadable(format!(
                "the body is no JSON: line {}, column {}",
                error.line(),
                error.column()
            ))
        })?;
        if !json.is_object() {
            return Err(Problem::field("", "the body must be a JSON object"));
        }
        serde_path_to_error::deserialize(json).map(Self).map_err(|error| refused(&error))
    }
}

/// The parameters behind the question mark.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Problem::unreadable("the query string cannot be read"))?;
        let mut json = serde_json::Map::new();
        for (name, value) in query.0 {
            if json.insert(name.clone(), Value::String(value)).is_some() {
                return Err(Problem::field(name, "is given twice"));
            }
        }
        let json = Value::Object(json);
        serde_path_to_error::deserialize(json).map(Self).map_err(|error| refused(&error))
    }
}

/// The words of serde name an unknown or missing field; everything else is named by its path.
fn refused(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let path = error.path().to_string();
    let said = error.inner().to_string();
    let quoted = |prefix: &str| {
        said.strip_prefix(prefix).and_then(|rest| rest.split('`').next()).map(str::to_owned)
    };
    if let Some(name) = quoted("unknown field `") {
        let field = within(&path, &name);
        let message = format!("{field} is not a field of this call");
        return Problem::unknown_field(field, message);
    }
    if let Some(name) = quoted("missing field `") {
        let field = within(&path, &name);
        let message = format!("{field} is required");
        return Problem::field(field, message);
    }
    // Without the value, which may be a secret.
    let expected = said.rsplit_once("expected ").map_or("another type", |(_, expected)| expected);
    let message = format!("{path} must be {expected}");
    Problem::field(path, message)
}

fn within(path: &str, name: &str) -> String {
    let is_inside = path == name || path.ends_with(&format!(".{name}"));
    match path {
        "." | "?" => name.to_owned(),
        _ if is_inside => path.to_owned(),
        _ => format!("{path}.{name}"),
    }
}

/// An id in the path. What is no id names nothing, so it is 404.
pub(super) struct Id<T>(pub(super) T);

/// What an id in a path stands for.
pub(super) trait Named: FromStr {
    const NOT_FOUND: &'static str;
    const WHAT: &'static str;
}

impl Named for IntegrationId {
    const NOT_FOUND: &'static str = "INTEGRATION_NOT_FOUND";
    const WHAT: &'static str = "integration";
}

impl Named for ConversationKey {
    const NOT_FOUND: &'static str = "CONVERSATION_NOT_FOUND";
    const WHAT: &'static str = "conversation";
}

impl<T: Named, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = path(parts, state).await?;
        text.parse().map(Self).map_err(|_| absent::<T>())
    }
}

pub(super) fn absent<T: Named>() -> Problem {
    Problem::missing(T::NOT_FOUND, format!("there is no such {}", T::WHAT))
}

/// An expert's id in the path: it may be the first time that it is named, so a bad one is 422.
pub(super) struct Expert(pub(super) ExpertId);

impl<S: Send + Sync> FromRequestParts<S> for Expert {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = path(parts, state).await?;
        ExpertId::parse(&text)
            .map(Self)
            .map_err(|error| Problem::field("xpertId", error.to_string()))
    }
}

async fn path<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, Problem> {
    let Path(text) = Path::<String>::from_request_parts(parts, state)
        .await
        .map_err(|_| Problem::unreadable("the path cannot be read"))?;
    Ok(text)
}

/// For fields where `null` means "take it away" and absence means "leave it".
pub(super) fn nullable<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}
