//! Opens Stream connections: asks the gateway for a ticket, then connects the websocket it names.
//!
//! One HTTP client and one TLS configuration serve all connections, and a connection's buffers are
//! small, because most are idle most of the time. What goes through the socket is left to its owner.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config,
    connect_async_tls_with_config,
};

use crate::domain::secret::Secret;
use crate::io::egress::proxy::{self, Tunnels};
use crate::io::egress::{API_ANSWER_MAX_BYTES, read};
use crate::protocol::stream::open;

/// How long a write or the closing handshake may take.
const WRITE_MAX: Duration = Duration::from_secs(10);
const OPENINGS_MAX: usize = 64;
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// How much longer than allowed a frame may be and is read for its id.
const READ_FACTOR: usize = 4;

#[derive(Debug, Clone)]
pub struct Config {
    /// The address of `api.dingtalk.com`, without a slash at the end.
    pub api_url: String,
    /// For the request, and again for the handshake.
    pub timeout: Duration,
    /// `DT_STREAM_FRAME_MAX_BYTES`. Frames up to [`READ_FACTOR`] times this are read, to be refused by
    /// their id; a longer one ends the connection.
    pub frame_max_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api_url: "https://api.dingtalk.com".to_owned(),
            timeout: Duration::from_secs(10),
            frame_max_bytes: 1024 * 1024,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("DingTalk cannot be reached at {url}: {reason}")]
    Unreachable { url: String, reason: String },
    #[error(transparent)]
    Answer(#[from] open::Error),
    /// Without the address, which holds the ticket.
    #[error("the gateway's endpoint does not accept the connection: {0}")]
    Handshake(String),
    #[error("the system's certificates cannot be used; install ca-certificates: {0}")]
    Trust(String),
    #[error(transparent)]
    Proxy(#[from] proxy::Error),
    #[error("the gateway did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
}

#[derive(Clone)]
pub struct Gateway {
    client: reqwest::Client,
    tls: Arc<ClientConfig>,
    tunnels: Tunnels,
    config: Config,
    /// A pod that starts opens its connections in turns, not a thousand at once.
    turns: Arc<Semaphore>,
}

impl Gateway {
    pub fn new(client: reqwest::Client, tls: Arc<ClientConfig>, config: Config) -> Self {
        let (tunnels, turns) = (Tunnels::none(), Arc::new(Semaphore::new(OPENINGS_MAX)));
        Self { client, tls, tunnels, config, turns }
    }

    /// The same, with the websockets through the operator's proxy.
    pub fn through(self, tunnels: Tunnels) -> Self {
        Self { tunnels, ..self }
    }

    /// A connection that is open: the handshake is done, nothing was read.
    pub async fn open(&self, client_id: &str, client_secret: &Secret) -> Result<Socket, Error> {
        let _turn = self.turns.acquire().await.expect("nobody closes the semaphore");
        let timed_out = |_| Error::TimedOut(self.config.timeout);
        let ticket = self.ticket(client_id, client_secret);
        let address =
            tokio::time::timeout(self.config.timeout, ticket).await.map_err(timed_out)??;
        let connect = self.connect(&address);
        tokio::time::timeout(self.config.timeout, connect).await.map_err(timed_out)?
    }

    /// The address of a socket, good for one connection.
    async fn ticket(&self, client_id: &str, client_secret: &Secret) -> Result<String, Error> {
        let unreachable = |error: reqwest::Error| Error::Unreachable {
            url: self.config.api_url.clone(),
            reason: causes(&error.without_url()),
        };
        let answer = self
            .client
            .post(format!("{}{}", self.config.api_url, open::PATH))
            // Without it the answer is XML.
            .header("Accept", "application/json")
            .json(&open::request(client_id, client_secret.expose()))
            .send()
            .await
            .map_err(unreachable)?;
        let status = answer.status().as_u16();
        let body = read(answer, API_ANSWER_MAX_BYTES).await.map_err(|error| {
            Error::Unreachable { url: self.config.api_url.clone(), reason: error.to_string() }
        })?;
        Ok(open::answer(status, &body)?)
    }

    async fn connect(&self, address: &str) -> Result<Socket, Error> {
        let read_max_bytes = self.config.frame_max_bytes.saturating_mul(READ_FACTOR);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(read_max_bytes))
            .max_frame_size(Some(read_max_bytes));
        let tls = Some(Connector::Rustls(self.tls.clone()));
        let tunnel = self.tunnels.open(address).await?;
        let opened = match tunnel {
            Some(stream) => client_async_tls_with_config(address, stream, Some(config), tls).await,
            None => connect_async_tls_with_config(address, Some(config), true, tls).await,
        };
        opened
            .map(|(socket, _)| Socket { socket })
            .map_err(|error| Error::Handshake(error.to_string()))
    }
}

/// An open connection.
pub struct Socket {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// What a socket gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    Frame(Bytes),
    /// A ping or pong of the websocket itself: a sign of life.
    Alive,
    /// The other side, or the network, ended it.
    Closed {
        why: String,
    },
    /// A frame that is not even read; nothing can be read behind it.
    TooLarge,
}

impl Socket {
    /// The next thing that comes. Cancel safe: what was read in part stays in the socket.
    pub async fn read(&mut self) -> Incoming {
        match self.socket.next().await {
            Some(Ok(Message::Text(text))) => Incoming::Frame(text.into()),
            Some(Ok(Message::Binary(bytes))) => Incoming::Frame(bytes),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Incoming::Alive,
            Some(Ok(Message::Close(Some(frame)))) => {
                Incoming::Closed { why: format!("code {}", u16::from(frame.code)) }
            }
            Some(Ok(Message::Close(None))) => Incoming::Closed { why: "no code".to_owned() },
            Some(Err(SocketError::Capacity(_))) => Incoming::TooLarge,
            Some(Err(error)) => Incoming::Closed { why: error.to_string() },
            None => Incoming::Closed { why: "no code".to_owned() },
        }
    }

    /// False where it could not be written.
    pub async fn send(&mut self, text: String) -> bool {
        self.write(Message::text(text)).await
    }

    pub async fn ping(&mut self) -> bool {
        self.write(Message::Ping(Bytes::new())).await
    }

    /// Says goodbye, so that the gateway delivers nothing more here.
    pub async fn close(&mut self) {
        let closed = tokio::time::timeout(WRITE_MAX, self.socket.close(None)).await;
        closed.ok(); // It is given up either way.
    }

    async fn write(&mut self, message: Message) -> bool {
        let written = tokio::time::timeout(WRITE_MAX, self.socket.send(message)).await;
        matches!(written, Ok(Ok(())))
    }
}

/// The TLS configuration of all connections. As for the HTTP clients, what the system trusts is trusted.
pub fn tls() -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(BuilderVerifierExt::with_platform_verifier)
        .map_err(|error| Error::Trust(error.to_string()))?
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// An error with what caused it: the outer one alone says only that sending failed.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
