//! The roles as processes of their own: two of each on one broker and one PostgreSQL, and what happens
//! when one of them is killed, joins, or leaves.

mod narrow;
mod parked;

use std::path::Path;
use std::time::Duration;

use dingtalk_trigger::context::{Clock, Context};
use dingtalk_trigger::sim::dingtalk::app::App;
use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::dingtalk::record::Kind;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::support::collector::Collector;
use crate::support::database::Postgres;
use crate::support::nats::Nats;
use crate::support::oracle::{answered, assert_turns_in_order, judge, mark};
use crate::support::outside::Outside;
use crate::support::program::{LIMIT, Program, free_port, metric, report};
use crate::support::service::{AES_KEY, Admin, TOKEN, addresses, callback, echo};
use crate::support::wait::{wait_for, wait_until};

const ADMIN_TOKEN: &str = "token-of-the-tests";
const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// One process of a role.
pub(crate) struct Pod {
    pub(crate) program: Program,
    /// Where it serves what the role serves.
    pub(crate) address: String,
    pub(crate) health: String,
}

/// Dropped in this order: the pods before what they stand on.
pub(crate) struct Fleet {
    pub(crate) outside: Outside,
    directory: TempDir,
    settings: Vec<(String, String)>,
    pub(crate) nats: Nats,
    database: Postgres,
}

impl Fleet {
    /// Streams and tables are there; no role runs yet.
    pub(crate) async fn prepare() -> Self {
        Self::prepare_on(Nats::start().await).await
    }

    async fn prepare_on(nats: Nats) -> Self {
        let outside = Outside::start().await;
        let database = Postgres::fresh().await;
        let mut settings = addresses(&outside);
        let own = [
            ("NATS_URL", nats.url()),
            ("DATABASE_URL", database.url()),
            ("DT_MASTER_KEY", MASTER_KEY),
            ("DT_ADMIN_TOKEN", ADMIN_TOKEN),
            ("DT_SEND_RATE", "0"),
            ("DT_WEBHOOK_RATE", "0"),
            ("DT_SQL_CONNECTIONS", "4"),
        ];
        settings.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let directory = TempDir::new().expect("create a directory");
        for command in [["streams", "apply"].as_slice(), &["migrate"]] {
            let name = command.join("-");
            let mut program = Program::start(directory.path(), &name, command, &settings);
            assert_eq!(program.ended().await.code(), Some(0), "{}", program.complained());
        }
        Self { outside, directory, settings, nats, database }
    }

    /// `name` is a role and a number.
    pub(crate) fn pod(&self, name: &str) -> Pod {
        self.pod_of(Path::new(env!("CARGO_BIN_EXE_dingtalk-trigger")), name)
    }

    /// A pod of another release.
    pub(crate) fn pod_of(&self, binary: &Path, name: &str) -> Pod {
        let [address, health] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
        let (role, _) = name.split_once('-').expect("a role and a number");
        let mut settings = self.settings.clone();
        let own = [
            ("DT_EDGE_ADDR", address.as_str()),
            ("DT_CONSOLE_ADDR", address.as_str()),
            ("DT_HEALTH_ADDR", health.as_str()),
            ("DT_POD", name),
        ];
        settings.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let directory = self.directory.path();
        let program = Program::start_binary(binary, directory, name, &[role], &settings);
        Pod { program, address, health }
    }
}

impl Pod {
    pub(crate) async fn ready(mut self) -> Self {
        self.program.ready(&self.health).await;
        self
    }

    pub(crate) fn admin(&self) -> Admin {
        Admin { address: self.address.clone(), token: ADMIN_TOKEN.to_owned() }
    }

    async fn runs(&self) -> f64 {
        metric(&self.health, "dt_turns_total", "delivered").await
    }

    pub(crate) async fn terminate(&mut self) {
        let status = self.program.terminate().await;
        assert_eq!(status.code(), Some(0), "SIGTERM: {}", self.program.complained());
    }

