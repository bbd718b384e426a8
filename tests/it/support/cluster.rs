//! Three nats-servers that form one JetStream cluster on loopback, for what behaves differently there:
//! error codes, elections, stale reads.
//!
//! A node can be killed, started again on its store, and asked to hand over a stream's leadership.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::stream::Config;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::logs::Logs;
use crate::support::program::free_port;
use crate::support::server::{Server, connect, wait_for_jetstream};
use crate::support::wait::{wait_for, wait_until};

pub(crate) const NODES: usize = 3;
const ELECTION: Duration = Duration::from_secs(60);

pub(crate) struct Cluster {
    pub(crate) logs: Logs,
    nodes: Vec<Server>,
    urls: Vec<String>,
    _directory: TempDir,
}

impl Cluster {
    /// Returns once a replicated stream can be created.
    pub(crate) async fn start() -> Self {
        let logs = Logs::watch();
        let directory = TempDir::new().expect("create a directory for the cluster");
        let [clients, routes] = [(); 2].map(|()| [(); NODES].map(|()| free_port()));
        let all_routes: Vec<_> = routes.iter().map(|p| format!("nats://127.0.0.1:{p}")).collect();
        let mut nodes = Vec::new();
        for (node, client) in clients.iter().enumerate() {
            let own = directory.path().join(format!("n{node}"));
            std::fs::create_dir(&own).expect("create a node's directory");
            let mut arguments = vec!["-p".to_owned(), client.to_string()];
            arguments.extend(["--cluster_name".to_owned(), "it".to_owned()]);
            arguments.extend(["--server_name".to_owned(), format!("n{node}")]);
            arguments.extend(["--cluster".to_owned(), all_routes[node].clone()]);
            arguments.extend(["--routes".to_owned(), all_routes.join(",")]);
            // Clients are given all nodes: one that comes through a proxy is to stay behind it.
            arguments.push("--no_advertise".to_owned());
            nodes.push(Server::new(&own, &arguments));
        }
        let mut urls = Vec::new();
        for node in &mut nodes {
            node.start();
        }
        for node in &mut nodes {
            urls.push(node.url().await);
        }
        let cluster = Self { logs, nodes, urls, _directory: directory };
        cluster.wait_until_replicating().await;
        cluster
    }

    /// All nodes, as `NATS_URL` takes them.
    pub(crate) fn url(&self) -> String {
        self.urls.join(",")
    }

    /// Each node by itself.
    pub(crate) fn urls(&self) -> &[String] {
        &self.urls
    }

    pub(crate) async fn client(&self) -> async_nats::Client {
        connect(&self.urls).await
    }

    pub(crate) async fn jetstream(&self) -> jetstream::Context {
        jetstream::new(self.client().await)
    }

    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    pub(crate) async fn terminate(&mut self, node: usize) {
        self.nodes[node].terminate().await;
    }

    pub(crate) async fn restart(&mut self, node: usize) {
        self.nodes[node].start();
        self.nodes[node].url().await;
    }

    /// The node that leads `stream`, once there is one.
    pub(crate) async fn leader(&self, stream: &str) -> usize {
        let context = self.jetstream().await;
        wait_for(&format!("{stream} has a leader"), ELECTION, async || {
            let info = context.get_stream(stream).await.ok()?.cached_info().cluster.clone()?;
            let name = info.leader?;
            (0..NODES).find(|node| name == format!("n{node}"))
        })
        .await
    }

    /// Makes another node lead `stream`.
    pub(crate) async fn step_down(&self, stream: &str) {
        let subject = format!("$JS.API.STREAM.LEADER.STEPDOWN.{stream}");
        let client = self.client().await;
        wait_until(&format!("the leader of {stream} steps down"), ELECTION, async || {
            let Ok(reply) = client.request(subject.clone(), "".into()).await else { return false };
            let reply: Value = serde_json::from_slice(&reply.payload).unwrap_or_default();
            reply["success"] == Value::Bool(true)
        })
        .await;
    }

    /// Asks by doing: a stream on every node is created and removed.
    async fn wait_until_replicating(&self) {
        let client = self.client().await;
        wait_for_jetstream(&client).await;
        let context = jetstream::new(client);
        let probe =
            || Config { name: "probe".to_owned(), num_replicas: NODES, ..Config::default() };
        wait_until("the cluster replicates", ELECTION, async || {
            context.create_or_update_stream(probe()).await.is_ok()
        })
        .await;
        wait_until("the probe is gone", ELECTION, async || {
            context.delete_stream("probe").await.is_ok()
        })
        .await;
    }
}
