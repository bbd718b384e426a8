//! An app of the simulated organisation: its robot, how it is reached, and its live connections.
//!
//! Its state is the organisation's view: who is connected, what was not acknowledged. Delivering is
//! left to `delivery`.

use std::sync::{Arc, Mutex};

use serde::Deserialize;
use tokio::sync::mpsc;

use super::cloud::Subscription;
use crate::domain::secret::Secret;
use crate::sim::locked;

/// Frames a connection may owe its client before further ones are lost.
pub const FRAMES_MAX: usize = 65_536;

#[derive(Debug, Clone)]
pub struct App {
    pub client_id: String,
    pub client_secret: Secret,
    /// Absent: the client id.
    pub robot_code: Option<String>,
    pub receive: Receive,
}

/// How the robot's owner chose to receive messages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(tag = "mode", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Receive {
    #[default]
    Stream,
    Http {
        url: String,
        /// Events are encrypted with token and key; robot messages are plain and signed.
        #[serde(default)]
        token: String,
        #[serde(default)]
        aes_key: String,
        /// Robot messages and card callbacks come encrypted too.
        #[serde(default)]
        sealed: bool,
    },
}

impl App {
    pub fn stream(client_id: &str, client_secret: &str) -> Self {
        Self {
            client_id: client_id.to_owned(),
            client_secret: Secret::new(client_secret),
            robot_code: None,
            receive: Receive::Stream,
        }
    }

    pub fn http(client_id: &str, client_secret: &str, url: &str) -> Self {
        let receive = Receive::Http {
            url: url.to_owned(),
            token: String::new(),
            aes_key: String::new(),
            sealed: false,
        };
        Self { receive, ..Self::stream(client_id, client_secret) }
    }

    pub fn robot_code(&self) -> &str {
        self.robot_code.as_deref().unwrap_or(&self.client_id)
    }
}

pub struct AppState {
    pub app: App,
    connections: Arc<Mutex<Vec<Arc<Connection>>>>,
}

/// One live socket of a client.
pub struct Connection {
    pub id: u64,
    pub subscriptions: Vec<Subscription>,
    pub down: mpsc::Sender<Down>,
}

/// What a connection is told to do.
#[derive(Debug)]
pub enum Down {
    Frame(String),
    /// The `disconnect` frame, silence, then the end.
    Disconnect,
    /// The end of the TCP connection, without a word.
    Kick,
    /// A close frame with this code.
    Close(u16),
    /// Reads and writes nothing any more, for so long, while the TCP connection stays.
    Freeze(std::time::Duration),
}

impl AppState {
    pub fn new(app: App) -> Self {
        Self { app, connections: Arc::default() }
    }

    /// The same connections under changed settings.
    pub fn changed_to(&self, app: App) -> Self {
        Self { app, connections: self.connections.clone() }
    }

    pub fn join(&self, connection: Arc<Connection>) {
        locked(&self.connections).push(connection);
    }

    /// True when it was still there.
    pub fn leave(&self, id: u64) -> bool {
        let mut connections = locked(&self.connections);
        let before = connections.len();
        connections.retain(|connection| connection.id != id);
        connections.len() < before
    }

    pub fn connections(&self) -> Vec<Arc<Connection>> {
        locked(&self.connections).clone()
    }

    /// Any of the live connections that subscribed to the topic.
    pub fn pick(&self, kind: &str, topic: &str) -> Option<Arc<Connection>> {
        let connections = locked(&self.connections);
        let start: usize = rand::random_range(0..connections.len().max(1));
        let wants = |connection: &&Arc<Connection>| {
            connection.subscriptions.iter().any(|s| s.kind == kind && s.topic == topic)
        };
        connections
            .iter()
            .skip(start)
            .find(wants)
            .or_else(|| connections.iter().find(wants))
            .cloned()
    }
}
