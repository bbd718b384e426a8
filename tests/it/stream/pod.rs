//! An edge pod's Stream side for tests: real broker, real sockets, a handler the test commands.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Notify, Semaphore};

use dingtalk_trigger::context::{Clock, Context};
use dingtalk_trigger::domain::binding::{Integration, Language, Mode, Scope};
use dingtalk_trigger::domain::id::IntegrationId;
use dingtalk_trigger::domain::secret::Secret;
use dingtalk_trigger::edge::order::Order;
use dingtalk_trigger::edge::owner;
use dingtalk_trigger::edge::stream::{self, Config, Outcome, Parts};
use dingtalk_trigger::io::gateway::{self, Gateway};
use dingtalk_trigger::io::live::Live;
use dingtalk_trigger::io::{nats, topology};
use dingtalk_trigger::protocol::live::{Link, links_of, read};
use dingtalk_trigger::protocol::subject;

use crate::support::nats::Nats;

pub(crate) type Integrations = Arc<Mutex<Vec<Arc<Integration>>>>;

pub(crate) struct Pod {
    pub(crate) context: Context,
    pub(crate) live: Live,
    pub(crate) hint: Arc<Notify>,
    pub(crate) handler: Arc<Handler>,
}

/// What the callbacks did, and what they are to do.
pub(crate) struct Handler {
    /// Message ids, as they began to be handled.
    pub(crate) begun: Mutex<Vec<String>>,
    /// Message ids, as they were through.
    pub(crate) done: Mutex<Vec<String>>,
    /// Each callback takes one to go on; closed: all go on.
    pub(crate) gate: Semaphore,
    pub(crate) outcome: Mutex<Outcome>,
    /// As the edge keeps it.
    order: Order,
}

impl Handler {
    fn new() -> Self {
        let gate = Semaphore::new(0);
        gate.close();
        Self {
            begun: Mutex::default(),
            done: Mutex::default(),
            gate,
            outcome: Mutex::new(Outcome::Ack(Value::Null)),
            order: Order::default(),
        }
    }

    pub(crate) fn held() -> Self {
        Self { gate: Semaphore::new(0), ..Self::new() }
    }

    pub(crate) fn answering(outcome: Outcome) -> Self {
        Self { outcome: Mutex::new(outcome), ..Self::new() }
    }

    async fn handle(&self, payload: Value) -> Outcome {
        let id = payload["msgId"].as_str().unwrap_or("card").to_owned();
        let place = payload["conversationId"].as_str().unwrap_or_default();
        let robot = IntegrationId::parse("robot").expect("a valid id");
        let _turn = self.order.enter(&subject::conversation(&robot, place, None)).await;
        self.begun.lock().expect("no other task panicked").push(id.clone());
        if let Ok(permit) = self.gate.acquire().await {
            permit.forget();
        }
        self.done.lock().expect("no other task panicked").push(id);
        self.outcome.lock().expect("no other task panicked").clone()
    }
}

/// The streams as `streams apply` makes them.
pub(crate) async fn broker(context: &Context, server: &Nats) -> nats::Nats {
    let config = nats::Config {
        url: server.url().to_owned(),
        credentials: None,
        login: Default::default(),
        name: "test".to_owned(),
        request_timeout: Duration::from_secs(5),
    };
    let broker = nats::Nats::connect(context, &config).await.expect("connect");
    let settings = topology::Config { replicas: 1, dedupe_window: Duration::from_secs(120) };
    topology::apply(&broker, settings, context.clock.now()).await.expect("apply the streams");
    broker
}

fn config() -> Config {
    Config {
        ping_every: Duration::from_millis(100),
        silence_max: Duration::from_secs(3),
        drain_max: Duration::from_secs(5),
        ..Config::default()
    }
}

pub(crate) fn integration(id: &str, secret: &str) -> Arc<Integration> {
    Arc::new(Integration {
        id: IntegrationId::parse(id).expect("a valid id"),
        name: id.to_owned(),
        mode: Mode::Stream,
        client_id: id.to_owned(),
        client_secret: Secret::new(secret),
        robot_code: None,
        callback_token: None,
        callback_aes_key: None,
        card_template_id: None,
        language: Language::En,
        receiver_id: None,
        corp_id: None,
        scope: Scope::Sender,
        is_paused: false,
    })
}

/// What a pod is made of, with times that a test can wait for.
pub(crate) fn parts(context: &Context, live: Live, name: &str, gateway: &str) -> Parts {
    let tls = gateway::tls().expect("the system has certificates");
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured((*tls).clone())
        .no_proxy()
        .build()
        .expect("a client");
    let settings = gateway::Config { api_url: gateway.to_owned(), ..Default::default() };
    Parts {
        context: context.clone(),
        live,
        gateway: Gateway::new(client, tls, settings),
        owner: owner::Config {
            heartbeat_every: Duration::from_millis(300),
            ..owner::Config::new(name)
        },
        config: config(),
    }
}

impl Pod {
    pub(crate) async fn start(
        server: &Nats,
        name: &str,
        gateway: &str,
        integrations: &Integrations,
        handler: Handler,
    ) -> Self {
        let context = Context::new(Clock::system());
        let live = Live::new(&broker(&context, server).await);
        let parts = parts(&context, live.clone(), name, gateway);
        let hint = Arc::new(Notify::new());
        let handler = Arc::new(handler);
        let (source, handle) = (integrations.clone(), handler.clone());
        stream::start(
            parts,
            hint.clone(),
            move || source.lock().expect("no other task panicked").clone(),
            move |_, _, payload| {
                let handle = handle.clone();
                async move { handle.handle(payload).await }
            },
        );
        Self { context, live, hint, handler }
    }

    /// With one integration, `robot`.
    pub(crate) async fn of_one(server: &Nats, gateway: &str, handler: Handler) -> Self {
        let one = Arc::new(Mutex::new(vec![integration("robot", "secret")]));
        Self::start(server, "edge-0", gateway, &one, handler).await
    }

    /// The states that all pods report of an integration.
    pub(crate) async fn links(&self, integration: &str) -> Vec<Link> {
        let id = IntegrationId::parse(integration).expect("a valid id");
        let stored = self.live.read(&links_of(&id)).await.unwrap_or_default();
        stored.iter().map(|stored| read(&stored.key, &stored.value).expect("a link")).collect()
    }

    pub(crate) async fn stop(self) {
        assert!(self.context.finish(Duration::from_secs(20)).await, "the pod stops in time");
    }
}