    async fn has_stream(&self) -> bool {
        metric(&self.health, "dt_stream_connected", "").await > 0.5
    }
}

#[tokio::test]
async fn a_message_through_each_edge_is_answered_and_stream_ownership_moves_with_a_kill() {
    let fleet = Fleet::prepare().await;
    let names = ["edge-1", "edge-2", "worker-1", "worker-2", "console-1", "console-2"];
    let mut pods = vec![];
    for pod in names.map(|name| fleet.pod(name)) {
        pods.push(pod.ready().await);
    }
    let (one, other) = (pods[4].admin(), pods[5].admin());
    let outside = &fleet.outside;

    wait_until("the status shows every pod", LIMIT, async || {
        let status = one.done("GET", "/api/status", &Value::Null).await;
        let shown = status["pods"].as_array().expect("pods").iter();
        let roles: Vec<_> = shown.map(|pod| pod["role"].as_str().unwrap_or_default()).collect();
        ["edge", "worker", "console"]
            .iter()
            .all(|role| roles.iter().filter(|shown| shown == &role).count() == 2)
    })
    .await;
    let url = |edge: &Pod| format!("http://{}/api/dingtalk/webhook/http", edge.address);
    // Configured through one console, each edge knows it.
    let keys =
        json!({ "id": "http", "mode": "http", "callbackToken": TOKEN, "callbackAesKey": AES_KEY });
    one.integrate(&keys).await;
    other.publish("expert", "http", &json!({ "runtime": echo() })).await;
    for edge in &pods[..2] {
        let url = url(edge);
        outside.cloud.put_app(App::http("http", "app-secret", &url));
        let text = format!("through {}", edge.address);
        outside.ask(Say::direct("http", "ann", &text), &text).await;
    }

    outside.cloud.put_app(App::stream("robot", "app-secret"));
    one.integrate(&json!({ "id": "robot", "mode": "stream" })).await;
    one.publish("second", "robot", &json!({ "runtime": echo() })).await;
    wait_until("one edge is connected", LIMIT, async || outside.cloud.connections("robot") == 1)
        .await;
    outside.ask(Say::direct("robot", "ann", "before"), "before").await;
    let owner = wait_for("one edge says that it is connected", LIMIT, async || {
        match (pods[0].has_stream().await, pods[1].has_stream().await) {
            (true, false) => Some(0),
            (false, true) => Some(1),
            _ => None,
        }
    })
    .await;
    let killed = Instant::now();
    pods[owner].program.kill().await;
    outside.say(Say::direct("robot", "ann", "meanwhile"));
    wait_until("the other edge is connected", LIMIT, async || {
        outside.cloud.connections("robot") == 1
    })
    .await;
    report(&format!("measured: Stream ownership moved {:?} after the kill", killed.elapsed()));
    outside.ask(Say::direct("robot", "ann", "after"), "after").await;
    let meanwhile = outside
        .cloud
        .wait_for(LIMIT, |record| record.kind == Kind::Reply && record.text == "meanwhile");
    assert!(meanwhile.await.is_some(), "what was said meanwhile is pushed again and answered");
    let status = other.done("GET", "/api/integrations/robot/status", &Value::Null).await;
    assert_eq!(status["state"], "connected", "{status}");
    fleet.nats.assert_settled().await;
    pods.remove(owner);
    for pod in &mut pods {
        pod.terminate().await;
    }
}

