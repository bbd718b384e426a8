//! Access tokens: one per app, asked for once however many need it at the same time.
//!
//! A token is kept until two minutes before it expires. It belongs to the client id and secret it was
//! given for, so that a changed secret is never served an old token, and is dropped where DingTalk
//! refuses it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::context::Context;
use crate::domain::binding::Integration;
use crate::domain::id::IntegrationId;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::io::egress::{API_ANSWER_MAX_BYTES, Egress, read, retry_after};
use crate::protocol::http::excerpt;
use crate::protocol::send::codes::Class;
use crate::protocol::send::verdict::{Verdict, judge_api};
use crate::protocol::send::{are_credentials_wrong, decode_token, token_body};

const MARGIN: Duration = Duration::from_mins(2);
const TIMEOUT: Duration = Duration::from_secs(10);
const UNKNOWN: Class = Class::Unknown { is_ambiguous: false };

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("DingTalk refused clientId or clientSecret, {status}: {excerpt}")]
    Refused { status: u16, excerpt: String },
    #[error("DingTalk gave no token, {detail}")]
    Failed { class: Class, detail: String },
    #[error("DingTalk could not be asked for a token: {0}")]
    Unreachable(String),
}

#[derive(Clone)]
pub struct Tokens {
    context: Context,
    egress: Egress,
    api_url: Arc<str>,
    cells: Arc<Mutex<BTreeMap<IntegrationId, Cell>>>,
}

/// The lock is the single flight: who holds it asks DingTalk, the others wait for what it gets.
type Cell = Arc<tokio::sync::Mutex<Option<Kept>>>;

#[derive(Clone)]
struct Kept {
    token: Secret,
    fresh_until: Timestamp,
    /// Of client id and secret.
    fingerprint: [u8; 32],
}

impl Tokens {
    pub fn new(context: Context, egress: Egress, api_url: &str) -> Self {
        let api_url = api_url.trim_end_matches('/').into();
        Self { context, egress, api_url, cells: Arc::default() }
    }

    /// A token that is good for two minutes at least.
    pub async fn get(&self, integration: &Integration) -> Result<Secret, Error> {
        let cell = self.cell(&integration.id);
        let mut kept = cell.lock().await;
        let fingerprint = fingerprint(integration);
        if let Some(kept) = &*kept
            && kept.fingerprint == fingerprint
            && kept.fresh_until > self.context.clock.now()
        {
            return Ok(kept.token.clone());
        }
        let asked_at = self.context.clock.now();
        let (token, life) = self.ask(integration).await?;
        let token = Secret::new(token);
        let fresh_until = asked_at.after(life.saturating_sub(MARGIN));
        *kept = Some(Kept { token: token.clone(), fresh_until, fingerprint });
        Ok(token)
    }

    /// DingTalk refused `token`: the next call asks for another, unless that has happened already.
    pub async fn refuse(&self, integration: &IntegrationId, token: &Secret) {
        let cell = self.cell(integration);
        let mut kept = cell.lock().await;
        if kept.as_ref().is_some_and(|kept| kept.token == *token) {
            *kept = None;
        }
    }

    /// The integration is gone or changed.
    pub fn forget(&self, integration: &IntegrationId) {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).remove(integration);
    }

    fn cell(&self, integration: &IntegrationId) -> Cell {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cells.entry(integration.clone()).or_default())
    }

    async fn ask(&self, integration: &Integration) -> Result<(String, Duration), Error> {
        let unreachable =
            |error: reqwest::Error| Error::Unreachable(error.without_url().to_string());
        let response = self
            .egress
            .client()
            .post(format!("{}/v1.0/oauth2/accessToken", self.api_url))
            .header("content-type", "application/json")
            .timeout(TIMEOUT)
            .body(token_body(&integration.client_id, integration.client_secret.expose()))
            .send()
            .await
            .map_err(unreachable)?;
        let status = response.status().as_u16();
        let after = retry_after(&response, self.context.clock.now());
        let body = read(response, API_ANSWER_MAX_BYTES).await;
        let body = body.map_err(|error| Error::Unreachable(error.to_string()))?;
        match decode_token(&body) {
            Some(token) if status < 300 => Ok(token),
            // A body with a token is not shown to anybody.
            Some(_) => Err(Error::Failed { class: UNKNOWN, detail: status.to_string() }),
            None if are_credentials_wrong(&body) => {
                Err(Error::Refused { status, excerpt: excerpt(&body) })
            }
            None => Err(failed(judge_api(status, after, &body, None))),
        }
    }
}

/// An answer without a token is a failure, whatever it says. DingTalk documents few codes here, so what would
/// be permanent of a message is tried again a few times.
fn failed(verdict: Verdict) -> Error {
    match verdict {
        Verdict::Delivered { .. } => Error::Failed { class: UNKNOWN, detail: "no token".into() },
        Verdict::Failed { class, detail } => {
            let class = match class {
                Class::Rate { .. } | Class::Next(_) | Class::Quota => class,
                // No message was sent yet.
                Class::Retry { .. } => Class::Retry { is_ambiguous: false },
                Class::Token
                | Class::Unknown { .. }
                | Class::TooLong
                | Class::Content
                | Class::Template
                | Class::Permanent(_) => UNKNOWN,
            };
            Error::Failed { class, detail }
        }
    }
}

fn fingerprint(integration: &Integration) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update((integration.client_id.len() as u64).to_be_bytes());
    hash.update(&integration.client_id);
    hash.update(integration.client_secret.expose());
    hash.finalize().into()
}
