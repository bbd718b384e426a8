//! What the simulated cloud knows: apps, conversations, tickets, tokens, files, cards and the book of
//! what happened.
//!
//! Guarantees constant-time look-ups, so that benchmarks measure the service and not the simulator.
//! Leaves behaviour to the modules beside it.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::app::{App, AppState};
use super::card::Card;
use super::delivery::Delivery;
use super::fault::Faults;
use super::media::File;
use super::record::{Book, Record};
use super::settings::Config;
use crate::context::Context;
use crate::sim::locked;

/// How long an access token lives.
const TOKEN_LIFE: Duration = Duration::from_secs(7200);

pub struct Cloud {
    pub context: Context,
    pub config: Config,
    /// `http://host:port`, as the payloads name it.
    pub url: String,
    pub book: Book,
    pub faults: Faults,
    pub delivery: Delivery,
    pub http: reqwest::Client,
    pub stop: CancellationToken,
    /// By client id and by robot code.
    apps: RwLock<HashMap<String, Arc<AppState>>>,
    conversations: RwLock<HashMap<ConversationId, Arc<Conversation>>>,
    sessions: RwLock<HashMap<String, Arc<Conversation>>>,
    pub tickets: Mutex<HashMap<String, Ticket>>,
    tokens: Mutex<HashMap<String, Token>>,
    pub files: Mutex<HashMap<String, Arc<File>>>,
    pub cards: Mutex<HashMap<String, Card>>,
    /// Card callback addresses by route key: address and secret.
    pub routes: Mutex<HashMap<String, (String, String)>>,
    /// Staff ids that DingTalk refuses, and those it silently drops.
    pub invalid_staff: Mutex<BTreeSet<String>>,
    pub flow_controlled: Mutex<BTreeSet<String>>,
    pub next_connection: AtomicU64,
    /// How many pushes are still to be delivered twice, and how many acks still to be lost.
    pub duplicates: AtomicU32,
    pub lost_acks: AtomicU32,
    /// Texts of pushed JSON and what is written in their place, as it stands.
    pub escapes: Mutex<Vec<(String, String)>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ConversationId {
    robot: String,
    id: String,
}

/// A conversation of one robot, with the session webhook that answers to it.
pub struct Conversation {
    pub robot: String,
    pub id: String,
    pub place: Place,
    pub session: String,
    pub session_expires_ms: AtomicI64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Direct { person: String },
    Group { title: String },
}

pub struct Ticket {
    pub client_id: String,
    pub expires: Instant,
    pub subscriptions: Vec<Subscription>,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Subscription {
    #[serde(rename = "type")]
    pub kind: String,
    pub topic: String,
}

struct Token {
    client_id: String,
    expires: Instant,
}

impl Cloud {
    /// The JSON of a push, with the scripted escapes in it.
    pub fn written(&self, data: &Value) -> String {
        let escapes = locked(&self.escapes);
        escapes.iter().fold(data.to_string(), |json, (text, raw)| json.replace(text, raw))
    }

    pub fn new(context: &Context, config: Config, url: String, delivery: Delivery) -> Self {
        let book = Book::new(config.records_max);
        // The process may have chosen its TLS provider already; either is fine here.
        rustls::crypto::ring::default_provider().install_default().ok();
        Self {
            context: context.clone(),
            config,
            url,
            book,
            faults: Faults::default(),
            delivery,
            http: reqwest::Client::new(),
            stop: context.stop().child_token(),
            apps: RwLock::default(),
            conversations: RwLock::default(),
            sessions: RwLock::default(),
            tickets: Mutex::default(),
            tokens: Mutex::default(),
            files: Mutex::default(),
            cards: Mutex::default(),
            routes: Mutex::default(),
            invalid_staff: Mutex::default(),
            flow_controlled: Mutex::default(),
            next_connection: AtomicU64::new(1),
            duplicates: AtomicU32::new(0),
            lost_acks: AtomicU32::new(0),
            escapes: Mutex::default(),
        }
    }

    pub fn now_ms(&self) -> i64 {
        self.context.clock.now().0
    }

    pub fn record(&self, record: Record) {
        self.book.append(Record { at_ms: self.now_ms(), ..record });
    }

