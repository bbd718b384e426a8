//! The broker: one connection, and the JetStream calls that the streams are built of.
//!
//! Every trap of the client is handled here once: an answer without an acknowledgement is an error, a
//! conflict is a conflict under either of its codes, a stream without a leader is a reason to try again.
//! What an entry, a timer or a slot is, the modules beside this one know.

pub mod login;
pub mod publish;
pub mod read;
pub mod page;
pub mod pull;
pub mod settle;
pub mod remove;
pub mod skew;
pub mod trace;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, HeaderMap, HeaderName, Message, RequestErrorKind};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::context::Context;
use crate::io::nats::login::Login;

/// The header that says which pod stored a message.
const POD: &str = "Dt-Pod";

#[derive(Clone)]
pub struct Config {
    /// `NATS_URL`, one or several addresses separated by commas. It may hold a login.
    pub url: String,
    /// `NATS_CREDS`, a credentials file.
    pub credentials: Option<PathBuf>,
    /// `NATS_USER` and `NATS_PASSWORD`, or `NATS_TOKEN`; they count for more than what the address holds.
    pub login: Login,
    /// The pod: shown in the server's connection list, and on record beside what it stored.
    pub name: String,
    /// How long the broker may take to answer one request.
    pub request_timeout: Duration,
}

impl fmt::Debug for Config {
    /// Without the address, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Cheap to clone; all clones share the connection.
#[derive(Clone)]
pub struct Nats {
    client: Client,
    connected: Connected,
    pod: Arc<str>,
}

/// Since when the connection stands without a break; `None` while it does not.
#[derive(Clone, Default)]
struct Connected(Arc<Mutex<Option<Instant>>>);

impl Connected {
    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer, or nobody to answer: worth trying again.
    #[error("NATS does not answer: {0}; check NATS_URL and the cluster's health")]
    Unavailable(String),
    #[error("JetStream refused: {description} ({code})")]
    Refused { code: u64, description: String },
    #[error("JetStream's answer cannot be read: {0}")]
    Unreadable(String),
    #[error("cannot use the NATS settings: {0}")]
    Settings(String),
}

impl Error {
    /// The same may work in a moment.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    pub fn is_not_found(&self) -> bool {
        // message, stream, consumer
        matches!(self, Self::Refused { code: 10037 | 10059 | 10014, .. })
    }
}

/// The error object of every JetStream answer.
#[derive(Debug, Deserialize)]
struct ApiError {
    #[serde(default)]
    code: u64,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl From<ApiError> for Error {
    fn from(error: ApiError) -> Self {
        // 503 without a code of its own: no leader, or JetStream is not up yet. 10005: the nodes that a
        // stream would be placed on have not been heard of yet, or are away.
        match error {
            ApiError { err_code: 10005, description, .. } => Self::Unavailable(description),
            ApiError { code: 503, err_code: 10008 | 10009 | 10023 | 0, description } => {
                Self::Unavailable(description)
            }
            ApiError { err_code, description, .. } => Self::Refused { code: err_code, description },
        }
    }
}

impl Nats {
    /// Connects, and keeps connecting without end if the broker is away. Posts `nats` on the health board.
    pub async fn connect(context: &Context, config: &Config) -> Result<Self, Error> {
        let health = context.health.clone();
        health.lacks("nats", "not connected yet");
        let connected = Connected::default();
        let noted = connected.clone();
        let mut options = ConnectOptions::new()
            .name(&config.name)
            .retry_on_initial_connect()
            .request_timeout(Some(config.request_timeout))
            .ping_interval(Duration::from_secs(10))
            .reconnect_delay_callback(reconnect_delay)
            .event_callback(move |event| {
                let (health, noted) = (health.clone(), noted.clone());
                async move { note(&health, &noted, &event) }
            });
        if let Some(path) = &config.credentials {
            let settings = |e| Error::Settings(format!("NATS_CREDS {}: {e}", path.display()));
            let text = std::fs::read_to_string(path).map_err(settings)?;
            options = options.credentials(&text).map_err(settings)?;
        }
        let unusable = |why: &str| Error::Settings(format!("NATS_URL {why}"));
        let (addresses, held) = login::addresses(&config.url).map_err(unusable)?;
        let login = if config.login == Login::Anonymous { &held } else { &config.login };
        let client = login
            .apply(options)
            .connect(addresses)
            .await
            // The address may hold a password.
            .map_err(|e| Error::Settings(format!("NATS_URL: {e}")))?;
        Ok(Self { client, connected, pod: config.name.as_str().into() })
    }

