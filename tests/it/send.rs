//! Answers on their way to DingTalk: routes, tokens, verdicts and the send rate, against the simulated cloud
//! and a real broker. What this file holds is what those tests share.
#![expect(clippy::unwrap_used, reason = "fixtures of tests")]

use std::time::Duration;

use dingtalk_trigger::context::{Clock, Context};
use dingtalk_trigger::domain::binding::{Integration, Language, Mode, Scope};
use dingtalk_trigger::domain::entry::Origin;
use dingtalk_trigger::domain::id::IntegrationId;
use dingtalk_trigger::domain::inbound::{self, Place, PlaceKind, SessionWebhook};
use dingtalk_trigger::domain::rate::Bucket;
use dingtalk_trigger::domain::reply::{Format, Segment};
use dingtalk_trigger::domain::secret::Secret;
use dingtalk_trigger::io::dingtalk::failure::SendError;
use dingtalk_trigger::io::dingtalk::send::{self, Sender, Sent};
use dingtalk_trigger::io::dingtalk::token::Tokens;
use dingtalk_trigger::io::egress::host::{HostList, Scheme};
use dingtalk_trigger::io::egress::{self, Egress};
use dingtalk_trigger::io::governor::{Api, Config, Governor};
use dingtalk_trigger::io::nats as broker;
use dingtalk_trigger::io::topology;
use dingtalk_trigger::protocol::rate::{STREAM, decode, subject};
use dingtalk_trigger::sim::dingtalk::Sim;
use dingtalk_trigger::sim::dingtalk::app::App;
use dingtalk_trigger::sim::dingtalk::fault::{Fault, Outcome};
use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::dingtalk::record::Kind;
use dingtalk_trigger::sim::dingtalk::settings;
use dingtalk_trigger::telemetry::metrics::Limit;
use serde_json::{Value, json};

use crate::support::nats::Nats;
use crate::support::wait::wait_until;

mod routes;
mod verdicts;
mod tokens;
mod governor;

const ROBOT: &str = "robot";
const SECRET: &str = "client-secret";
const GROUP: &str = "cidGroup+/==";
const HOUR: Duration = Duration::from_secs(3600);

/// A cloud, a broker, and what a worker sends with.
struct Bench {
    context: Context,
    sim: Sim,
    tokens: Tokens,
    sender: Sender,
    broker: broker::Nats,
    integration: Integration,
    nats: Nats,
}

impl Bench {
    async fn start() -> Self {
        Self::with(str::to_owned).await
    }

    /// `api` says where DingTalk's API is instead of at the simulated cloud.
    async fn with(api: impl Fn(&str) -> String) -> Self {
        Self::patient(Duration::from_secs(20), api).await
    }

    /// A call has so long for its answer.
    async fn patient(timeout: Duration, api: impl Fn(&str) -> String) -> Self {
        let nats = Nats::start().await;
        let context = Context::new(Clock::system());
        let broker = connect(&context, nats.url(), 1).await;
        let apps = vec![App::stream(ROBOT, SECRET)];
        let config = settings::Config { apps, ..settings::Config::default() };
        let sim = Sim::start(&context, config).await.unwrap();
        let egress = Egress::new(&egress::Config::default()).unwrap();
        let api_url = api(sim.url());
        let tokens = Tokens::new(context.clone(), egress.clone(), &api_url);
        let rate = Config { rate_per_s: 1000, ..Config::default() };
        let governor = Governor::new(context.clone(), &broker, rate);
        let host = sim.url().trim_start_matches("http://");
        let config = send::Config {
            api_url,
            reply_hosts: HostList::parse(host, Scheme::HttpsOnly).unwrap(),
            timeout,
        };
        let sender = Sender::new(context.clone(), egress, tokens.clone(), governor, config);
        Self { context, sim, tokens, sender, broker, integration: integration(SECRET), nats }
    }

    /// Somebody wrote to the robot alone.
    fn alone(&self) -> Origin {
        self.origin(Say::direct(ROBOT, "alice", "hi"), PlaceKind::Private)
    }

