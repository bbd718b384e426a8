//! `up` as a user starts it: the real binary on a data directory of its own, with its own broker, and
//! its admin API.
//!
//! End a test with [`Service::finish`], which asserts that nothing is left to do and that SIGTERM ends it.

use std::time::Duration;

use dingtalk_trigger::sim::dingtalk::app::App;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::nats::left_over;
use crate::support::outside::{EXPERT_SECRET, Outside, XPERT_KEY};
use crate::support::program::{LIMIT, Program, free_port, metric};
use crate::support::server::connect;
use crate::support::wait::{wait_for, wait_until};

pub(crate) const TOKEN: &str = "callback-token";
pub(crate) const AES_KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";

pub(crate) struct Service {
    pub(crate) edge: String,
    pub(crate) console: String,
    pub(crate) health: String,
    settings: Vec<(String, String)>,
    program: Option<Program>,
    starts: u32,
    /// Dropped last: the program works in it.
    pub(crate) data: TempDir,
}

impl Service {
    /// Ready when this returns.
    pub(crate) async fn start(outside: &Outside) -> Self {
        Self::start_with(outside, &[]).await
    }

    pub(crate) async fn start_with(outside: &Outside, more: &[(&str, &str)]) -> Self {
        let [edge, console, health] = [(); 3].map(|()| format!("127.0.0.1:{}", free_port()));
        let data = TempDir::new().expect("create a data directory");
        let path = data.path().join("data").display().to_string();
        let mut settings = vec![("DT_DATA_DIR".to_owned(), path)];
        settings.extend(addresses(outside));
        let own = [("EDGE_ADDR", &edge), ("CONSOLE_ADDR", &console), ("HEALTH_ADDR", &health)];
        settings.extend(own.map(|(name, value)| (format!("DT_{name}"), value.clone())));
        settings.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let mut service = Self { edge, console, health, settings, program: None, starts: 0, data };
        service.restart().await;
        service
    }

    /// Starts `up` again on the same data; how long it took to be ready.
    pub(crate) async fn restart(&mut self) -> Duration {
        let started = Instant::now();
        if let Some(before) = &self.program {
            before.assert_no_error();
        }
        self.starts += 1;
        let name = format!("up-{}", self.starts);
        // The one before is dropped, and with it what is left of its group, only when the new one runs:
        // that one has to cope with what a killed one left.
        let program = Program::start(self.data.path(), &name, &["up"], &self.settings);
        let before = self.program.replace(program);
        let health = self.health.clone();
        self.program().ready(&health).await;
        drop(before);
        started.elapsed()
    }

    /// Another `up` with the same settings, which must not start.
    pub(crate) fn second(&self) -> Program {
        Program::start(self.data.path(), "second", &["up"], &self.settings)
    }

    pub(crate) fn program(&mut self) -> &mut Program {
        self.program.as_mut().expect("the service was started")
    }

    pub(crate) async fn kill(&mut self) {
        self.program().kill().await;
    }

    pub(crate) async fn kill_group(&mut self) {
        self.program().kill_group().await;
    }

    /// Waits until nothing is left to do, then ends it by SIGTERM.
    pub(crate) async fn finish(mut self) {
        self.settled().await;
        let status = self.program().terminate().await;
        assert_eq!(status.code(), Some(0), "SIGTERM: {}", self.program().complained());
    }

    pub(crate) async fn settled(&self) {
        self.left_only(|_| false).await;
    }

    /// Like [`Service::settled`], but timers may wait for their time.
    pub(crate) async fn idle(&self) {
        self.left_only(|left| left.ends_with("messages in DT_TIMER")).await;
    }

    /// Like [`Service::settled`], but so many timers are far from their time.
    pub(crate) async fn settled_but_for(&self, timers: usize) {
        let timers = format!("{timers} messages in DT_TIMER");
        self.left_only(|left| left == timers).await;
    }