    /// A header that names who stores a message.
    pub(super) fn sign(&self, headers: &mut HeaderMap) {
        headers.insert(HeaderName::from_static(POD), &*self.pod);
    }

    /// For how long the broker has been reachable without a break.
    pub fn connected_for(&self) -> Duration {
        let since = *self.connected.since();
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// The core connection, for hints that may be lost.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A core message: a hint, published without an acknowledgement.
    #[expect(clippy::disallowed_methods, reason = "hints may be lost, so nobody waits for them")]
    pub async fn hint(&self, subject: String, payload: Bytes) {
        if let Err(error) = self.client.publish(subject, payload).await {
            tracing::debug!(%error, "a hint was not sent");
        }
    }

    /// One JetStream API call: `subject` without its prefix, e.g. `STREAM.INFO.DT_IN`.
    pub async fn api<Q, A>(&self, subject: &str, question: &Q) -> Result<A, Error>
    where
        Q: Serialize,
        A: DeserializeOwned,
    {
        let payload = serde_json::to_vec(question)
            .map_err(|e| Error::Unreadable(format!("request for {subject}: {e}")))?;
        let message = self.ask(format!("$JS.API.{subject}"), None, payload.into()).await?;
        answer(&message)
    }

    /// A request whose answer may be anything; "nobody there" is an error.
    async fn ask(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<Message, Error> {
        let mut request = async_nats::Request::new().payload(payload);
        request.headers = headers;
        let message = self.client.send_request(subject, request).await.map_err(|e| {
            Error::Unavailable(match e.kind() {
                RequestErrorKind::TimedOut => "no answer in time".to_owned(),
                RequestErrorKind::NoResponders => "no stream or no leader".to_owned(),
                _ => e.to_string(),
            })
        })?;
        match message.status {
            Some(async_nats::StatusCode::NO_RESPONDERS) => {
                Err(Error::Unavailable("no stream or no leader".to_owned()))
            }
            _ => Ok(message),
        }
    }
}

/// Whether a text names a server as `NATS_URL` does.
pub fn is_address(text: &str) -> bool {
    login::addresses(text).is_ok()
}

fn answer<A: DeserializeOwned>(message: &Message) -> Result<A, Error> {
    #[derive(Deserialize)]
    struct Failed {
        error: Option<ApiError>,
    }
    let unreadable = |e: serde_json::Error| Error::Unreadable(e.to_string());
    let failed: Failed = serde_json::from_slice(&message.payload).map_err(unreadable)?;
    match failed.error {
        Some(error) => Err(error.into()),
        None => serde_json::from_slice(&message.payload).map_err(unreadable),
    }
}

/// 50 ms, doubling to 2 s: a broker that restarts is found again at once, one that is away is not hammered.
fn reconnect_delay(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1).min(6)).unwrap_or(6);
    (Duration::from_millis(50) * 2_u32.pow(doublings)).min(Duration::from_secs(2))
}

fn note(health: &crate::telemetry::health::Health, connected: &Connected, event: &Event) {
    match event {
        Event::Connected => {
            *connected.since() = Some(Instant::now());
            health.has("nats");
            tracing::info!("connected to NATS");
        }
        Event::Disconnected => {
            *connected.since() = None;
            health.lacks("nats", "the connection is lost; connecting again");
            tracing::warn!("lost the connection to NATS");
        }
        other => tracing::debug!(event = %other, "NATS"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        for (code, err_code, is_passing) in [
            (503, 10008, true),
            (503, 0, true),
            // "no suitable peers for placement, peer offline", of a cluster that has just begun
            (400, 10005, true),
            (400, 10074, false),
            (404, 10059, false),
        ] {
            let error = ApiError { code, err_code, description: "said".to_owned() };
            assert_eq!(Error::from(error).is_unavailable(), is_passing, "{code} {err_code}");
        }
    }
}