    fn grouped(&self) -> Origin {
        self.origin(Say::group(ROBOT, GROUP, "alice", "hi"), PlaceKind::Group)
    }

    fn origin(&self, say: Say, kind: PlaceKind) -> Origin {
        let said = self.sim.say(say).unwrap();
        let records = self.sim.book().since(0, usize::MAX);
        let record = records.iter().find(|record| record.msg_id == said.msg_id).unwrap();
        let url = record.body["sessionWebhook"].as_str().unwrap().to_owned();
        Origin {
            place: Place { id: said.conversation, kind, title: None },
            sender: inbound::Sender {
                id: "$:LWCP_v1:$x".into(),
                staff_id: Some("alice".into()),
                name: "Alice".into(),
                corp_id: None,
            },
            robot_code: None,
            webhook: Some(SessionWebhook { url, expires_at: self.context.clock.now().after(HOUR) }),
        }
    }

    async fn send(&self, origin: &Origin) -> Result<Sent, SendError> {
        self.sender.send(&self.integration, origin, &segment("hello")).await
    }

    /// Each reply that people saw: its route and its text.
    fn seen(&self) -> Vec<(String, String)> {
        let replies = self.sim.replies();
        replies.iter().map(|reply| (reply.detail.clone(), reply.text.clone())).collect()
    }

    fn count(&self, kind: Kind) -> usize {
        let records = self.sim.book().since(0, usize::MAX);
        records.iter().filter(|record| record.kind == kind).count()
    }

    /// Webhooks refused for their host.
    fn refused_hosts(&self) -> u64 {
        let limit = Limit { limit: "reply_hosts" };
        self.context.metrics.limit_breaches.get_or_create(&limit).get()
    }

    /// The share of the full rate that a complaint has left, and for how long it stopped everything.
    async fn slowed(&self, api: Api) -> (u16, Duration) {
        let bucket = bucket(&self.broker, api).await.unwrap();
        let pause = u64::try_from(bucket.next_us - bucket.changed_us).unwrap();
        (bucket.share, Duration::from_micros(pause))
    }
}

/// A pod's connection; the streams are there afterwards.
async fn connect(context: &Context, url: &str, replicas: u64) -> broker::Nats {
    let config = broker::Config {
        url: url.to_owned(),
        credentials: None,
        login: Default::default(),
        name: "it".to_owned(),
        request_timeout: Duration::from_secs(5),
    };
    let broker = broker::Nats::connect(context, &config).await.unwrap();
    let streams = topology::Config { replicas, dedupe_window: Duration::from_secs(120) };
    // A cluster that is busy may hold an election at any time.
    wait_until("the streams are there", Duration::from_mins(1), async || {
        topology::apply(&broker, streams, context.clock.now()).await.is_ok()
    })
    .await;
    broker
}

async fn bucket(broker: &broker::Nats, api: Api) -> Option<Bucket> {
    let key = subject(&id(), api.as_str());
    decode(&broker.last(STREAM, &key).await.unwrap()?.payload)
}

fn id() -> IntegrationId {
    IntegrationId::parse("main").unwrap()
}

fn integration(secret: &str) -> Integration {
    Integration {
        id: id(),
        name: "Main".into(),
        mode: Mode::Stream,
        client_id: ROBOT.into(),
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
    }
}

fn segment(text: &str) -> Segment {
    Segment { format: Format::Text, title: String::new(), text: text.into(), mention: None }
}

/// The next call of `api` is answered so, and nothing is done.
fn told(api: &str, status: u16, body: Value) -> Fault {
    Fault::new(api, Outcome::Answer { status, body })
}

/// The next call of `api` is done, and answered so.
fn done(api: &str, status: u16, body: Value) -> Fault {
    Fault::new(api, Outcome::AcceptThenAnswer { status, body })
}

fn gone() -> Value {
    json!({ "errcode": 300_001, "errmsg": "session 不存在" })
}
