//! The test stand: the service in this process, with its own broker, database and a sink for replies.
//!
//! Made of the same parts as the roles, so that what is measured is what runs. What it started ends
//! with it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::routing::any;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::memory::resident_mib;
use crate::commands::parts::Parts;
use crate::commands::roles;
use crate::config::Config;
use crate::context::{Clock, Context};
use crate::domain::binding::{
    ActBy, BusyPolicy, Integration, Language, Mode, QueuedNotice, Runtime, RuntimeKind, Scope,
    Trigger,
};
use crate::domain::id::{Conversation, ExpertId, IntegrationId, MsgId};
use crate::domain::inbound::{Message, Part, Place, PlaceKind, Sender, SessionWebhook};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::io::nats::Nats;
use crate::io::store::Store;
use crate::io::store::audit::Note;
use crate::io::topology;
use crate::ops::child::{self, Child};
use crate::ops::data::Directory;
use crate::protocol::subject;
use crate::worker::Stage;

pub const CLIENT_SECRET: &str = "bench-secret";
pub const CLIENT_ID: &str = "dingbench";
pub const INTEGRATION: &str = "bench";

/// Counts the replies that arrive, and remembers when each did.
#[derive(Default)]
pub struct Sink {
    pub count: AtomicU64,
    pub arrivals: std::sync::Mutex<Vec<(String, Instant)>>,
}

pub struct Stand {
    pub context: Context,
    pub config: Config,
    pub parts: Parts,
    pub sink: Arc<Sink>,
    pub sink_url: String,
    below: Context,
    directory: PathBuf,
}

impl Stand {
    /// Everything but the roles; send limits are off.
    pub async fn start(name: &str) -> anyhow::Result<Self> {
        Self::start_with(name, Mode::Http, None).await
    }

    /// `dingtalk` is the address of a simulated cloud; without it the sink takes its place.
    pub async fn start_with(
        name: &str,
        mode: Mode,
        dingtalk: Option<String>,
    ) -> anyhow::Result<Self> {
        let below = Context::new(Clock::system());
        let directory =
            std::env::temp_dir().join(format!("dt-bench-{name}-{}", std::process::id()));
        let lock = Directory::open(&directory)?;
        let search = vec![PathBuf::from(".tools/bin"), PathBuf::from("/usr/local/bin")];
        let binary = crate::config::variable("DT_NATS_SERVER").map(PathBuf::from);
        let child = Child::start(&below, &lock, &child::Config { binary, search }).await?;
        let sink = Arc::new(Sink::default());
        let sink_url = serve_sink(&below, sink.clone()).await?;
        let database = directory.join("bench.db");
        let set = move |name: &str, sink: &str| match name {
            "NATS_URL" => Some(child.url().to_owned()),
            "DATABASE_URL" => Some(format!("sqlite://{}", database.display())),
            "DT_MASTER_KEY" => Some("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=".to_owned()),
            "DT_ADMIN_TOKEN" => Some("bench-admin-token".to_owned()),
            "DT_EDGE_ADDR" | "DT_CONSOLE_ADDR" | "DT_HEALTH_ADDR" => Some("127.0.0.1:0".to_owned()),
            "DT_SEND_RATE" | "DT_WEBHOOK_RATE" => Some("0".to_owned()),
            "DT_DINGTALK_API_URL" | "DT_DINGTALK_OAPI_URL" => {
                Some(dingtalk.clone().unwrap_or_else(|| sink.to_owned()))
            }
            "DT_REPLY_HOSTS" => Some(sink.trim_start_matches("http://").to_owned()),
            _ => None,
        };
        let config = Config::read(|name| set(name, &sink_url), &[])
            .map_err(|complaints| anyhow::anyhow!(complaints.join("; ")))?;
        let context = Context::new(Clock::system());
        let nats = Nats::connect(&context, &config.nats).await?;
        topology::apply(&nats, config.topology, context.clock.now()).await?;
        let settings = config.store.as_ref().context("the stand sets its database")?;
        let store = Store::connect(settings).await?;
        store.migrate().await?;
        bind(&context, &store, mode, Duration::ZERO).await?;
        store.close().await;
        let parts = Parts::connect(&context, &config).await?;
        Ok(Self { context, config, parts, sink, sink_url, below, directory })
    }

    pub fn start_worker(&self) {
        roles::start_worker(&self.context, &self.config, &self.parts, Stage::ALL.to_vec());
    }

    pub async fn start_edge(&self) -> anyhow::Result<std::net::SocketAddr> {
        Ok(roles::start_edge(&self.context, &self.config, &self.parts).await?)
    }

