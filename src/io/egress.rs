//! The only way out: the HTTP clients, and which hosts an address taken from a message may name.
//!
//! Guarantees I11: such an address is followed only where the operator's list allows it, the address
//! that was checked is the one connected to, and redirects are never followed. Addresses that the
//! operator sets go through [`Egress::client`], which has no list and may use `HTTPS_PROXY`. An address
//! taken from a message goes through `DT_FETCH_PROXY` if that is set: then the list decides, and the proxy
//! resolves the name. No proxy but these two is used.

pub mod host;
pub mod proxy;

use std::net::SocketAddr;
use std::sync::{Arc, Once};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Proxy, Url};

use host::{HostList, Reach, is_public};
use proxy::Tunnels;

use crate::domain::time::Timestamp;
use crate::protocol::http;

/// An answer of an API is never longer; a longer one is refused.
pub const API_ANSWER_MAX_BYTES: usize = 64 * 1024;

pub struct Config {
    pub connect_timeout: Duration,
    pub idle_connections_max: usize,
    pub proxies: proxy::Config,
}

impl Default for Config {
    fn default() -> Self {
        let (connect_timeout, proxies) = (Duration::from_secs(5), proxy::Config::default());
        Self { connect_timeout, idle_connections_max: 64, proxies }
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
    /// For addresses taken from messages that the operator's list gives with a port.
    listed: Client,
    /// Connects to public addresses only.
    guarded: Client,
    tunnels: Tunnels,
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
        let through = |proxy: Option<Proxy>| match proxy {
            Some(proxy) => builder().proxy(proxy),
            None => builder(),
        };
        let fetch = config.proxies.fetch()?;
        let guarded = match &fetch {
            // The name that is resolved here is the proxy's own.
            Some(_) => through(fetch.clone()),
            None => builder().dns_resolver(Arc::new(PublicOnly)),
        };
        Ok(Self {
            open: through(config.proxies.named()?).build()?,
            listed: through(fetch).build()?,
            guarded: guarded.build()?,
            tunnels: config.proxies.tunnels(),
        })
    }

    /// For websockets to addresses that DingTalk's gateway names.
    pub fn tunnels(&self) -> &Tunnels {
        &self.tunnels
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
            Reach::Any => self.listed.clone(),
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
    use crate::domain::secret::Secret;

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

    /// Takes connections and gives the first line of each request; answers with 502.
    async fn first_lines(count: usize, listener: tokio::net::TcpListener) -> Vec<String> {
        use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
        let mut lines = vec![];
        while lines.len() < count {
            let (socket, _) = listener.accept().await.unwrap();
            let mut socket = BufReader::new(socket);
            let mut line = String::new();
            socket.read_line(&mut line).await.unwrap();
            let answer = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";
            socket.write_all(answer).await.unwrap();
            lines.push(line.trim().to_owned());
        }
        lines
    }

    #[tokio::test]
    async fn each_proxy_is_asked_only_for_the_addresses_that_are_its_own() {
        let bind = || tokio::net::TcpListener::bind("127.0.0.1:0");
        let (https, fetch) = (bind().await.unwrap(), bind().await.unwrap());
        let url = |listener: &tokio::net::TcpListener| {
            Some(Secret::new(format!("http://{}", listener.local_addr().unwrap())))
        };
        let no = "near.invalid".to_owned();
        let proxies = proxy::Config { https: url(&https), no, fetch: url(&fetch) };
        let egress = Egress::new(&Config { proxies, ..Config::default() }).unwrap();
        let text = "files.invalid,webhook.invalid:8443";
        let hosts = HostList::parse(text, host::Scheme::HttpToo).unwrap();
        let work = async {
            for named in ["https://api.invalid/a", "https://near.invalid/", "http://api.invalid/"] {
                egress.client().get(named).send().await.ok(); // No name here has an address.
            }
            for taken in [
                "https://files.invalid/f",
                "http://files.invalid/f",
                "https://webhook.invalid:8443/w",
            ] {
                let allowed = egress.allow(&hosts, taken).unwrap();
                allowed.client.get(allowed.url).send().await.ok();
            }
        };
        let (https, fetch, ()) = tokio::join!(first_lines(1, https), first_lines(3, fetch), work);
        assert_eq!(https, ["CONNECT api.invalid:443 HTTP/1.1"]);
        assert_eq!(
            fetch,
            [
                "CONNECT files.invalid:443 HTTP/1.1",
                "GET http://files.invalid/f HTTP/1.1",
                "CONNECT webhook.invalid:8443 HTTP/1.1"
            ]
        );
        let refused = egress.allow(&hosts, "https://10.0.0.1/").unwrap_err();
        assert!(matches!(refused, Error::Refused(host::Refusal::NotListed)), "{refused}");
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