/// What a pod knows it keeps in memory: without a word from the one that changed it, it would learn of it
/// with its next reload, 15 s later on average and 30 s at the most.
#[tokio::test]
async fn other_pods_act_on_a_change_within_a_second() {
    const CHANGES: usize = 11;
    let fleet = Fleet::prepare().await;
    let mut pods = vec![];
    for pod in ["edge-1", "edge-2", "console-1", "console-2"].map(|name| fleet.pod(name)) {
        pods.push(pod.ready().await);
    }
    let mut took = vec![];
    for change in 0..CHANGES {
        let (id, expert) = (format!("robot{change}"), format!("expert{change}"));
        let (one, other) = (&pods[2 + change % 2], &pods[3 - change % 2]);
        let keys =
            json!({ "id": id, "mode": "http", "callbackToken": TOKEN, "callbackAesKey": AES_KEY });
        one.admin().integrate(&keys).await;
        other.admin().publish(&expert, &id, &json!({ "runtime": echo() })).await;
        let answers = async |edge: &Pod, status: u16| {
            let url = format!("http://{}/api/dingtalk/webhook/{id}", edge.address);
            wait_until("the edge knows", LIMIT, async || {
                reqwest::get(&url).await.is_ok_and(|answer| answer.status() == status)
            })
            .await;
        };
        // Each has it in its memory now.
        for edge in &pods[..2] {
            answers(edge, 200).await;
        }
        let unpublish = format!("/api/triggers/{expert}");
        other.admin().done("DELETE", &unpublish, &Value::Null).await;
        one.admin().done("DELETE", &format!("/api/integrations/{id}"), &Value::Null).await;
        let answered = Instant::now();
        for edge in &pods[..2] {
            answers(edge, 404).await;
        }
        took.push(answered.elapsed());
    }
    took.sort();
    report(&format!("measured: a change reached both other pods in {took:?}"));
    // Of a machine that does ten other things at once, a single one may be late.
    assert!(took[CHANGES / 2] < Duration::from_secs(1), "{took:?}");
    for pod in &mut pods {
        pod.terminate().await;
    }
}

