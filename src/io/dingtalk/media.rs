//! Files of messages: a download code to an address, an address to bytes.
//!
//! Guarantees that an address is followed only where the operator's list allows it, without redirects and
//! without a token (I11), that no more than the limit is read, that a file is read within its time, and
//! that only so many are held at once. Nothing is tried twice but an access token that was refused.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::context::Context;
use crate::domain::binding::Integration;
use crate::domain::said::Said;
use crate::domain::time::Timestamp;
use crate::io::dingtalk::token::{self, Tokens};
use crate::io::egress::host::HostList;
use crate::io::egress::{API_ANSWER_MAX_BYTES, Egress, is_not_public, read, retry_after};
use crate::protocol::magic::HEAD_BYTES;
use crate::protocol::media::{decode_url, download_body, expires_at};
use crate::protocol::send::codes::Class;
use crate::protocol::send::verdict::{Verdict, judge_api};

/// Asking for an address is answered at once.
const LOCATE_TIMEOUT: Duration = Duration::from_secs(10);
/// A store that says nothing for this long keeps others waiting for a place no longer.
const STALL_TIMEOUT: Duration = Duration::from_secs(15);
/// What DingTalk writes where a message names no robot of its own.
const NO_ROBOT: &str = "normal";

pub struct Config {
    /// `DT_DINGTALK_API_URL`.
    pub api_url: String,
    /// `DT_DOWNLOAD_HOSTS`.
    pub hosts: HostList,
    /// `DT_MEDIA_MAX_BYTES`.
    pub file_max_bytes: u64,
    /// `DT_MEDIA_TIMEOUT`: one file.
    pub timeout: Duration,
    /// `DT_MEDIA_DOWNLOADS_MAX`: files held at once.
    pub held_max: usize,
}

/// A file, or as much of it as was wanted.
#[derive(Debug)]
pub struct Fetched {
    pub url: String,
    pub expires_at: Option<Timestamp>,
    /// The whole file where `is_whole`, else its beginning.
    pub bytes: Vec<u8>,
    pub is_whole: bool,
    pub size_bytes: u64,
    /// A place among the files held, free again when this is dropped.
    _held: OwnedSemaphorePermit,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the file is larger than {0} bytes")]
    TooLarge(u64),
    #[error("the address of the file is refused: {0}")]
    Refused(String),
    #[error("the file cannot be had")]
    Gone(Said),
    #[error("the file could not be had")]
    Failed { after: Option<Duration>, detail: Said },
}

#[derive(Clone)]
pub struct Downloads {
    context: Context,
    egress: Egress,
    tokens: Tokens,
    held: Arc<Semaphore>,
    config: Arc<Config>,
}

impl Downloads {
    pub fn new(context: Context, egress: Egress, tokens: Tokens, config: Config) -> Self {
        let held = Arc::new(Semaphore::new(config.held_max));
        Self { context, egress, tokens, held, config: Arc::new(config) }
    }

    /// `robot_code` is the message's; a file longer than `keep_bytes_max` is only begun.
    pub async fn fetch(
        &self,
        integration: &Integration,
        robot_code: Option<&str>,
        code: &str,
        keep_bytes_max: u64,
    ) -> Result<Fetched, Error> {
        let held = Arc::clone(&self.held).acquire_owned().await;
        let held = held.map_err(|_| failed(None, "the service stops".into()))?;
        let url = self.locate(integration, robot_code, code).await?;
        let read = timeout(self.config.timeout, self.read(&url, keep_bytes_max)).await;
        let (bytes, size_bytes) = read.map_err(|_| failed(None, "it took too long".into()))??;
        let is_whole = bytes.len() as u64 == size_bytes;
        Ok(Fetched { expires_at: expires_at(&url), url, bytes, is_whole, size_bytes, _held: held })
    }

