//! Spans to a collector: batches over OTLP/HTTP, as long as the process lives.
//!
//! Guarantees that nobody waits for it and that every span is counted, sent or not. A collector that is
//! away is tried again a few times for a batch; what comes meanwhile waits in the queue, which is
//! bounded. At the end of the process what is queued is sent once.

use std::time::Duration;

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Client, StatusCode, Url};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::domain::secret::Secret;
use crate::domain::span::Span;
use crate::io::egress::{API_ANSWER_MAX_BYTES, Egress, read, retry_after};
use crate::protocol::otlp;
use crate::telemetry::metrics::Outcome;
use crate::telemetry::traces::Outlet;

/// Spans of one request.
const BATCH_MAX: usize = 512;
/// How long a span waits for others to go with it.
const LINGER: Duration = Duration::from_secs(1);
/// A collector has this long for a request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Between two tries at a batch.
const WAITS: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// However long a collector asks to be left alone.
const WAIT_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub struct Config {
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`; it may hold a password.
    pub endpoint: Secret,
    /// `OTEL_EXPORTER_OTLP_HEADERS`.
    pub headers: Option<Secret>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("must be the address of a collector such as http://host:4318")]
    Endpoint,
    #[error("must be name=value, or several of these with commas between, values percent-encoded")]
    Headers,
}

/// Where traces go to below the address of a collector.
pub fn address(endpoint: &Secret) -> Result<Url, Error> {
    let mut url = Url::parse(endpoint.expose()).map_err(|_| Error::Endpoint)?;
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
        return Err(Error::Endpoint);
    }
    let path = format!("{}{}", url.path().trim_end_matches('/'), otlp::PATH);
    url.set_path(&path);
    Ok(url)
}

/// Headers of every request: credentials, mostly.
pub fn headers(text: &Secret) -> Result<Vec<(HeaderName, HeaderValue)>, Error> {
    let pairs = text.expose().split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs.map(|pair| header(pair).ok_or(Error::Headers)).collect()
}

fn header(pair: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = pair.split_once('=')?;
    let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
    let mut value = HeaderValue::from_str(&value).ok()?;
    value.set_sensitive(true);
    Some((HeaderName::try_from(name.trim()).ok()?, value))
}

/// A collector, and what it hears about this process.
pub struct Collector {
    context: Context,
    client: Client,
    url: Url,
    headers: Vec<(HeaderName, HeaderValue)>,
    resource: Vec<(&'static str, String)>,
    /// Said once, not for each batch.
    is_away: bool,
}

/// How one request ended.
enum Sent {
    /// But for so many.
    Taken {
        rejected: u64,
    },
    Refused(StatusCode),
    /// Worth another try, not before `after` where the collector said so.
    Away {
        after: Option<Duration>,
        why: String,
    },
}

impl Collector {
    /// `resource` describes this process.
    pub fn new(
        context: &Context,
        egress: &Egress,
        config: &Config,
        resource: Vec<(&'static str, String)>,
    ) -> Result<Self, Error> {
        Ok(Self {
            context: context.clone(),
            client: egress.client().clone(),
            url: address(&config.endpoint)?,
            headers: config.headers.as_ref().map(headers).transpose()?.unwrap_or_default(),
            resource,
            is_away: false,
        })
    }

    /// Sends what comes out of `outlet`, until that closes; then what is left in it.
    pub async fn follow(mut self, mut outlet: Outlet) {
        let closing = outlet.closing.clone();
        while !closing.is_cancelled() {
            let batch = gather(&mut outlet, &closing).await;
            if !batch.is_empty() {
                self.send(batch, &closing).await;
            } else if outlet.spans.is_closed() {
                return;
            }
        }
        outlet.spans.close();
        loop {
            let mut batch = Vec::new();
            fill(&mut batch, &mut outlet);
            if batch.is_empty() {
                return;
            }
            self.send(batch, &closing).await;
        }
    }

    /// Once the process ends nothing is tried twice.
    async fn send(&mut self, batch: Vec<Span>, closing: &CancellationToken) {
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let body = Bytes::from(otlp::encode(&self.resource, batch));
        let mut waits = WAITS.iter();
        loop {
            let is_last = closing.is_cancelled();
            match self.post(body.clone()).await {
                Sent::Taken { rejected } => {
                    if std::mem::take(&mut self.is_away) {
                        tracing::info!("the collector takes spans again");
                    }
                    self.count("refused", rejected);
                    self.count("sent", count.saturating_sub(rejected));
                    return;
                }
                Sent::Refused(status) => {
                    self.complain(&format!("it answered {status}"));
                    self.count("refused", count);
                    return;
                }
                Sent::Away { after, why } => {
                    self.complain(&why);
                    let Some(wait) = waits.next().filter(|_| !is_last) else {
                        self.count("undelivered", count);
                        return;
                    };
                    tokio::select! {
                        () = closing.cancelled() => {}
                        () = sleep(after.unwrap_or(*wait).min(WAIT_MAX)) => {}
                    }
                }
            }
        }
    }

    async fn post(&self, body: Bytes) -> Sent {
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, otlp::CONTENT_TYPE)
            .timeout(TIMEOUT)
            .body(body);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                return Sent::Away { after: None, why: error.without_url().to_string() };
            }
        };
        let status = response.status();
        if status.is_success() {
            let answer = read(response, API_ANSWER_MAX_BYTES).await.unwrap_or_default();
            return Sent::Taken { rejected: otlp::rejected(&answer) };
        }
        // The codes that OTLP names as passing.
        if [429, 502, 503, 504].contains(&status.as_u16()) {
            let after = retry_after(&response, self.context.clock.now());
            return Sent::Away { after, why: format!("it answered {status}") };
        }
        Sent::Refused(status)
    }

    fn complain(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_away, true) {
            tracing::warn!(why, "the collector of OTEL_EXPORTER_OTLP_ENDPOINT takes no spans");
        }
    }

    fn count(&self, result: &'static str, count: u64) {
        self.context.metrics.spans.get_or_create(&Outcome { result }).inc_by(count);
    }
}

/// A full batch, or what came within a moment after the first.
async fn gather(outlet: &mut Outlet, closing: &CancellationToken) -> Vec<Span> {
    let mut batch = Vec::new();
    // Every arm is cancel safe: what is not taken stays in the queue.
    tokio::select! {
        () = closing.cancelled() => return batch,
        count = outlet.spans.recv_many(&mut batch, BATCH_MAX) => if count == 0 { return batch }
    }
    let moment = sleep(LINGER);
    tokio::pin!(moment);
    while batch.len() < BATCH_MAX {
        let room = BATCH_MAX - batch.len();
        tokio::select! {
            () = closing.cancelled() => break,
            () = &mut moment => break,
            count = outlet.spans.recv_many(&mut batch, room) => if count == 0 { break }
        }
    }
    batch
}

/// With what is there already.
fn fill(batch: &mut Vec<Span>, outlet: &mut Outlet) {
    while batch.len() < BATCH_MAX
        && let Ok(span) = outlet.spans.try_recv()
    {
        batch.push(span);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_go_below_the_address_of_the_collector() {
        for (endpoint, expected) in [
            ("http://127.0.0.1:4318", Some("http://127.0.0.1:4318/v1/traces")),
            ("http://127.0.0.1:4318/", Some("http://127.0.0.1:4318/v1/traces")),
            ("https://otel.example/tenant/a/", Some("https://otel.example/tenant/a/v1/traces")),
            ("otel.example:4318", None),
            ("grpc://otel.example:4317", None),
            ("collector", None),
            ("http://", None),
        ] {
            let found = address(&Secret::new(endpoint)).ok();
            assert_eq!(found.as_ref().map(Url::as_str), expected, "{endpoint}");
        }
    }

    #[test]
    fn headers_are_read_as_the_standard_writes_them() {
        let read = |text: &str| {
            let found = headers(&Secret::new(text)).ok()?;
            let show = |(name, value): &(HeaderName, HeaderValue)| {
                format!("{name}: {}", value.to_str().unwrap_or_default())
            };
            Some(found.iter().map(show).collect::<Vec<_>>().join("\n"))
        };
        for (text, expected) in [
            ("", Some("")),
            ("api-key=k1", Some("api-key: k1")),
            ("Authorization=Basic%20QUI9, x=1", Some("authorization: Basic QUI9\nx: 1")),
            ("no value", None),
            ("a b=c", None),
            ("a=b%0Ac", None),
        ] {
            assert_eq!(read(text).as_deref(), expected, "{text}");
        }
    }
}
