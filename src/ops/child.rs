//! The nats-server that `up` runs for itself, in its data directory and its own process group.
//!
//! Guarantees that one server at a time works on the store: one that a killed `up` left behind is ended
//! first, one that dies is started again on the same port. Each start makes a password, which only the owner of
//! the data directory can read: another user of the machine reaches the port and no more. It lives until the context it was started
//! with stops; that is to be a context of its own, finished after everyone who needs the broker.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use tokio::process::{Child as Process, Command};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::domain::secret::Secret;
use crate::ops::data::{self, Directory};

/// A store of many gigabytes is read before the server listens.
const START_LIMIT: Duration = Duration::from_secs(120);
/// What a server gets to close its store before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
const RESTART_FIRST: Duration = Duration::from_millis(200);
const RESTART_LAST: Duration = Duration::from_secs(5);
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;
const LOG_FILES_MAX: u64 = 3;
const PORT_RANDOM: i32 = -1;
/// More than the streams reserve. Left to itself the server takes three quarters of the free disk for its
/// limit, and on a small disk refuses the streams before anything was stored.
const STORE_BYTES_MAX: u64 = 64 << 30;

#[derive(Debug, Clone)]
pub struct Config {
    /// `DT_NATS_SERVER`.
    pub binary: Option<PathBuf>,
    /// Where `nats-server` is looked for otherwise, in this order.
    pub search: Vec<PathBuf>,
}

/// The user that everything in `up` is at its own broker.
const USER: &str = "up";
const PASSWORD_BYTES: usize = 24;

/// A server that can be connected to.
#[derive(Debug)]
pub struct Child {
    /// With the password.
    url: Secret,
    context_file: PathBuf,
}

impl Child {
    /// Returns when the server listens and its store is read.
    pub async fn start(
        context: &Context,
        directory: &Directory,
        config: &Config,
    ) -> anyhow::Result<Self> {
        let binary = find(config)?;
        // It is started from its own directory.
        let binary =
            fs::canonicalize(&binary).with_context(|| format!("resolve {}", binary.display()))?;
        let files = Files::under(directory.path());
        end_left_behind(&binary, &files).await?;
        data::make_private(&files.root)?;
        let context_file = files.context.clone();
        let password = Secret::new(HEXLOWER.encode(&rand::random::<[u8; PASSWORD_BYTES]>()));
        let mut server = Server { binary, files, port: PORT_RANDOM, password };
        let (process, url) = server.start().await?;
        tracing::info!(url, "nats-server started; it syncs to disk once a second");
        let stop = context.stop().clone();
        let (_, host) = url.split_once("://").context("read the address of nats-server")?;
        let url = Secret::new(format!("nats://{USER}:{}@{host}", server.password.expose()));
        context.spawn(server.supervise(process, stop));
        Ok(Self { url, context_file })
    }

    /// The address with its login.
    pub fn url(&self) -> &str {
        self.url.expose()
    }

    /// A context for the `nats` command.
    pub fn context_file(&self) -> &Path {
        &self.context_file
    }
}

/// The binary that would be started.
pub fn find(config: &Config) -> anyhow::Result<PathBuf> {
    if let Some(binary) = &config.binary {
        if !binary.is_file() {
            bail!("DT_NATS_SERVER names {}, which is no file", binary.display());
        }
        return Ok(binary.clone());
    }
    let candidates = config.search.iter().map(|directory| directory.join("nats-server"));
    candidates.into_iter().find(|candidate| candidate.is_file()).context(
        "no nats-server found: set DT_NATS_SERVER to the path of one (2.15.1 or newer), or NATS_URL \
         to a broker that runs already",
    )
}

/// All that the server owns in the data directory.
struct Files {
    root: PathBuf,
    config: PathBuf,
    store: PathBuf,
    ports: PathBuf,
    log: PathBuf,
    /// What it says before it has its log.
    errors: PathBuf,
    pid: PathBuf,
    /// How the `nats` command connects.
    context: PathBuf,
}

impl Files {
    fn under(data: &Path) -> Self {
        let root = data.join("nats");
        let names = ["server.conf", "store", "ports", "server.log", "server.err", "server.pid"];
        let [config, store, ports, log, errors, pid] = names.map(|name| root.join(name));
        let context = root.join("context.json");
        Self { root, config, store, ports, log, errors, pid, context }
    }
}