    async fn locate(
        &self,
        integration: &Integration,
        robot_code: Option<&str>,
        code: &str,
    ) -> Result<String, Error> {
        let robot = robot_code.filter(|code| !code.eq_ignore_ascii_case(NO_ROBOT));
        let body = download_body(code, robot.unwrap_or_else(|| integration.robot_code()));
        let api_url = self.config.api_url.trim_end_matches('/');
        let url = format!("{api_url}/v1.0/robot/messageFiles/download");
        let mut is_second = false;
        loop {
            let token = self.tokens.get(integration).await.map_err(|error| token_error(&error))?;
            let response = self
                .egress
                .client()
                .post(&url)
                .header("x-acs-dingtalk-access-token", token.expose())
                .header("content-type", "application/json")
                .timeout(LOCATE_TIMEOUT)
                .body(body.clone())
                .send()
                .await
                .map_err(unanswered)?;
            let status = response.status().as_u16();
            let after = retry_after(&response, self.context.clock.now());
            let answer = read(response, API_ANSWER_MAX_BYTES).await;
            let answer = answer.map_err(|error| failed(None, error.to_string()))?;
            match judge_api(status, after, &answer, None) {
                Verdict::Delivered { .. } => {
                    let url = decode_url(&answer);
                    return url.ok_or_else(|| Error::Gone("DingTalk gave no address".into()));
                }
                Verdict::Failed { class: Class::Token, .. } if !is_second => {
                    self.tokens.refuse(&integration.id, &token).await;
                    is_second = true;
                }
                Verdict::Failed { class, detail } => return Err(refusal(class, detail)),
            }
        }
    }

    /// What is kept of the file, and how long it is.
    async fn read(&self, url: &str, keep_bytes_max: u64) -> Result<(Vec<u8>, u64), Error> {
        let allowed = self.egress.allow(&self.config.hosts, url);
        let allowed = allowed.map_err(|error| Error::Refused(error.to_string()))?;
        // A content type would break the store's signature, a token would be given away.
        let request = allowed.client.get(allowed.url).send();
        let mut response = match timeout(STALL_TIMEOUT, request).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if is_not_public(&error) => {
                return Err(Error::Refused("its name has no public address".into()));
            }
            Ok(Err(error)) => return Err(unanswered(error)),
            Err(_) => return Err(stalled()),
        };
        judge_store(&response)?;
        let declared = response.content_length();
        let max = self.config.file_max_bytes;
        if declared.is_some_and(|length| length > max) {
            return Err(Error::TooLarge(max));
        }
        let keep = keep_bytes_max.max(HEAD_BYTES as u64);
        let (mut kept, mut length) = (Vec::new(), 0_u64);
        loop {
            let next = timeout(STALL_TIMEOUT, response.chunk()).await.map_err(|_| stalled())?;
            let Some(chunk) = next.map_err(unanswered)? else { return Ok((kept, length)) };
            length += chunk.len() as u64;
            if length > max {
                return Err(Error::TooLarge(max));
            }
            if length <= keep || kept.len() < HEAD_BYTES {
                kept.extend_from_slice(&chunk);
            }
            if length > keep
                && kept.len() >= HEAD_BYTES
                && let Some(declared) = declared
            {
                return Ok((kept, declared));
            }
        }
    }
}

/// What DingTalk's refusal to name the file's address means for the file.
fn refusal(class: Class, detail: String) -> Error {
    match class {
        Class::Rate { after, .. } => failed(Some(after), detail),
        Class::Quota | Class::Token | Class::Retry { .. } | Class::Unknown { .. } => {
            failed(None, detail)
        }
        Class::Next(_)
        | Class::TooLong
        | Class::Content
        | Class::Template
        | Class::Permanent(_) => Error::Gone(detail.into()),
    }
}

/// Whether the store gives the file.
fn judge_store(response: &Response) -> Result<(), Error> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    if status.is_redirection() {
        return Err(Error::Refused(format!("it leads elsewhere ({})", status.as_u16())));
    }
    let detail = format!("its store answered {}", status.as_u16());
    match status.as_u16() {
        408 | 429 | 500.. => Err(failed(None, detail)),
        _ => Err(Error::Gone(detail.into())),
    }
}

fn unanswered(error: reqwest::Error) -> Error {
    failed(None, error.without_url().to_string())
}

fn stalled() -> Error {
    failed(None, "its store fell silent".into())
}

fn failed(after: Option<Duration>, detail: String) -> Error {
    Error::Failed { after, detail: detail.into() }
}

/// Credentials that are refused may be set right while the turn waits.
fn token_error(error: &token::Error) -> Error {
    let after = match error {
        token::Error::Failed { class: Class::Rate { after, .. }, .. } => Some(*after),
        token::Error::Failed { .. }
        | token::Error::Refused { .. }
        | token::Error::Unreachable(_) => None,
    };
    failed(after, error.to_string())
}
