//! One nats-server process: started, waited for, killed, started again on the same store.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::jetstream;
use dingtalk_trigger::io::nats::login::addresses;
use serde_json::Value;

use crate::support::env;
use crate::support::wait::{wait_for, wait_until};

const START: Duration = Duration::from_mins(1);
/// What the streams reserve is granted on a small disk too.
const CONFIG: &str = "jetstream { max_file_store: 64GB }";

pub(crate) struct Server {
    directory: PathBuf,
    arguments: Vec<String>,
    config: String,
    process: Option<Child>,
}

impl Server {
    /// Starts nothing yet. `arguments` come after the store, and include the port.
    pub(crate) fn new(directory: &Path, arguments: &[String]) -> Self {
        let (directory, arguments) = (directory.to_owned(), arguments.to_vec());
        Self { directory, arguments, config: CONFIG.to_owned(), process: None }
    }

    /// With this line of configuration too.
    pub(crate) fn configured(mut self, line: &str) -> Self {
        self.config = format!("{}\n{line}\n", self.config);
        self
    }

    /// Starts the process; it may not serve yet.
    pub(crate) fn start(&mut self) {
        assert!(self.process.is_none(), "the server runs already");
        fs::remove_dir_all(self.ports()).ok();
        fs::create_dir_all(self.ports()).expect("create the directory of the ports file");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("open the server's log");
        let config = self.directory.join("server.conf");
        fs::write(&config, &self.config).expect("write the server's configuration");
        let child = Command::new(env::nats_server())
            .arg("-c")
            .arg(config)
            .args(["-a", "127.0.0.1", "-js", "-sd"])
            .arg(self.directory.join("store"))
            .arg("--ports_file_dir")
            .arg(self.ports())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("share the server's log"))
            .stderr(log)
            .spawn()
            .expect("start nats-server");
        self.process = Some(child);
    }

    /// The client URL, once the server listens.
    pub(crate) async fn url(&mut self) -> String {
        wait_for("a nats-server writes its ports file", START, async || {
            self.assert_alive();
            read_ports(&self.ports())
        })
        .await
    }

    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("the server runs");
        process.kill().expect("kill nats-server");
        process.wait().expect("wait for nats-server");
    }

    /// SIGTERM, and its end.
    pub(crate) async fn terminate(&mut self) {
        let mut process = self.process.take().expect("the server runs");
        let id = process.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().expect("run kill");
        wait_until("nats-server ends", START, async || {
            process.try_wait().expect("look at nats-server").is_some()
        })
        .await;
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    fn assert_alive(&mut self) {
        let process = self.process.as_mut().expect("the server runs");
        if let Some(status) = process.try_wait().expect("look at nats-server") {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            panic!("nats-server ended with {status}:\n{log}");
        }
    }

    fn ports(&self) -> PathBuf {
        self.directory.join("ports")
    }

    fn log(&self) -> PathBuf {
        self.directory.join("nats.log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.is_running() {
            self.kill();
        }
    }
}

/// A client whose requests fail soon, and which keeps reconnecting.
pub(crate) async fn connect(servers: &[String]) -> async_nats::Client {
    let (addresses, login) = addresses(&servers.join(",")).expect("addresses of brokers");
    let options = async_nats::ConnectOptions::new();
    login
        .apply(options)
        .request_timeout(Some(Duration::from_secs(5)))
        .retry_on_initial_connect()
        .reconnect_delay_callback(|_| Duration::from_millis(50))
        .connect(addresses)
        .await
        .expect("connect to nats-server")
}

pub(crate) async fn wait_for_jetstream(client: &async_nats::Client) {
    let context = jetstream::new(client.clone());
    wait_until("JetStream answers", START, async || context.query_account().await.is_ok()).await;
}

fn read_ports(directory: &Path) -> Option<String> {
    let entry = fs::read_dir(directory).ok()?.next()?.ok()?;
    let ports: Value = serde_json::from_slice(&fs::read(entry.path()).ok()?).ok()?;
    Some(ports.pointer("/nats/0")?.as_str()?.to_owned())
}