    /// Waits until the sink has `count` replies.
    pub async fn replies(&self, count: u64, limit: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + limit;
        while self.sink.count.load(Ordering::Relaxed) < count {
            anyhow::ensure!(
                Instant::now() < until,
                "only {} of {count} replies came",
                self.sink.count.load(Ordering::Relaxed)
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// What the broker holds in memory.
    pub fn broker_mib(&self) -> anyhow::Result<f64> {
        let file = self.directory.join("nats/server.pid");
        let text = std::fs::read_to_string(file).context("read the broker's process id")?;
        resident_mib(text.trim().parse()?).context("read the broker's memory")
    }

    pub async fn end(self) {
        self.context.finish(Duration::from_secs(10)).await;
        self.parts.store.close().await;
        self.below.finish(Duration::from_secs(10)).await;
        std::fs::remove_dir_all(&self.directory).ok();
    }

    /// A text message of conversation `number`, answered at the sink.
    pub fn message(&self, number: usize, id: &str) -> (Conversation, Message) {
        let place_id = format!("cid{number}");
        let integration = IntegrationId::parse(INTEGRATION).expect("a plain word is an id");
        let conversation = subject::conversation(&integration, &place_id, Some("sender"));
        let webhook = SessionWebhook {
            url: format!("{}/robot/sendBySession?session={id}", self.sink_url),
            expires_at: Timestamp(i64::MAX),
        };
        let message = Message {
            msg_id: MsgId::parse(id).expect("a plain word is an id"),
            place: Place { id: place_id, kind: PlaceKind::Private, title: None },
            sender: Sender {
                id: "sender".into(),
                staff_id: Some("staff".into()),
                name: "N".into(),
                corp_id: None,
            },
            robot_code: None,
            created_at: None,
            kind: "text".to_owned(),
            parts: vec![Part::Text(format!("question {id}"))],
            quote: None,
            webhook: Some(webhook),
        };
        (conversation, message)
    }
}

async fn serve_sink(context: &Context, sink: Arc<Sink>) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let app = Router::new().fallback(any(swallow)).with_state(sink);
    let stop = context.stop().clone();
    context.spawn(async move {
        axum::serve(listener, app)
            .with_graceful_shutdown(async move { stop.cancelled().await })
            .await
            .ok();
    });
    Ok(url)
}

async fn swallow(
    State(sink): State<Arc<Sink>>,
    uri: axum::http::Uri,
    _body: bytes::Bytes,
) -> &'static str {
    let session = uri.query().and_then(|query| query.strip_prefix("session="));
    if let Some(session) = session {
        let mut arrivals = sink.arrivals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        arrivals.push((session.to_owned(), Instant::now()));
    }
    sink.count.fetch_add(1, Ordering::Relaxed);
    r#"{"errcode":0,"errmsg":"ok"}"#
}

/// The bench's robot, bound to an echo with this window.
pub async fn bind(
    context: &Context,
    store: &Store,
    mode: Mode,
    summary_window: Duration,
) -> anyhow::Result<()> {
    let id = IntegrationId::parse(INTEGRATION)?;
    let expert = ExpertId::parse("echo")?;
    let note = Note {
        at: context.clock.now(),
        actor: "bench".to_owned(),
        action: "bench",
        subject: INTEGRATION.to_owned(),
        detail: "{}".to_owned(),
    };
    store.create_integration(&robot(id.clone(), CLIENT_ID, mode), &note).await?;
    let trigger = Trigger {
        expert: expert.clone(),
        integration: id,
        is_enabled: true,
        session_timeout: Duration::from_secs(3600),
        summary_window,
        former_window: None,
        busy_policy: BusyPolicy::Queue,
        queued_notice: QueuedNotice::None,
        allow_conversations: vec![],
        allow_senders: vec![],
        corp_id: None,
        mention_asker: false,
        act_by: ActBy::Asker,
    };
    let runtime = Runtime { expert, kind: RuntimeKind::Echo, lease: None, is_paused: false };
    store.publish(&trigger, Some(&runtime), &note).await?;
    Ok(())
}

/// A robot of the bench's app, or of another with the same secret.
pub fn robot(id: IntegrationId, client_id: &str, mode: Mode) -> Integration {
    Integration {
        name: id.to_string(),
        id,
        mode,
        client_id: client_id.to_owned(),
        client_secret: Secret::new(CLIENT_SECRET),
        robot_code: None,
        callback_token: Some(Secret::new("token")),
        callback_aes_key: Some(Secret::new("4g5j64qlyl3zvetqxz5jiocdr586fn2zvjpa8zls3ij")),
        card_template_id: None,
        language: Language::En,
        receiver_id: None,
        corp_id: None,
        scope: Scope::Sender,
        is_paused: false,
    }
}
