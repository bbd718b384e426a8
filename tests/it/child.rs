//! The broker that `up` runs for itself: found, started, started again, ended, and never twice on one store.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::stream::Config as Stream;
use dingtalk_trigger::context::{Clock, Context};
use dingtalk_trigger::ops::child::{Child, Config};
use dingtalk_trigger::ops::data::{Directory, InUse};
use tempfile::TempDir;

use crate::support::env;
use crate::support::logs::Logs;
use crate::support::server::connect;
use crate::support::wait::{wait_for, wait_until};

const LIMIT: Duration = Duration::from_secs(20);
const PARENT_DATA: &str = "DT_TEST_PARENT_DATA";

fn config() -> Config {
    Config { binary: Some(env::nats_server()), search: Vec::new() }
}

fn context() -> Context {
    Context::new(Clock::system())
}

/// The servers that work on the store in `data`, as the system's process table has them.
fn servers_on(data: &Path) -> Vec<u32> {
    let store = fs::canonicalize(data)
        .expect("the data directory is there")
        .join("nats/store")
        .display()
        .to_string();
    let pids = fs::read_dir("/proc").expect("read the process table").flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|argument| argument == store.as_bytes())
        })
        .collect()
}

fn kill(target: &str) {
    let command = format!("kill -KILL {target}");
    let killed = Command::new("sh").args(["-c", &command]).status().expect("run a shell");
    assert!(killed.success(), "{command}");
}

async fn stream_of(url: &str) -> jetstream::Context {
    let jetstream = jetstream::new(connect(&[url.to_owned()]).await);
    let stream =
        Stream { name: "KEPT".to_owned(), subjects: vec!["kept".to_owned()], ..Stream::default() };
    jetstream.get_or_create_stream(stream).await.expect("have a stream");
    jetstream
}

async fn stored(jetstream: &jetstream::Context) -> Option<u64> {
    Some(jetstream.get_stream("KEPT").await.ok()?.cached_info().state.messages)
}

#[tokio::test]
async fn the_broker_ends_with_its_context_and_keeps_what_it_confirmed() {
    let _logs = Logs::watch();
    let data = TempDir::new().unwrap();
    let directory = Directory::open(data.path()).unwrap();
    for round in 0..2 {
        let context = context();
        let child = Child::start(&context, &directory, &config()).await.unwrap();
        assert_eq!(servers_on(data.path()).len(), 1);
        let jetstream = stream_of(child.url()).await;
        assert_eq!(stored(&jetstream).await, Some(round));
        jetstream.publish("kept", "1".into()).await.unwrap().await.unwrap();
        assert!(context.finish(LIMIT).await, "the broker is waited for");
        assert!(servers_on(data.path()).is_empty());
    }
}

#[tokio::test]
async fn a_broker_that_dies_is_started_again_where_it_was() {
    let logs = Logs::watch();
    let data = TempDir::new().unwrap();
    let directory = Directory::open(data.path()).unwrap();
    let context = context();
    let child = Child::start(&context, &directory, &config()).await.unwrap();
    let jetstream = stream_of(child.url()).await;
    jetstream.publish("kept", "1".into()).await.unwrap().await.unwrap();
    for _ in 0..2 {
        let running = servers_on(data.path());
        kill(&running[0].to_string());
        wait_until("another server runs", LIMIT, async || {
            let now = servers_on(data.path());
            now.len() == 1 && now != running
        })
        .await;
        wait_until("the client finds it again", LIMIT, async || {
            stored(&jetstream).await == Some(1)
        })
        .await;
    }
    assert!(logs.lines().iter().any(|line| line.contains("nats-server ended")));
    context.finish(LIMIT).await;
}

#[tokio::test]
async fn what_a_killed_parent_leaves_behind_is_ended_by_the_next_start() {
    let _logs = Logs::watch();
    let data = TempDir::new().unwrap();
    let mut parent = Parent::start(data.path());
    let left = server_of(data.path()).await;
    let refused = Directory::open(data.path()).err().unwrap();
    let in_use = refused.downcast_ref::<InUse>().unwrap();
    assert_eq!(in_use.holder, parent.pid().to_string());
    kill(&parent.pid().to_string());
    parent.wait();
    assert_eq!(servers_on(data.path()), [left], "the kill did not reach the server");

    // Neither a lost pid file nor one that names a stranger misleads the next start.
    fs::write(data.path().join("nats/server.pid"), std::process::id().to_string()).unwrap();
    let directory = Directory::open(data.path()).unwrap();
    let context = context();
    let child = Child::start(&context, &directory, &config()).await.unwrap();
    let running = servers_on(data.path());
    assert_eq!(running.len(), 1);
    assert_ne!(running, [left]);
    let jetstream = stream_of(child.url()).await;
    assert_eq!(stored(&jetstream).await, Some(0));
    context.finish(LIMIT).await;
}

#[tokio::test]
async fn a_kill_of_the_whole_group_leaves_nothing_behind() {
    let data = TempDir::new().unwrap();
    let mut parent = Parent::start(data.path());
    server_of(data.path()).await;
    kill(&format!("-{}", parent.pid()));
    parent.wait();
    wait_until("no server runs", LIMIT, async || servers_on(data.path()).is_empty()).await;
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let data = TempDir::new().unwrap();
    let directory = Directory::open(data.path()).unwrap();
    let config = Config { binary: Some(PathBuf::from("/bin/false")), search: Vec::new() };
    let error = Child::start(&context(), &directory, &config).await.unwrap_err();
    assert!(error.to_string().contains("nats-server ended with exit status: 1"), "{error:#}");
}

/// A process of its own that runs a broker: this binary, with one test picked.
struct Parent(std::process::Child);

impl Parent {
    fn start(data: &Path) -> Self {
        let own = std::env::current_exe().expect("this binary has a path");
        let process = Command::new(own)
            .args(["child::a_parent_holds_its_broker_until_it_is_killed", "--exact"])
            .env(PARENT_DATA, data)
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("start a parent");
        Self(process)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn wait(&mut self) {
        self.0.wait().expect("wait for the parent");
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        // The group, so that a test that failed midway leaves no server; by now it is mostly gone.
        let command = format!("kill -KILL -{} 2>/dev/null", self.pid());
        Command::new("sh").args(["-c", &command]).status().ok();
        self.wait();
    }
}

async fn server_of(data: &Path) -> u32 {
    wait_for("the parent's server listens", LIMIT, async || {
        let ports = fs::read_dir(data.join("nats/ports")).ok()?;
        let is_listening = ports.flatten().any(|file| file.metadata().is_ok_and(|m| m.len() > 0));
        servers_on(data).first().copied().filter(|_| is_listening)
    })
    .await
}

/// Passes at once on its own; the tests above run it as another process, which they kill.
#[tokio::test]
async fn a_parent_holds_its_broker_until_it_is_killed() {
    let Some(data) = env::setting(PARENT_DATA) else { return };
    let directory = Directory::open(Path::new(&data)).unwrap();
    let context = context();
    Child::start(&context, &directory, &config()).await.unwrap();
    context.stop().cancelled().await;
}
