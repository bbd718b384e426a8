//! What the streams are relied on for, asked of real servers: one, and three in a cluster, whose error
//! codes and timing differ.
//!
//! A scenario is a function of a broker; every one runs on both. What only a cluster can do, or only a
//! test with a server of its own, follows.

mod headers;
mod leases;
mod logins;
mod scenarios;
mod topology;

use std::time::Duration;

use async_nats::HeaderMap;
use dingtalk_trigger::context::{Clock, Context};
use dingtalk_trigger::domain::dead::DeadLetter;
use dingtalk_trigger::domain::entry::{Control, ControlKind, Entry};
use dingtalk_trigger::domain::id::{Conversation, IntegrationId, Seq, TurnId};
use dingtalk_trigger::domain::reason::Reason;
use dingtalk_trigger::domain::turn::failed::FailedAttempts;
use dingtalk_trigger::domain::turn::{Head, Step};
use dingtalk_trigger::io::dead::DeadLetters;
use dingtalk_trigger::io::nats::pull::Delivery;
use dingtalk_trigger::io::nats::{self, Nats, pull::Puller};
use dingtalk_trigger::io::{log, topology as streams};
use dingtalk_trigger::protocol::record::Record;
use dingtalk_trigger::protocol::subject;

use crate::support;
use crate::support::cluster::{Cluster, NODES};
use crate::support::wait::wait_until;

/// Enough for an election.
const LIMIT: Duration = Duration::from_secs(60);

struct Broker {
    context: Context,
    nats: Nats,
}

fn settings(replicas: usize) -> streams::Config {
    let replicas = u64::try_from(replicas).expect("a small number");
    streams::Config { replicas, dedupe_window: Duration::from_secs(600) }
}

impl Broker {
    async fn connect(url: String) -> Self {
        let context = Context::new(Clock::system());
        let (name, request_timeout) = ("it".to_owned(), Duration::from_secs(5));
        let config = nats::Config {
            url,
            credentials: None,
            login: nats::login::Login::default(),
            name,
            request_timeout,
        };
        let nats = Nats::connect(&context, &config).await.expect("the settings are right");
        Self { context, nats }
    }

    /// Connected, with all streams.
    async fn applied(url: String, replicas: usize) -> Self {
        let broker = Self::connect(url).await;
        wait_until("the streams are there", LIMIT, async || {
            let now = broker.context.clock.now();
            streams::apply(&broker.nats, settings(replicas), now).await.is_ok()
        })
        .await;
        broker
    }

    fn log(&self) -> log::Log {
        log::Log::new(&self.nats, 256 * 1024)
    }

    async fn puller(&self, stream: &'static str, consumer: &'static str) -> Puller {
        Puller::new(&self.nats, stream, consumer).await.expect("subscribe")
    }

    async fn take(&self, puller: &mut Puller) -> Delivery {
        let taken = tokio::time::timeout(LIMIT, puller.next(1)).await;
        taken.expect("a message comes").expect("the connection holds")
    }

    /// Stored as it is, with nothing of ours around it.
    async fn put(&self, subject: &str, headers: HeaderMap) -> Result<u64, String> {
        let stored = self.nats.publish(subject, headers, "x".into()).await;
        stored.map(|stored| stored.seq.0).map_err(|error| error.to_string())
    }
}

/// A conversation of this scenario's own.
fn conversation(name: &str) -> Conversation {
    let integration = IntegrationId::parse("it").expect("an integration's id");
    subject::conversation(&integration, name, None)
}

fn entry() -> Entry {
    Entry::Control(Control { kind: ControlKind::Stop, origin: None })
}

fn record(nonce: u64) -> Record {
    let (step, head) = (Step::Delivered, Head::default());
    Record { nonce, count: 1, step, head, answer: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_keeps_what_the_streams_promise() {
    let server = support::nats::Nats::start().await;
    server.leaves_work();
    let broker = Broker::applied(server.url().to_owned(), 1).await;
    scenarios::all(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_what_the_streams_promise() {
    let mut cluster = Cluster::start().await;
    let broker = Broker::applied(cluster.url(), NODES).await;
    scenarios::all(&broker).await;
    nothing_confirmed_is_lost_with_a_leader(&mut cluster, &broker).await;
}

#[tokio::test]
async fn a_turn_has_one_letter_also_when_it_is_buried_again_much_later() {
    let server = support::nats::Nats::start().await;
    let broker = Broker::applied(server.url().to_owned(), 1).await;
    let stream = server.jetstream().await.get_stream("DT_DEAD").await.expect("it was applied");
    let duplicate_window = Duration::from_millis(100);
    let config = async_nats::jetstream::stream::Config {
        duplicate_window,
        ..stream.cached_info().config.clone()
    };
    server.jetstream().await.update_stream(config).await.expect("shorten the stream's memory");
    let place = conversation("dead");
    let letter = |last| DeadLetter {
        turn: TurnId { conversation: place.clone(), last: Seq(last) },
        reason: Reason::RuntimeExhausted,
        detail: "HTTP 500".into(),
        attempts: 8,
        failed: FailedAttempts::default(),
        asked: None,
        entries: vec![],
    };
    let dead = DeadLetters::new(&broker.nats);
    let first = dead.bury("dispatch", &letter(7)).await.expect("bury");
    // What was stored after it is forgotten, and so is its id.
    let mut probe = HeaderMap::new();
    probe.insert(async_nats::header::NATS_MESSAGE_ID, "probe");
    let put = async || {
        let stored = broker.nats.publish("dt.dead.probe.a.b", probe.clone(), "x".into()).await;
        stored.expect("store the probe").is_duplicate
    };
    assert!(!put().await);
    wait_until("the id is forgotten", LIMIT, async || !put().await).await;
    assert_eq!(dead.bury("dispatch", &letter(7)).await.expect("bury again"), first);
    assert_ne!(dead.bury("dispatch", &letter(8)).await.expect("bury the next"), first);
}

/// Publishes one after the other while the log's leader is killed: what was confirmed is there once, in
/// order, and publishing goes on.
async fn nothing_confirmed_is_lost_with_a_leader(cluster: &mut Cluster, broker: &Broker) {
    let place = conversation("leader");
    let leader = cluster.leader("DT_IN").await;
    let mut confirmed = Vec::new();
    for index in 0..60 {
        if index == 20 {
            cluster.kill(leader);
        }
        let id = format!("leader:{index}");
        // The same id until it is confirmed: that is what an edge's caller does.
        wait_until("the log takes entries again", LIMIT, async || {
            match broker.log().append(&place, &id, entry()).await {
                Ok(log::Appended::Stored(seq) | log::Appended::Duplicate(seq)) => {
                    confirmed.push(seq);
                    true
                }
                Err(_) => false,
            }
        })
        .await;
    }
    assert!(confirmed.is_sorted_by(|a, b| a < b), "{confirmed:?}");
    cluster.restart(leader).await;
    let limits = log::PageLimits { entries_max: 100, bytes_max: usize::MAX };
    let before = Seq(confirmed[0].0 - 1);
    let page =
        broker.log().page(&place, before, confirmed[59], limits).await.expect("read the log");
    let stored: Vec<_> = page.iter().map(|logged| logged.seq).collect();
    assert_eq!(stored, confirmed, "each once and no other");
}
