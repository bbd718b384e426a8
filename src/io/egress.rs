//! The only way out: the HTTP clients, and which hosts an address taken from a message may name.
//!
//! Guarantees I11: such an address is followed only where the operator's list allows it, the address
//! that was checked is the one connected to, and redirects are never followed. Addresses that the
//! operator sets go through [`Egress::client`], which has no list. Proxies of the environment are not
//! used: they would connect to an address that nobody checked.

pub mod host;

use std::net::SocketAddr;
use std::sync::{Arc, Once};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};

use host::{HostList, Reach, is_public};

use crate::domain::time::Timestamp;
use crate::protocol::http;

/// An answer of an API is never longer; what is longer is none.
pub const API_ANSWER_MAX_BYTES: usize = 64 * 1024;

pub struct Config {
    pub connect_timeout: Duration,
    pub idle_connections_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(5), idle_connections_max: 64 }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the HTTP client could not start: {0}")]
    Client(#[from] reqwest::Error),
    #[error("the address in the message is refused: {0}")]
    Refused(#[from] host::Refusal),
}

/// Cheap to clone; the clones share their connections.
#[derive(Clone)]
pub struct Egress {
    open: Client,
    /// Connects to public addresses only.
    guarded: Client,
}

/// A client and the address it may be used for.
#[derive(Debug)]
pub struct Allowed {
    pub client: Client,
    pub url: Url,
}

impl Egress {
    pub fn new(config: &Config) -> Result<Self, Error> {
        install_tls();
        let builder = || {
            Client::builder()
                .redirect(Policy::none())
                .no_proxy()
                .connect_timeout(config.connect_timeout)
                .pool_max_idle_per_host(config.idle_connections_max)
                .user_agent(concat!("dingtalk-trigger/", env!("CARGO_PKG_VERSION")))
        };
        Ok(Self {
            open: builder().build()?,
            guarded: builder().dns_resolver(Arc::new(PublicOnly)).build()?,
        })
    }

    /// For addresses that the operator set.
    pub fn client(&self) -> &Client {
        &self.open
    }

    /// For an address taken from a message.
    pub fn allow(&self, hosts: &HostList, url: &str) -> Result<Allowed, Error> {
        let (url, reach) = hosts.check(url)?;
        let client = match reach {
            Reach::Public => self.guarded.clone(),
            Reach::Any => self.open.clone(),
        };
        Ok(Allowed { client, url })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Without the address, which may hold a token.
    #[error("{0}")]
    Broken(reqwest::Error),
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

/// The body of `response`, of at most `max_bytes`: the memory of this process is not the sender's to fill.
pub async fn read(mut response: reqwest::Response, max_bytes: usize) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    let broken = |error: reqwest::Error| ReadError::Broken(error.without_url());
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > max_bytes {
            return Err(ReadError::TooLong(max_bytes));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Whether a request failed because the name in its address has no public address.
pub fn is_not_public(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(found) = cause {
        if found.is::<NoPublicAddress>() {
            return true;
        }
        cause = found.source();
    }
    false
}

/// Chooses the cryptography of all TLS connections of this process.
pub fn install_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that a provider is there already, which is all that is needed.
        rustls::crypto::ring::default_provider().install_default().ok();
    });
}

/// Resolves as the system does and hands on only addresses of the public internet.
struct PublicOnly;

#[derive(Debug, thiserror::Error)]
#[error("the name has no public address")]
struct NoPublicAddress;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(NoPublicAddress.into());
            }
            let addresses: Addrs = Box::new(public.into_iter());
            Ok(addresses)
        })
    }
}

/// What a response asks to wait before the next try, where it says so.
pub fn retry_after(response: &reqwest::Response, now: Timestamp) -> Option<Duration> {
    let value = response.headers().get(reqwest::header::RETRY_AFTER)?;
    http::retry_after(value.to_str().ok()?, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_resolves_to_loopback_is_not_connected_to() {
        let egress = Egress::new(&Config::default()).unwrap();
        let hosts = HostList::parse("localhost", host::Scheme::HttpToo).unwrap();
        let allowed = egress.allow(&hosts, "http://localhost/").unwrap();
        let error = allowed.client.get(allowed.url).send().await.unwrap_err();
        assert!(is_not_public(&error), "{error:?}");
        let nobody = egress.client().get("http://127.0.0.1:1/").send().await.unwrap_err();
        assert!(!is_not_public(&nobody), "{nobody:?}");
    }

    #[tokio::test]
    async fn redirects_are_not_followed_and_no_answer_is_read_beyond_its_limit() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = axum::Router::new()
            .route("/", axum::routing::get(|| async { axum::response::Redirect::to("/next") }))
            .route("/next", axum::routing::get(|| async { "followed" }));
        let context = crate::context::Context::new(crate::context::Clock::system());
        let _server = context.spawn(async move { axum::serve(listener, app).await });
        let egress = Egress::new(&Config::default()).unwrap();
        let hosts = HostList::parse(&address.to_string(), host::Scheme::HttpsOnly).unwrap();
        let allowed = egress.allow(&hosts, &format!("http://{address}/")).unwrap();
        let response = allowed.client.get(allowed.url).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 303);
        let url = format!("http://{address}/next");
        for (max_bytes, is_read) in [(8, true), (7, false)] {
            let response = egress.client().get(&url).send().await.unwrap();
            let body = read(response, max_bytes).await;
            assert_eq!(body.ok(), is_read.then(|| b"followed".to_vec()), "{max_bytes}");
        }
    }
}
