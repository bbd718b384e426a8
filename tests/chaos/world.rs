//! Everything that runs, put together, and the end of it: waiting until nothing is left to do.

use std::collections::BTreeMap;
use std::time::Duration;

use dingtalk_trigger::context::{Clock, Context};
use dingtalk_trigger::domain::id::{Conversation, Seq};
use dingtalk_trigger::io::state;
use dingtalk_trigger::protocol::subject;
use dingtalk_trigger::sim::dingtalk::app::App;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::console::Console;
use crate::faults::servers::Servers;
use crate::fleet::{ADMIN_TOKEN, Fleet, Role};
use crate::history::History;
use crate::load::{Load, ROBOTS};
use crate::oracle::{Verdict, judge};
use crate::people::People;
use crate::postgres::Postgres;
use crate::proxy::Proxy;
use crate::scribe::Scribe;
use crate::support::cluster::Cluster;
use crate::support::nats::left_over;
use crate::support::outside::Outside;
use crate::support::program::report;
use crate::support::service::addresses;
use crate::support::wait::wait_until;

const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// From the end of the last fault and the last message until nothing is left to do.
/// The longest wait of a schedule is twelve minutes.
const SETTLED: Duration = Duration::from_mins(14);
const LIMIT: Duration = Duration::from_secs(60);

/// Dropped in this order: the pods before what they stand on.
pub(crate) struct World {
    pub(crate) fleet: Fleet,
    pub(crate) console: Console,
    pub(crate) outside: Outside,
    /// In front of both edges.
    _balancer: Proxy,
    scribe: Scribe,
    pub(crate) servers: Servers,
    context: Context,
}

/// How a run came to its end.
pub(crate) struct Settled {
    pub(crate) took: Duration,
    /// What was still to be done when the time was over, in words.
    pub(crate) left: Vec<String>,
}

/// Talk that goes on by itself.
pub(crate) struct Talk {
    end: CancellationToken,
    task: JoinHandle<()>,
}

impl Talk {
    pub(crate) async fn end(self) {
        self.end.cancel();
        self.task.await.expect("the load has no reason to fail");
    }
}

