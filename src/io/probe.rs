//! Trial calls for an operator who connects a robot: does DingTalk know the app, and does the webhook's
//! address lead to an edge.
//!
//! Nothing is cached or kept, and nothing secret is in what they say.

use std::time::Duration;

use serde_json::{Value, json};

use super::egress::{API_ANSWER_MAX_BYTES, Egress, read};

const LIMIT: Duration = Duration::from_secs(10);
const EXCERPT_CHARS_MAX: usize = 200;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no answer from {url}: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("{url} answers {status}: {said}")]
    Refused { url: String, status: u16, said: String },
}

/// Asks for an access token with the app's id and secret.
pub async fn token(
    egress: &Egress,
    api_url: &str,
    client_id: &str,
    client_secret: &str,
) -> Result<(), Error> {
    let url = format!("{api_url}/v1.0/oauth2/accessToken");
    let body = json!({ "appKey": client_id, "appSecret": client_secret });
    let (status, text) = answer(egress.client().post(&url).json(&body), &url).await?;
    let answer: Value = serde_json::from_str(&text).unwrap_or_default();
    if status == 200 && answer["accessToken"].is_string() {
        return Ok(());
    }
    let part = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    let said = excerpt(&format!("{} {}", part("code"), part("message")));
    Err(Error::Refused { url, status, said })
}

/// The address that DingTalk is to call must answer like an edge that knows the integration.
pub async fn callback(egress: &Egress, url: &str) -> Result<(), Error> {
    let (status, text) = answer(egress.client().get(url), url).await?;
    if status == 200 && text.trim() == "success" {
        return Ok(());
    }
    Err(Error::Refused { url: url.to_owned(), status, said: excerpt(&text) })
}

async fn answer(request: reqwest::RequestBuilder, url: &str) -> Result<(u16, String), Error> {
    let unreachable = |error: reqwest::Error| Error::Unreachable {
        url: url.to_owned(),
        reason: error.without_url().to_string(),
    };
    let answer = request.timeout(LIMIT).send().await.map_err(unreachable)?;
    let status = answer.status().as_u16();
    let body = read(answer, API_ANSWER_MAX_BYTES)
        .await
        .map_err(|error| Error::Unreachable { url: url.to_owned(), reason: error.to_string() })?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

fn excerpt(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(EXCERPT_CHARS_MAX).collect()
}
