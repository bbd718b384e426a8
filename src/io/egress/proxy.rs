//! Proxies of the operator: for addresses that the operator or DingTalk's gateway names, and apart from
//! that for addresses taken from messages.
//!
//! Guarantees that an address taken from a message never goes through `HTTPS_PROXY`: that proxy may reach
//! what the host lists keep messages away from. `NO_PROXY` is read as curl reads it. A proxy's address may
//! hold a password and is not repeated.

use std::sync::Arc;

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{NoProxy, Proxy, Url};
use tokio::net::TcpStream;
use tower_service::Service;

use crate::domain::secret::Secret;

#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `HTTPS_PROXY`: for https and wss addresses.
    pub https: Option<Secret>,
    /// `NO_PROXY`: hosts that are reached without it.
    pub no: String,
    /// `DT_FETCH_PROXY`: for addresses taken from messages.
    pub fetch: Option<Secret>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "must be http://host:port, with user:password@ before the host if the proxy asks for it"
    )]
    Address,
    #[error("a proxy cannot connect to this address")]
    Target,
    #[error("the proxy opens no tunnel: {0}")]
    Tunnel(String),
}

/// Whether a setting names a proxy.
pub fn check(proxy: &Secret) -> Result<(), Error> {
    let url = Url::parse(proxy.expose()).map_err(|_| Error::Address)?;
    let is_bare = matches!(url.path(), "" | "/") && url.query().is_none();
    if url.scheme() == "http" && url.has_host() && is_bare { Ok(()) } else { Err(Error::Address) }
}

impl Config {
    /// For addresses that the operator names.
    pub(super) fn named(&self) -> Result<Option<Proxy>, reqwest::Error> {
        let Some(https) = &self.https else { return Ok(None) };
        let proxy = Proxy::https(https.expose())?;
        Ok(Some(proxy.no_proxy(NoProxy::from_string(&self.no))))
    }

    /// For addresses taken from messages.
    pub(super) fn fetch(&self) -> Result<Option<Proxy>, reqwest::Error> {
        self.fetch.as_ref().map(|fetch| Proxy::all(fetch.expose())).transpose()
    }

    pub(super) fn tunnels(&self) -> Tunnels {
        let https = self.https.as_ref().map_or("", Secret::expose);
        Tunnels(Arc::new(Matcher::builder().https(https.to_owned()).no(self.no.clone()).build()))
    }
}

/// Ways through `HTTPS_PROXY` for what is not HTTP: websockets. Cheap to clone.
#[derive(Clone)]
pub struct Tunnels(Arc<Matcher>);

impl Tunnels {
    /// Every address is reached without a proxy.
    pub fn none() -> Self {
        Config::default().tunnels()
    }

    /// A connection to the host of a wss address; `None`: the address is reached without a proxy.
    pub async fn open(&self, address: &str) -> Result<Option<TcpStream>, Error> {
        let url = Url::parse(address).map_err(|_| Error::Target)?;
        if url.scheme() != "wss" {
            return Ok(None);
        }
        let host = url.host_str().ok_or(Error::Target)?;
        let port = url.port_or_known_default().unwrap_or(443);
        let target: Uri = format!("https://{host}:{port}/").parse().map_err(|_| Error::Target)?;
        let Some(proxy) = self.0.intercept(&target) else { return Ok(None) };
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let mut tunnel = Tunnel::new(proxy.uri().clone(), connector);
        if let Some(auth) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        let opened = tunnel.call(target).await;
        let stream = opened.map_err(|error| Error::Tunnel(error.to_string()))?;
        Ok(Some(stream.into_inner()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn a_proxy_is_an_address_without_a_path() {
        for right in ["http://proxy:3128", "http://user:pass@10.0.0.1:8080/", "http://[::1]:1"] {
            check(&Secret::new(right)).unwrap();
        }
        for wrong in
            ["", "proxy:3128", "https://proxy", "socks5://proxy:1", "http://p/path", "http://"]
        {
            let said = check(&Secret::new(wrong)).unwrap_err().to_string();
            assert!(said.starts_with("must be http://host:port"), "{wrong}: {said}");
        }
    }

    /// Answers one CONNECT with `answer`; gives what was asked, and the tunnel.
    async fn serve(listener: TcpListener, answer: &'static str) -> (String, TcpStream) {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        socket.write_all(answer.as_bytes()).await.unwrap();
        (String::from_utf8(head).unwrap(), socket)
    }

    #[tokio::test]
    async fn a_websocket_goes_through_the_proxy_unless_its_host_is_excepted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = format!("http://user:pass@{}", listener.local_addr().unwrap());
        let (https, no) = (Some(Secret::new(proxy)), "*.internal, near.example".to_owned());
        let tunnels = Config { https, no, fetch: None }.tunnels();
        let asked = serve(listener, "HTTP/1.1 200 Connection established\r\n\r\n");
        let opened = tunnels.open("wss://wss-open-connection.dingtalk.com:443/connect?ticket=t");
        let ((asked, mut far), opened) = tokio::join!(asked, opened);
        far.write_all(b"hello").await.unwrap();
        let mut hello = [0; 5];
        opened.unwrap().unwrap().read_exact(&mut hello).await.unwrap();
        assert_eq!(&hello, b"hello");
        assert!(asked.starts_with("CONNECT wss-open-connection.dingtalk.com:443 HTTP/1.1\r\n"));
        let asked = asked.to_ascii_lowercase();
        assert!(asked.contains("proxy-authorization: basic dxnlcjpwyxnz\r\n"), "{asked}");
        assert!(!asked.contains("ticket"), "{asked}");
        for direct in ["wss://near.example/c", "wss://a.near.example/c", "ws://far.example/c"] {
            assert!(tunnels.open(direct).await.unwrap().is_none(), "{direct}");
        }
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_an_error_without_its_password() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = format!("http://user:pass@{}", listener.local_addr().unwrap());
        let config = Config { https: Some(Secret::new(proxy)), ..Config::default() };
        let asked = serve(listener, "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
        let tunnels = config.tunnels();
        let (_, opened) = tokio::join!(asked, tunnels.open("wss://far.example/c"));
        let said = opened.unwrap_err().to_string();
        assert!(said.starts_with("the proxy opens no tunnel") && !said.contains("pass"), "{said}");
    }
}