    /// Adds the app or changes how it is reached; its connections stay.
    pub fn put_app(&self, app: App) {
        let mut apps = self.apps.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let state = match apps.get(&app.client_id) {
            Some(state) => Arc::new(state.changed_to(app)),
            None => Arc::new(AppState::new(app)),
        };
        apps.insert(state.app.robot_code().to_owned(), state.clone());
        apps.insert(state.app.client_id.clone(), state);
    }

    /// By client id or robot code.
    pub fn app(&self, name: &str) -> Option<Arc<AppState>> {
        let apps = self.apps.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        apps.get(name).cloned()
    }

    /// Every app once, by client id.
    pub fn apps(&self) -> Vec<Arc<AppState>> {
        let apps = self.apps.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut all: Vec<_> = apps
            .clone()
            .into_iter()
            .filter(|(name, state)| *name == state.app.client_id)
            .map(|(_, state)| state)
            .collect();
        all.sort_by(|a, b| a.app.client_id.cmp(&b.app.client_id));
        all
    }

    /// The person's own conversation with the robot.
    pub fn direct(&self, robot: &str, person: &str) -> Arc<Conversation> {
        let id = format!("cid{}=", short_hash(&["direct", robot, person]));
        self.conversation(robot, &id, Place::Direct { person: person.to_owned() })
    }

    pub fn group(&self, robot: &str, id: &str, title: &str) -> Arc<Conversation> {
        self.conversation(robot, id, Place::Group { title: title.to_owned() })
    }

    pub fn known_conversation(&self, robot: &str, id: &str) -> Option<Arc<Conversation>> {
        let key = ConversationId { robot: robot.to_owned(), id: id.to_owned() };
        let all = self.conversations.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.get(&key).cloned()
    }

    fn conversation(&self, robot: &str, id: &str, place: Place) -> Arc<Conversation> {
        if let Some(known) = self.known_conversation(robot, id) {
            return known;
        }
        let digest = Sha256::digest(format!("{robot}\n{id}"));
        let session: String = data_encoding::HEXLOWER.encode(&digest).chars().take(32).collect();
        let conversation = Arc::new(Conversation {
            robot: robot.to_owned(),
            id: id.to_owned(),
            place,
            session: session.clone(),
            session_expires_ms: AtomicI64::new(0),
        });
        let key = ConversationId { robot: robot.to_owned(), id: id.to_owned() };
        let mut all = self.conversations.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let conversation = all.entry(key).or_insert(conversation).clone();
        let mut sessions = self.sessions.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        sessions.insert(session, conversation.clone());
        conversation
    }

    /// The conversation that a live session webhook answers to.
    pub fn session(&self, session: &str) -> Option<Arc<Conversation>> {
        let sessions = self.sessions.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let conversation = sessions.get(session)?;
        let expires = conversation.session_expires_ms.load(Ordering::Relaxed);
        (self.now_ms() < expires).then(|| conversation.clone())
    }

    /// The app's access token: the same one within its life, which each call extends.
    pub fn token(&self, client_id: &str) -> String {
        let mut tokens = locked(&self.tokens);
        tokens.retain(|_, token| token.expires > Instant::now());
        let expires = Instant::now() + TOKEN_LIFE;
        let known = tokens.iter_mut().find(|(_, token)| token.client_id == client_id);
        if let Some((text, token)) = known {
            token.expires = expires;
            return text.clone();
        }
        let text = uuid::Uuid::new_v4().simple().to_string();
        tokens.insert(text.clone(), Token { client_id: client_id.to_owned(), expires });
        text
    }

    /// The app that a token was given to.
    pub fn bearer(&self, token: &str) -> Option<Arc<AppState>> {
        let client_id = {
            let tokens = locked(&self.tokens);
            let token = tokens.get(token).filter(|token| token.expires > Instant::now())?;
            token.client_id.clone()
        };
        self.app(&client_id)
    }

    /// Every token given out so far is invalid from now on.
    pub fn revoke_tokens(&self) {
        locked(&self.tokens).clear();
    }
}

/// 24 characters that stand for `parts`, in DingTalk's alphabet.
pub fn short_hash(parts: &[&str]) -> String {
    let digest = Sha256::digest(parts.join("\n"));
    STANDARD.encode(digest).chars().take(24).collect()
}

/// `prefix` and 22 random characters, as DingTalk's ids look.
pub fn random_id(prefix: &str) -> String {
    format!("{prefix}{}", STANDARD.encode(rand::random::<[u8; 16]>()))
}