#[tokio::test]
async fn what_each_role_does_for_a_message_is_one_trace() {
    let mut fleet = Fleet::prepare().await;
    let collector = Collector::start().await;
    fleet.settings.push(("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), collector.endpoint()));
    let outside = &fleet.outside;
    let mut pods = vec![];
    for pod in ["edge-1", "console-1", "worker-1"].map(|name| fleet.pod(name)) {
        pods.push(pod.ready().await);
    }
    let admin = pods[1].admin();
    outside.cloud.put_app(App::stream("robot", "app-secret"));
    admin.integrate(&json!({ "id": "robot", "mode": "stream" })).await;
    admin.publish("expert", "robot", &json!({ "runtime": echo() })).await;
    wait_until("the edge is connected", LIMIT, async || outside.cloud.connections("robot") == 1)
        .await;
    outside.ask(Say::direct("robot", "ann", "hello"), "hello").await;
    fleet.nats.assert_settled().await;
    for pod in &mut pods {
        pod.terminate().await;
    }
    let spans = collector.spans();
    let trace = &spans.first().expect("spans").trace;
    assert!(spans.iter().all(|span| span.trace == *trace), "{spans:?}");
    let mut told: Vec<_> = collector
        .requests()
        .iter()
        .flat_map(|request| {
            let of = request.resource();
            let by = format!("{} of {}", of["role"], of["service.instance.id"]);
            request.spans().into_iter().map(move |span| format!("{}: {by}", span.name))
        })
        .collect();
    told.sort();
    let expected = ["dispatch", "intake", "invoke", "run", "send"];
    let mut expected = expected.map(|name| format!("{name}: worker of worker-1")).to_vec();
    expected.insert(0, "accept: edge of edge-1".to_owned());
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_worker_that_joins_takes_its_share_and_one_that_leaves_drops_nothing() {
    const CONVERSATIONS: usize = 60;
    let fleet = Fleet::prepare().await;
    let outside = &fleet.outside;
    let mut pods = vec![];
    for pod in ["edge-1", "console-1", "worker-1", "worker-2"].map(|name| fleet.pod(name)) {
        pods.push(pod.ready().await);
    }
    let admin = pods[1].admin();
    outside.cloud.put_app(App::stream("robot", "app-secret"));
    admin.integrate(&json!({ "id": "robot", "mode": "stream" })).await;
    admin.publish("expert", "robot", &json!({ "runtime": callback(outside) })).await;
    wait_until("the edge is connected", LIMIT, async || outside.cloud.connections("robot") == 1)
        .await;
    let mut said = 0;
    let mut say = |rounds: usize| {
        for _ in 0..rounds * CONVERSATIONS {
            let conversation = said % CONVERSATIONS;
            let text = mark(conversation, said / CONVERSATIONS);
            outside.say(Say::direct("robot", &format!("person{conversation}"), &text));
            said += 1;
        }
        said
    };
    say(4);
    // It joins under load; what is said from now on is shared by three.
    let third = fleet.pod("worker-3").ready().await;
    let all = say(4);
    wait_until("a part is answered", LIMIT, async || answered(&outside.cloud) >= all / 2).await;
    let leaving = Instant::now();
    let before = pods[3].runs().await;
    pods[3].terminate().await;
    let left = leaving.elapsed();
    wait_until("every message is answered", LIMIT, async || answered(&outside.cloud) == all).await;
    let (first, joined) = (pods[2].runs().await, third.runs().await);
    report(&format!(
        "measured: turns: worker-1 {first}, worker-2 {before} before it left in {left:?}, \
         worker-3 {joined}; all answered {:?} after the leaving began",
        leaving.elapsed()
    ));
    let total = f64::from(u32::try_from(all).unwrap());
    assert!(joined > total / 10.0, "the third worker took {joined} of {total}");
    fleet.nats.assert_settled().await;
    let verdict = judge(&outside.cloud, &[]);
    verdict.assert_good(0.0);
    assert_turns_in_order(&outside.expert.calls());
    pods.push(third);
    for (index, pod) in pods.iter_mut().enumerate() {
        if index != 3 {
            pod.terminate().await;
        }
    }
}

#[tokio::test]
async fn a_role_that_starts_before_its_broker_waits_for_it() {
    let mut fleet = Fleet::prepare().await;
    fleet.nats.kill();
    let mut pod = fleet.pod("edge-1");
    let url = format!("http://{}/readyz", pod.health);
    wait_until("it says that the broker is missing", LIMIT, async || {
        let Ok(answer) = reqwest::get(&url).await else { return false };
        let status = answer.status();
        let body: Value = answer.json().await.unwrap_or_default();
        status == 503 && body["missing"]["nats"].is_string()
    })
    .await;
    // Told to end while it waits, it ends in order, and another one comes in its place.
    pod.terminate().await;
    pod = fleet.pod("edge-1");
    fleet.nats.restart().await;
    pod = pod.ready().await;
    pod.terminate().await;
}

#[tokio::test]
async fn a_role_that_starts_before_its_database_waits_for_it() {
    let mut fleet = Fleet::prepare().await;
    let port = free_port();
    let (_, server) = fleet.database.url().rsplit_once('@').expect("user and host");
    let (server, name) = server.split_once('/').expect("host and database");
    let server = server.to_owned();
    let url = format!("postgres://postgres@127.0.0.1:{port}/{name}");
    fleet.settings.push(("DATABASE_URL".to_owned(), url));
    let mut pod = fleet.pod("edge-1");
    let url = format!("http://{}/readyz", pod.health);
    wait_until("it says that the database is missing", LIMIT, async || {
        let Ok(answer) = reqwest::get(&url).await else { return false };
        let body: Value = answer.json().await.unwrap_or_default();
        body["missing"]["database"].is_string()
    })
    .await;
    // Now somebody listens there.
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("listen for the pod");
    let context = Context::new(Clock::system());
    let (task, stop) = (context.clone(), context.stop().clone());
    context.spawn(async move {
        while let Some(Ok((mut near, _))) = stop.run_until_cancelled(listener.accept()).await {
            let (server, stop) = (server.clone(), stop.clone());
            task.spawn(async move {
                let mut far = TcpStream::connect(server).await.expect("reach PostgreSQL");
                // Either side may end it.
                stop.run_until_cancelled(copy_bidirectional(&mut near, &mut far)).await;
            });
        }
    });
    pod = pod.ready().await;
    pod.terminate().await;
    context.finish(LIMIT).await;
}