struct Server {
    binary: PathBuf,
    files: Files,
    /// Random the first time, and kept from then on: clients find it where it was.
    port: i32,
    password: Secret,
}

impl Server {
    async fn start(&mut self) -> anyhow::Result<(Process, String)> {
        let mut process = self.spawn()?;
        let started = Instant::now();
        loop {
            if let Some(status) = process.try_wait().context("look at nats-server")? {
                let said = fs::read_to_string(&self.files.errors).unwrap_or_default();
                let (log, said) = (self.files.log.display(), said.trim());
                bail!("nats-server ended with {status}, see {log}: {said}");
            }
            if let Some((url, port)) = read_ports(&self.files.ports) {
                self.port = port;
                let files = &self.files;
                data::write_private(&files.context, &self.client_settings(&url).to_string())?;
                return Ok((process, url));
            }
            if started.elapsed() > START_LIMIT {
                let log = self.files.log.display();
                bail!("nats-server does not listen after {START_LIMIT:?}, see {log}");
            }
            sleep(POLL).await;
        }
    }

    fn spawn(&self) -> anyhow::Result<Process> {
        let files = &self.files;
        // An address that an earlier server wrote must not be taken for this one's.
        fs::remove_dir_all(&files.ports).ok();
        fs::create_dir_all(&files.ports)
            .with_context(|| format!("create {}", files.ports.display()))?;
        data::write_private(&files.config, &self.settings().to_string())?;
        let errors = File::create(&files.errors)
            .with_context(|| format!("create {}", files.errors.display()))?;
        Command::new(&self.binary)
            .arg("-c")
            .arg(&files.config)
            .arg("-sd")
            .arg(&files.store)
            // The broker has no business with the secrets in our environment.
            .env_clear()
            .current_dir(&files.root)
            .stdin(Stdio::null())
            .stdout(errors.try_clone().context("share the broker's error file")?)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", self.binary.display()))
    }

    /// The server's configuration format takes JSON as it is. The store is named on the command line,
    /// where a later start finds it.
    fn settings(&self) -> Value {
        let files = &self.files;
        json!({
            "server_name": "dingtalk-trigger-up",
            "host": "127.0.0.1",
            "port": self.port,
            "authorization": { "user": USER, "password": self.password.expose() },
            "max_payload": 1024 * 1024,
            "ports_file_dir": files.ports,
            "pid_file": files.pid,
            "log_file": files.log,
            "logfile_size_limit": LOG_BYTES_MAX,
            "logfile_max_num": LOG_FILES_MAX,
            "jetstream": { "sync_interval": "1s", "max_file_store": STORE_BYTES_MAX },
        })
    }

    /// What the `nats` command calls a context.
    fn client_settings(&self, url: &str) -> Value {
        json!({
            "description": "the broker that dingtalk-trigger up runs",
            "url": url,
            "user": USER,
            "password": self.password.expose(),
        })
    }

    async fn supervise(mut self, mut process: Process, stop: CancellationToken) {
        loop {
            // Both arms only wait: a lost race loses nothing.
            let outcome = tokio::select! {
                outcome = process.wait() => outcome,
                () = stop.cancelled() => break,
            };
            let status = outcome.map_or_else(|e| e.to_string(), |status| status.to_string());
            tracing::warn!(status, "nats-server ended, starting it again");
            match stop.run_until_cancelled(self.start_again()).await {
                Some(again) => process = again,
                None => return,
            }
        }
        if let Err(error) = self.end(process).await {
            tracing::error!(error = format!("{error:#}"), "nats-server could not be ended");
        }
    }

    async fn start_again(&mut self) -> Process {
        let mut delay = RESTART_FIRST;
        loop {
            sleep(delay).await;
            match self.start().await {
                Ok((process, url)) => {
                    tracing::info!(url, "nats-server started again");
                    return process;
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(error, "nats-server does not start, trying again");
                }
            }
            delay = (delay * 2).min(RESTART_LAST);
        }
    }

    async fn end(&self, mut process: Process) -> anyhow::Result<()> {
        if let Some(pid) = process.id() {
            signal(&self.binary, "term", pid).await?;
        }
        if timeout(STOP_LIMIT, process.wait()).await.is_err() {
            tracing::warn!("nats-server does not end when told to, killing it");
            process.kill().await.context("kill nats-server")?;
        }
        Ok(())
    }
}