    async fn left_only(&self, may_stay: impl Fn(&str) -> bool) {
        let jetstream = async_nats::jetstream::new(connect(&[self.nats_url()]).await);
        let started = Instant::now();
        loop {
            let mut left = left_over(&jetstream).await;
            left.retain(|left| !may_stay(left));
            if left.is_empty() {
                return;
            }
            assert!(started.elapsed() < LIMIT, "left over: {}", left.join(", "));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn nats_url(&self) -> String {
        let ports = self.data.path().join("data/nats/ports");
        let entry = std::fs::read_dir(ports).expect("the broker runs").next();
        let path = entry.expect("the broker wrote its ports").expect("read it").path();
        let ports: Value =
            serde_json::from_slice(&std::fs::read(path).expect("read ports")).expect("ports");
        let address = ports["nats"][0].as_str().expect("a client address");
        let settings = std::fs::read(self.data.path().join("data/nats/server.conf"));
        let settings: Value =
            serde_json::from_slice(&settings.expect("its settings")).expect("settings");
        let part =
            |name: &str| settings["authorization"][name].as_str().expect("a login").to_owned();
        address.replace("://", &format!("://{}:{}@", part("user"), part("password")))
    }

    pub(crate) async fn forget_sessions(&self) {
        let database = self.data.path().join("data/dingtalk-trigger.db");
        let database = SqliteConnectOptions::new().filename(database);
        let mut database = database.connect().await.expect("the database is there");
        let forget = sqlx::query("DELETE FROM conversations");
        forget.execute(&mut database).await.expect("forget the sessions");
        database.close().await.expect("close the database");
    }

    pub(crate) async fn metric(&self, name: &str, part: &str) -> f64 {
        metric(&self.health, name, part).await
    }

    pub(crate) fn admin(&self) -> Admin {
        let path = self.data.path().join("data/admin.token");
        let token = std::fs::read_to_string(path).expect("`up` made an admin token");
        Admin { address: self.console.clone(), token: token.trim().to_owned() }
    }

    pub(crate) fn webhook(&self, robot: &str) -> String {
        format!("http://{}/api/dingtalk/webhook/{robot}", self.edge)
    }

    /// A Stream robot in the cloud and an integration of the same name; connected when this returns.
    pub(crate) async fn stream_robot(&self, outside: &Outside, robot: &str) {
        outside.cloud.put_app(App::stream(robot, "app-secret"));
        self.admin().integrate(&json!({ "id": robot, "mode": "stream" })).await;
        wait_until("the robot is connected", LIMIT, async || outside.cloud.connections(robot) == 1)
            .await;
    }

    /// An HTTP robot in the cloud and an integration of the same name.
    pub(crate) async fn http_robot(&self, outside: &Outside, robot: &str) {
        outside.cloud.put_app(App::http(robot, "app-secret", &self.webhook(robot)));
        let keys = json!({ "id": robot, "mode": "http", "callbackToken": TOKEN, "callbackAesKey": AES_KEY });
        self.admin().integrate(&keys).await;
    }
}

/// Where the simulated DingTalk is, for any role.
pub(crate) fn addresses(outside: &Outside) -> Vec<(String, String)> {
    let url = outside.cloud.url();
    [
        ("DT_DINGTALK_API_URL", url),
        ("DT_DINGTALK_OAPI_URL", url),
        ("DT_LANGUAGE", "en"),
        ("DT_LOG", "info,dingtalk_trigger=debug"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// The admin API with its token.
pub(crate) struct Admin {
    pub(crate) address: String,
    pub(crate) token: String,
}

impl Admin {
    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let method = method.parse().expect("a method");
        let request = reqwest::Client::new()
            .request(method, format!("http://{}{path}", self.address))
            .bearer_auth(&self.token);
        let request = if body.is_null() { request } else { request.json(body) };
        let answer = request.send().await.expect("call the admin API");
        let status = answer.status().as_u16();
        let body = answer.text().await.expect("read the answer");
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// The call must succeed.
    pub(crate) async fn done(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// Creates an integration whose app has the same name.
    pub(crate) async fn integrate(&self, fields: &Value) {
        let mut body =
            json!({ "name": fields["id"], "clientId": fields["id"], "clientSecret": "app-secret" });
        let given = fields.as_object().expect("fields").clone();
        body.as_object_mut().expect("an object").extend(given);
        self.done("POST", "/api/integrations", &body).await;
    }

    /// Publishes the expert's trigger; `more` are further fields.
    pub(crate) async fn publish(&self, expert: &str, robot: &str, more: &Value) {
        let mut body = json!({ "integrationId": robot });
        let given = more.as_object().cloned().unwrap_or_default();
        body.as_object_mut().expect("an object").extend(given);
        self.done("PUT", &format!("/api/triggers/{expert}"), &body).await;
    }

    pub(crate) async fn register(&self, expert: &str, runtime: &Value) {
        self.done("PUT", &format!("/api/runtimes/{expert}"), runtime).await;
    }

    /// The dead letters, or what else a list has, once `fits`.
    pub(crate) async fn list_until(
        &self,
        path: &str,
        fits: impl Fn(&[Value]) -> bool,
    ) -> Vec<Value> {
        wait_for(path, LIMIT, async || {
            let items = self.done("GET", path, &Value::Null).await;
            let items = items["items"].as_array().expect("a list").clone();
            fits(&items).then_some(items)
        })
        .await
    }
}

pub(crate) fn echo() -> Value {
    json!({ "kind": "echo" })
}

pub(crate) fn callback(outside: &Outside) -> Value {
    json!({ "kind": "callback", "url": outside.expert.url(), "secret": EXPERT_SECRET })
}

pub(crate) fn xpert(outside: &Outside) -> Value {
    json!({ "kind": "xpert", "baseUrl": outside.xpert.url(), "apiKey": XPERT_KEY })
}
