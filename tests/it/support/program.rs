//! One process of the service's own binary: started in a group of its own, killed, terminated, and
//! what it said.
//!
//! Dropping it kills what is left of the group and asserts that it logged no ERROR.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use dingtalk_trigger::io::egress::install_tls;

use crate::support::env;
use crate::support::wait::{wait_for, wait_until};

pub(crate) const LIMIT: Duration = Duration::from_secs(40);
/// A command may wait for a cluster that elects.
const ENDED: Duration = Duration::from_secs(90);

/// Below the range from which the system gives ports to clients, so that a port stays free over a restart.
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);
const PORTS_FIRST: u16 = 12_000;
const PORTS: u16 = 20_000;

/// A loopback port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let start = u16::try_from(std::process::id() % 1000).expect("a remainder fits") * 20;
    for _ in 0..PORTS {
        let offset = (start + NEXT_PORT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let port = PORTS_FIRST + offset;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

/// Settings of an `up` on `data` that listens where the system lets it.
pub(crate) fn anywhere(data: &Path) -> Vec<(String, String)> {
    let addresses = ["EDGE", "CONSOLE", "HEALTH", "SIM"];
    let mut settings =
        addresses.map(|name| (format!("DT_{name}_ADDR"), "127.0.0.1:0".to_owned())).to_vec();
    settings.push(("DT_DATA_DIR".to_owned(), data.display().to_string()));
    settings
}

pub(crate) struct Program {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    has_ended: bool,
}

impl Program {
    /// `name` tells its output files in `directory` apart. It sees these settings and no other.
    pub(crate) fn start(
        directory: &Path,
        name: &str,
        arguments: &[&str],
        settings: &[(String, String)],
    ) -> Self {
        let binary = Path::new(env!("CARGO_BIN_EXE_dingtalk-trigger"));
        Self::start_binary(binary, directory, name, arguments, settings)
    }

    /// Another release's binary.
    pub(crate) fn start_binary(
        binary: &Path,
        directory: &Path,
        name: &str,
        arguments: &[&str],
        settings: &[(String, String)],
    ) -> Self {
        // Whoever starts a program speaks to it by HTTP, perhaps first of all tests.
        install_tls();
        let [stdout, stderr] = ["out", "err"].map(|end| directory.join(format!("{name}.{end}")));
        let file = |path| File::create(path).expect("create an output file");
        let child = Command::new(binary)
            .args(arguments)
            .env_clear()
            .env("DT_NATS_SERVER", env::nats_server())
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(file(&stdout))
            .stderr(file(&stderr))
            .process_group(0)
            .spawn()
            .expect("start the program");
        Self { child, stdout, stderr, has_ended: false }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL to this process alone.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().expect("kill the program");
        self.ended().await;
    }

    /// SIGKILL to it and all that it started.
    pub(crate) async fn kill_group(&mut self) {
        signal(&format!("-KILL -{}", self.pid()));
        self.ended().await;
    }

    /// SIGTERM, and how it ended.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        signal(&format!("-TERM {}", self.pid()));
        self.ended().await
    }

    /// SIGTERM, without waiting for what it does.
    pub(crate) fn tell(&self) {
        signal(&format!("-TERM {}", self.pid()));
    }

    /// SIGSTOP: it keeps all it has and does nothing.
    pub(crate) fn freeze(&self) {
        signal(&format!("-STOP {}", self.pid()));
    }

    /// SIGCONT: it goes on as if no time had passed.
    pub(crate) fn thaw(&self) {
        signal(&format!("-CONT {}", self.pid()));
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let status = wait_for("the program ends", ENDED, async || {
            self.child.try_wait().expect("look at the program")
        })
        .await;
        self.has_ended = true;
        status
    }

    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    pub(crate) fn complained(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.has_ended |= self.child.try_wait().expect("look at the program").is_some();
        self.has_ended
    }

    /// Fails the test where it ended by itself.
    pub(crate) fn assert_runs(&mut self) {
        if let Some(status) = self.child.try_wait().expect("look at the program") {
            self.has_ended = true;
            panic!("the program ended with {status}:\n{}", self.complained());
        }
    }

    /// Waits for `/readyz`.
    pub(crate) async fn ready(&mut self, health: &str) {
        let url = format!("http://{health}/readyz");
        wait_until("the program is ready", LIMIT, async || {
            self.assert_runs();
            reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    /// A dependency's complaint about a server that a test killed is not an error of ours.
    pub(crate) fn assert_no_error(&self) {
        let complained = self.complained();
        let is_ours = |line: &&str| line.contains("\"target\":\"dingtalk_trigger");
        let errors = complained.lines().filter(|line| line.contains("\"level\":\"ERROR\""));
        let errors: Vec<_> = errors.filter(is_ours).collect();
        assert!(errors.is_empty(), "ERROR in the log:\n{}", errors.join("\n"));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Also where it has ended: what it started may live on in its group.
        signal(&format!("-KILL -{} 2>/dev/null", self.pid()));
        if !self.has_ended {
            self.child.wait().ok();
        }
        if std::thread::panicking() {
            let complained = self.complained();
            let tail: Vec<_> = complained.lines().rev().take(60).collect();
            let tail: Vec<_> = tail.into_iter().rev().collect();
            report(&format!("---- {}\n{}", self.stderr.display(), tail.join("\n")));
        } else {
            self.assert_no_error();
        }
    }
}

/// What a reader of the test's output wants to know.
#[expect(clippy::print_stdout, reason = "shown where a test fails, or with --nocapture")]
pub(crate) fn report(text: &str) {
    println!("{text}");
}

fn signal(arguments: &str) {
    let command = format!("kill {arguments}");
    Command::new("sh").args(["-c", &command]).status().expect("run a shell");
}

/// The value of all series of a metric together, or of those whose labels contain `part`.
pub(crate) async fn metric(health: &str, name: &str, part: &str) -> f64 {
    let url = format!("http://{health}/metrics");
    let text = reqwest::get(url).await.expect("read metrics").text().await.expect("read metrics");
    let series = text.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(part))
    });
    series
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .fold(0.0, |sum, value| sum + value)
}