impl World {
    /// Everything is ready and published, both Stream robots are connected, nobody has written yet.
    pub(crate) async fn start() -> Self {
        let context = Context::new(Clock::system());
        let (cluster, database) = tokio::join!(Cluster::start(), Postgres::start());
        let outside = Outside::start().await;
        let mut settings = addresses(&outside);
        let own = [
            ("DATABASE_URL", database.url().as_str()),
            ("DT_MASTER_KEY", MASTER_KEY),
            ("DT_ADMIN_TOKEN", ADMIN_TOKEN),
            ("DT_REPLICAS", "3"),
            ("DT_SEND_RATE", "50"),
            ("DT_WEBHOOK_RATE", "120"),
            ("DT_SQL_CONNECTIONS", "4"),
            // Fewer than conversations write at once: bursts wait for busy experts.
            ("DT_EXPERT_RUNS_MAX", "8"),
            ("DT_RUNTIME_TIMEOUT", "20s"),
            ("DT_RUNTIME_IDLE_TIMEOUT", "5s"),
            ("DT_LOG", "warn,dingtalk_trigger=info"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        settings.extend(own);
        let mut fleet = Fleet::prepare(&context, cluster.urls(), &settings).await;
        for command in [["streams", "apply"].as_slice(), &["migrate"]] {
            fleet.command(command).await;
        }
        for pod in 0..fleet.pods.len() {
            fleet.start(pod, &[]);
        }
        fleet.all_ready().await;
        fleet.counters.follow(&context);
        let edges = fleet.of(Role::Edge);
        let edges = edges.iter().map(|pod| fleet.pods[*pod].address.clone()).collect();
        let balancer = Proxy::start(&context, edges).await;
        let console = Console::new(fleet.address(Role::Console));
        for robot in ROBOTS {
            let url = format!("http://{}/api/dingtalk/webhook/{}", balancer.address(), robot.name);
            outside.cloud.put_app(match robot.is_stream {
                true => App::stream(robot.name, "app-secret"),
                false => App::http(robot.name, "app-secret", &url),
            });
            console.publish(&outside, robot).await;
        }
        let connected = |name| outside.cloud.connections(name) == 1;
        wait_until("the Stream robots are connected", LIMIT, async || {
            ROBOTS.iter().all(|robot| !robot.is_stream || connected(robot.name))
        })
        .await;
        let scribe = Scribe::start(&context, cluster.url()).await;
        let servers = Servers { cluster, database };
        Self { fleet, console, outside, _balancer: balancer, scribe, servers, context }
    }

    pub(crate) fn load(&self, load: Load) -> Talk {
        let end = CancellationToken::new();
        let task = self.context.spawn(load.run(end.clone()));
        Talk { end, task }
    }

    /// Waits until every message has been accepted or given up, every turn has ended, and nothing is left in
    /// any stream that would do anything more; or until it is clear that something is stuck.
    pub(crate) async fn settled(&mut self) -> Settled {
        let began = Instant::now();
        self.fleet.all_ready().await;
        let mut said = Instant::now();
        let left = loop {
            let left = self.left().await;
            if left.is_empty() || began.elapsed() > SETTLED {
                break left;
            }
            if said.elapsed() > Duration::from_secs(10) {
                said = Instant::now();
                let shown: String = left.join("; ").chars().take(600).collect();
                report(&format!("chaos: left: {shown}"));
            }
            sleep(Duration::from_millis(500)).await;
        };
        let took = began.elapsed();
        self.fleet.counters.read_all().await;
        Settled { took, left }
    }

    /// What is still to be done, in words.
    async fn left(&self) -> Vec<String> {
        let mut left = vec![];
        let on_their_way = People::of(&self.outside.cloud).on_their_way();
        if on_their_way > 0 {
            left.push(format!("{on_their_way} messages on their way"));
        }
        let positions = {
            let written = self.scribe.written();
            let history = History::of(&written);
            left.extend(history.unfinished.iter().map(|what| format!("unfinished: {what}")));
            let last = |turns: &BTreeMap<Seq, _>| turns.keys().next_back().copied();
            let all = history.turns.iter();
            let positions: BTreeMap<Conversation, Option<Seq>> =
                all.map(|(conversation, turns)| (conversation.clone(), last(turns))).collect();
            positions
        };
        let jetstream = self.servers.cluster.jetstream().await;
        let streams = left_over(&jetstream).await;
        left.extend(streams.into_iter().filter(|what| !what.ends_with("messages in DT_TIMER")));
        for (stream, filter) in [("DT_TIMER", "dt.>"), ("DT_HANDOFF", "dt.handoff.>")] {
            match state::subjects(&self.scribe.nats, stream, filter).await {
                Ok(subjects) => left
                    .extend(subjects.into_keys().filter(|subject| !is_over(subject, &positions))),
                Err(error) => left.push(format!("{stream}: {error}")),
            }
        }
        left
    }

    pub(crate) fn judge(&self, settled: &Settled) -> Verdict {
        judge(&People::of(&self.outside.cloud), &self.scribe.written(), &settled.left)
    }

    /// Ends all pods by SIGTERM, and what this test itself runs.
    pub(crate) async fn end(&mut self) {
        for pod in 0..self.fleet.pods.len() {
            self.fleet.terminate(pod).await;
        }
        self.context.finish(LIMIT).await;
    }
}

/// A timer for something that has ended already: its token will find that and end. A wait for an expert
/// leaves one for the time at which it would have expired.
fn is_over(timer: &str, positions: &BTreeMap<Conversation, Option<Seq>>) -> bool {
    let number: String = timer
        .rsplit('.')
        .next()
        .unwrap_or_default()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    let (Ok(seq), Some(conversation)) = (number.parse(), subject::conversation_of(timer)) else {
        return false;
    };
    let position = positions.get(&conversation).copied().flatten();
    timer.starts_with("dt.timer.") && position.is_some_and(|position| Seq(seq) <= position)
}