/// Ends what works on our store, because two servers start on one store without complaint.
async fn end_left_behind(binary: &Path, files: &Files) -> anyhow::Result<()> {
    for how in ["term", "stop"] {
        for pid in running(files) {
            tracing::warn!(pid, how, "ending the nats-server that an earlier process left behind");
            signal(binary, how, pid).await?;
        }
        let told = Instant::now();
        while !running(files).is_empty() && told.elapsed() < STOP_LIMIT {
            sleep(POLL).await;
        }
    }
    let left = running(files);
    if !left.is_empty() {
        bail!("a nats-server still runs on {}: end process {left:?}", files.store.display());
    }
    Ok(())
}

/// The processes whose command line names our configuration and our store.
///
/// The process table is asked, and not the pid file: that one is missing when we were killed right after
/// the start, and names a stranger when its number was given away again.
fn running(files: &Files) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| is_ours(*pid, files)).collect()
}

fn is_ours(pid: u32, files: &Files) -> bool {
    // Empty once the process has ended, also while nobody has asked for its status.
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let arguments: Vec<_> = line.split(|byte| *byte == 0).collect();
    let names = |flag: &str, path: &Path| {
        let pair = [flag.as_bytes(), path.as_os_str().as_encoded_bytes()];
        arguments.windows(pair.len()).any(|window| window == pair)
    };
    names("-c", &files.config) && names("-sd", &files.store)
}

/// The server's own binary delivers the signal: `term` asks, `stop` kills.
async fn signal(binary: &Path, how: &str, pid: u32) -> anyhow::Result<()> {
    let command = Command::new(binary)
        .arg("--signal")
        .arg(format!("{how}={pid}"))
        .env_clear()
        .stdin(Stdio::null())
        .output();
    let output = command.await.with_context(|| format!("run {}", binary.display()))?;
    if !output.status.success() {
        // It may have ended by itself; who asked looks again.
        tracing::debug!(pid, how, status = %output.status, "nats-server took no signal");
    }
    Ok(())
}

fn read_ports(directory: &Path) -> Option<(String, i32)> {
    let entry = fs::read_dir(directory).ok()?.next()?.ok()?;
    let ports: Value = serde_json::from_slice(&fs::read(entry.path()).ok()?).ok()?;
    let url = ports.pointer("/nats/0")?.as_str()?;
    let (_, port) = url.rsplit_once(':')?;
    Some((url.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Config, STORE_BYTES_MAX, find};

    #[test]
    fn the_server_grants_what_the_streams_reserve() {
        let streams = concat!(env!("CARGO_MANIFEST_DIR"), "/streams");
        let reserved = fs::read_dir(streams).unwrap().map(|file| {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            let config: serde_json::Value = serde_json::from_str(&text).unwrap();
            config["max_bytes"].as_u64().unwrap_or(0)
        });
        let reserved: u64 = reserved.sum();
        assert!((1..=STORE_BYTES_MAX).contains(&reserved), "{reserved}");
    }

    #[test]
    fn the_binary_is_the_setting_or_the_first_found() {
        let root = tempfile::tempdir().unwrap();
        let directories = ["a", "b", "c"].map(|name| root.path().join(name));
        for (index, directory) in directories.iter().enumerate() {
            fs::create_dir(directory).unwrap();
            if index > 0 {
                fs::write(directory.join("nats-server"), "").unwrap();
            }
        }
        let search = directories.to_vec();
        let found = |binary: Option<&str>, search: &[_]| {
            let binary = binary.map(|path| root.path().join(path));
            find(&Config { binary, search: search.to_vec() })
                .map(|path| path.strip_prefix(root.path()).unwrap().display().to_string())
                .map_err(|error| error.to_string())
        };
        assert_eq!(found(None, &search).unwrap(), "b/nats-server");
        assert_eq!(found(Some("c/nats-server"), &search).unwrap(), "c/nats-server");
        assert!(found(None, &search[..1]).unwrap_err().contains("DT_NATS_SERVER"));
        // A setting that is wrong is not helped out of: the operator meant it.
        assert!(found(Some("nowhere"), &search).unwrap_err().contains("nowhere"));
    }
}
