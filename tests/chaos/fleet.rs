//! The service's processes: two edges, three workers and a console, each behind its own lines to the
//! nodes of the broker.
//!
//! Guarantees that a pod which was killed comes back where it was, and that one which ended by itself is
//! started again, as whatever runs the service in earnest would.

use std::time::Duration;

use dingtalk_trigger::context::Context;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::counters::Counters;
use crate::proxy::{Line, Proxy};
use crate::support::program::{Program, free_port, report};

pub(crate) const ADMIN_TOKEN: &str = "token-of-the-chaos";
const NAMES: [&str; 6] = ["edge-1", "edge-2", "worker-1", "worker-2", "worker-3", "console-1"];
/// A pod may wait for a broker or a database that is away itself.
const READY: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Edge,
    Worker,
    Console,
}

pub(crate) struct Pod {
    name: &'static str,
    /// Where it serves what the role serves.
    pub(crate) address: String,
    health: String,
    settings: Vec<(String, String)>,
    lines: Vec<Proxy>,
    program: Option<Program>,
    starts: u32,
}

/// Dropped in this order: the pods before the directory they write to.
pub(crate) struct Fleet {
    pub(crate) pods: Vec<Pod>,
    pub(crate) counters: Counters,
    directory: TempDir,
    http: reqwest::Client,
    /// Pods that ended without being told to.
    pub(crate) fell: u32,
}

impl Fleet {
    /// Nothing runs yet. `settings` are the same for all pods but for their addresses.
    pub(crate) async fn prepare(
        context: &Context,
        nodes: &[String],
        settings: &[(String, String)],
    ) -> Self {
        let mut pods = vec![];
        for name in NAMES {
            let mut lines = vec![];
            for node in nodes {
                let host = node.trim_start_matches("nats://").to_owned();
                lines.push(Proxy::start(context, vec![host]).await);
            }
            let [address, health] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
            let url: Vec<_> =
                lines.iter().map(|line| format!("nats://{}", line.address())).collect();
            let own = [
                ("NATS_URL", url.join(",")),
                ("DT_EDGE_ADDR", address.clone()),
                ("DT_CONSOLE_ADDR", address.clone()),
                ("DT_HEALTH_ADDR", health.clone()),
                ("DT_POD", name.to_owned()),
            ];
            let mut settings = settings.to_vec();
            settings.extend(own.map(|(name, value)| (name.to_owned(), value)));
            pods.push(Pod { name, address, health, settings, lines, program: None, starts: 0 });
        }
        let counters = Counters::new(pods.iter().map(|pod| pod.health.clone()).collect());
        let directory = TempDir::new().expect("create a directory for the pods");
        let http = reqwest::Client::builder().timeout(Duration::from_secs(2)).build();
        let http = http.expect("build a client");
        Self { pods, counters, directory, http, fell: 0 }
    }

    /// A command that must succeed, e.g. `migrate`.
    pub(crate) async fn command(&self, arguments: &[&str]) {
        let mut settings = self.pods[0].settings.clone();
        settings.retain(|(name, _)| name != "DT_HEALTH_ADDR");
        let name = arguments.join("-");
        let mut program = Program::start(self.directory.path(), &name, arguments, &settings);
        assert_eq!(program.ended().await.code(), Some(0), "{}", program.complained());
    }

    /// Indices of the pods of a role.
    pub(crate) fn of(&self, role: Role) -> Vec<usize> {
        let prefix = match role {
            Role::Edge => "edge",
            Role::Worker => "worker",
            Role::Console => "console",
        };
        (0..self.pods.len()).filter(|pod| self.pods[*pod].name.starts_with(prefix)).collect()
    }

    pub(crate) fn address(&self, role: Role) -> String {
        self.pods[self.of(role)[0]].address.clone()
    }

    /// Starts a pod that does not run; `more` are settings for this time alone.
    pub(crate) fn start(&mut self, pod: usize, more: &[(String, String)]) {
        let directory = self.directory.path();
        let pod_ = &mut self.pods[pod];
        pod_.starts += 1;
        let (role, _) = pod_.name.split_once('-').expect("a role and a number");
        let mut settings = pod_.settings.clone();
        settings.extend(more.iter().cloned());
        let name = format!("{}.{}", pod_.name, pod_.starts);
        pod_.program = Some(Program::start(directory, &name, &[role], &settings));
        self.counters.began(pod);
    }

    /// SIGKILL. What it had counted is read before.
    pub(crate) async fn kill(&mut self, pod: usize) {
        self.counters.read(pod).await;
        let mut program = self.pods[pod].program.take().expect("the pod runs");
        program.kill().await;
    }

    /// SIGTERM, and its end.
    pub(crate) async fn terminate(&mut self, pod: usize) {
        self.counters.read(pod).await;
        let mut program = self.pods[pod].program.take().expect("the pod runs");
        let status = program.terminate().await;
        assert_eq!(status.code(), Some(0), "SIGTERM: {}", program.complained());
    }

    pub(crate) fn program(&self, pod: usize) -> &Program {
        self.pods[pod].program.as_ref().expect("the pod runs")
    }

    pub(crate) fn set_line(&self, pod: usize, line: Line) {
        for proxy in &self.pods[pod].lines {
            proxy.set(line);
        }
    }

    /// Waits until the pod is ready, starting it again where it ended by itself.
    pub(crate) async fn ready(&mut self, pod: usize) {
        let url = format!("http://{}/readyz", self.pods[pod].health);
        let until = Instant::now() + READY;
        loop {
            let has_ended = self.pods[pod].program.as_mut().is_none_or(Program::has_ended);
            if has_ended {
                self.fell += 1;
                let complained = self.program(pod).complained();
                let last = complained.lines().last().unwrap_or_default();
                report(&format!("chaos: {} ended by itself: {last}", self.pods[pod].name));
                self.start(pod, &[]);
            }
            let answer = self.http.get(&url).send().await;
            if answer.as_ref().is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            if Instant::now() > until {
                let why = match answer {
                    Ok(answer) => answer.text().await.unwrap_or_default(),
                    Err(error) => error.to_string(),
                };
                let complained = self.program(pod).complained();
                panic!("{} is not ready: {why}\n{complained}", self.pods[pod].name);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn all_ready(&mut self) {
        for pod in 0..self.pods.len() {
            self.ready(pod).await;
        }
    }
}
