//! A PostgreSQL server of this test alone, which it can kill, stop and start again on its files.
//!
//! Runs as the user postgres where the test is root, because the server refuses to be root.

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use crate::support::program::free_port;
use crate::support::wait::wait_until;

const START: Duration = Duration::from_secs(60);

pub(crate) struct Postgres {
    port: u16,
    user: Option<(u32, u32)>,
    process: Option<Child>,
    directory: TempDir,
}

impl Postgres {
    /// Answers when this returns.
    pub(crate) async fn start() -> Self {
        let directory = TempDir::new().expect("create a directory for PostgreSQL");
        let user = user();
        if let Some((user, group)) = user {
            chown(directory.path(), Some(user), Some(group)).expect("hand the directory over");
        }
        let mut server = Self { port: free_port(), user, process: None, directory };
        let data = server.data();
        let made = server
            .command("initdb")
            .arg("--pgdata")
            .arg(&data)
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"])
            .arg("--no-sync")
            .output()
            .expect("run initdb");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        server.restart().await;
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// SIGKILL to the server; its children notice and end.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("PostgreSQL runs");
        process.kill().expect("kill PostgreSQL");
        process.wait().expect("wait for PostgreSQL");
    }

    /// On the same files and port; answers when this returns.
    pub(crate) async fn restart(&mut self) {
        let url = self.url();
        wait_until("PostgreSQL answers", START, async || {
            // One that starts while the killed one's children live ends again.
            let is_running = self
                .process
                .as_mut()
                .is_some_and(|process| process.try_wait().expect("look at PostgreSQL").is_none());
            if !is_running {
                self.launch();
            }
            match PgConnection::connect(&url).await {
                Ok(connection) => connection.close().await.is_ok(),
                Err(_) => false,
            }
        })
        .await;
    }

    fn launch(&mut self) {
        let log = File::options().create(true).append(true).open(self.path("log"));
        let log = log.expect("open PostgreSQL's log");
        let sockets = format!("unix_socket_directories={}", self.directory.path().display());
        let port = self.port.to_string();
        let process = self
            .command("postgres")
            .arg("-D")
            .arg(self.data())
            .args(["-p", &port, "-c", "listen_addresses=127.0.0.1", "-c", &sockets])
            // A kill of the process loses nothing of what the system has.
            .args(["-c", "fsync=off", "-c", "max_connections=200"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("start PostgreSQL");
        self.process = Some(process);
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(installed().join(program));
        command.current_dir(self.directory.path());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
    }
}

/// The newest installation of Debian's.
fn installed() -> PathBuf {
    let found = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = found
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, path)| path.join("initdb").is_file())
        .max();
    newest.expect("PostgreSQL is installed: run this with `ops/dev chaos`").1
}

/// User and group of postgres, where this process may become anybody.
fn user() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| -> u32 {
        let said = Command::new("id").args(arguments).output().expect("run id");
        let text = String::from_utf8_lossy(&said.stdout);
        text.trim().parse().expect("id tells a number: run this with `ops/dev chaos`")
    };
    (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
}
