//! A headless Chromium and its protocol for developers' tools: commands over one WebSocket, and what a page complains
//! of meanwhile.
//!
//! Dropping it kills the whole browser.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::browser::LIMIT;
use crate::support::wait::{wait_for, wait_until};

const ARGUMENTS: [&str; 11] = [
    "--headless=new",
    // Tests may run as root, and in containers that forbid namespaces or have a small /dev/shm.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-crash-reporter",
    "--no-first-run",
    "--window-size=1280,900",
    // It chooses a free one and writes it down.
    "--remote-debugging-port=0",
    "about:blank",
];

pub(crate) struct Browser {
    child: Child,
    address: String,
}

impl Browser {
    /// `profile` is a directory of its own, which it makes.
    pub(crate) async fn start(chromium: &Path, profile: &Path) -> Self {
        std::fs::create_dir(profile).expect("make a profile");
        let said = profile.join("said");
        let child = Command::new(chromium)
            .arg(format!("--user-data-dir={}", profile.display()))
            .args(ARGUMENTS)
            .env("HOME", profile)
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&said).expect("create an output file"))
            .process_group(0)
            .spawn()
            .expect("start Chromium");
        let mut browser = Self { child, address: String::new() };
        browser.address = wait_for("Chromium names its port", LIMIT, async || {
            let ended = browser.child.try_wait().expect("look at Chromium");
            let read = || std::fs::read_to_string(&said).unwrap_or_default();
            assert!(ended.is_none(), "Chromium ended with {ended:?}: {}", read());
            let port = std::fs::read_to_string(profile.join("DevToolsActivePort")).ok()?;
            let (port, path) = port.split_once('\n')?;
            (!path.is_empty()).then(|| format!("ws://127.0.0.1:{port}{}", path.trim()))
        })
        .await;
        browser
    }

    /// A new tab.
    pub(crate) async fn open(&self, url: &str) -> Tab {
        let (socket, _) = timeout(LIMIT, connect_async(&self.address))
            .await
            .expect("Chromium answers in time")
            .expect("connect to Chromium");
        let mut tab = Tab { socket, session: None, count: 0, complaints: vec![] };
        let made = tab.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let target = json!({ "targetId": made["targetId"], "flatten": true });
        let attached = tab.call("Target.attachToTarget", target).await;
        tab.session = attached["sessionId"].as_str().map(str::to_owned);
        for part in ["Runtime.enable", "Log.enable", "Page.enable"] {
            tab.call(part, json!({})).await;
        }
        tab.call("Page.navigate", json!({ "url": url })).await;
        tab
    }

    /// Ends it as a person does.
    pub(crate) async fn close(mut self) {
        let (mut socket, _) = connect_async(&self.address).await.expect("connect to Chromium");
        let close = json!({ "id": 1, "method": "Browser.close" }).to_string();
        socket.send(Message::text(close)).await.expect("speak to Chromium");
        wait_until("Chromium ends", LIMIT, async || {
            self.child.try_wait().expect("look at Chromium").is_some()
        })
        .await;
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let kill = format!("kill -KILL -{} 2>/dev/null", self.child.id());
        Command::new("sh").args(["-c", &kill]).status().expect("run a shell");
        self.child.wait().expect("wait for Chromium");
    }
}

pub(crate) struct Tab {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Absent while it speaks to the browser itself.
    session: Option<String>,
    count: u64,
    /// Uncaught errors of the page, and what it was refused.
    pub(crate) complaints: Vec<String>,
}

impl Tab {
    /// Runs a command and gives its result; a refusal fails the test.
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Value {
        self.count += 1;
        let mut command = json!({ "id": self.count, "method": method, "params": params });
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        let sent = self.socket.send(Message::text(command.to_string())).await;
        sent.unwrap_or_else(|error| panic!("{method}: {error}"));
        loop {
            let heard = timeout(LIMIT, self.socket.next()).await;
            let heard = heard.unwrap_or_else(|_| panic!("{method}: Chromium does not answer"));
            let heard = heard.expect("Chromium is there").expect("a frame");
            let Message::Text(text) = heard else { continue };
            let mut heard: Value = serde_json::from_str(&text).expect("JSON");
            if heard["id"] == self.count {
                assert!(heard.get("error").is_none(), "{method}: {heard}");
                return heard["result"].take();
            }
            self.note(&heard);
        }
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        let complaint = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => &params["exceptionDetails"],
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => &params["entry"],
            _ => return,
        };
        self.complaints.push(complaint.to_string());
    }
}
