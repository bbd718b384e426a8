//! `up --demo` as a person meets it first: the page, what they type, and what they change.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::program::{LIMIT, Program, anywhere};
use crate::support::service::Admin;
use crate::support::wait::{wait_for, wait_until};

/// What `up --demo` says once it is ready.
struct Demo {
    program: Program,
    page: Page,
    admin: Admin,
}

impl Demo {
    /// In a directory of the person's own, without a word about where its files go.
    fn up(directory: &TempDir) -> Program {
        let mut pairs = anywhere(directory.path());
        pairs.retain(|(name, _)| name != "DT_DATA_DIR");
        Program::start(directory.path(), "demo", &["up", "--demo"], &pairs)
    }

    async fn start(directory: &TempDir) -> Self {
        let mut program = Self::up(directory);
        let page = wait_for("it names its chat page", LIMIT, async || {
            program.assert_runs();
            line(&program.said(), "chat page:")
        })
        .await;
        let console = line(&program.said(), "admin API:").expect("the address of the console");
        // Apart from what a service with real robots has in `data`.
        let token = directory.path().join("data/demo/admin.token");
        let token = std::fs::read_to_string(token).expect("the token");
        let address = console.trim_start_matches("http://").to_owned();
        let page = Page(page);
        Self { program, page, admin: Admin { address, token: token.trim().to_owned() } }
    }

    async fn end(mut self) {
        let status = self.program.terminate().await;
        assert_eq!(status.code(), Some(0), "{}", self.program.complained());
    }
}

/// The simulated cloud, by the address of its chat page.
pub(super) struct Page(pub(super) String);

impl Page {
    /// What the page does when a person writes.
    pub(super) async fn say(&self, more: Value) -> Value {
        let mut say = json!({ "robot": "dingdemo", "sender": "alice", "nick": "Alice" });
        say.as_object_mut().expect("an object").extend(more.as_object().expect("fields").clone());
        let answer = self.call("say", &say).await;
        answer.json().await.expect("the message's id")
    }

    /// The records that the page shows of a conversation, once there is one of this kind.
    pub(super) async fn shown(
        &self,
        conversation: &Value,
        kind: &str,
        has: impl Fn(&Value) -> bool,
    ) -> Value {
        wait_for(kind, LIMIT, async || {
            let log = reqwest::get(format!("{}/sim/log?since=0", self.0)).await.ok()?;
            let log: Value = log.json().await.ok()?;
            let records = log["records"].as_array()?.clone();
            records.into_iter().find(|record| {
                record["kind"] == kind && record["conversation"] == *conversation && has(record)
            })
        })
        .await
    }

    /// Until then what people write waits for a minute.
    pub(super) async fn connected(&self, robot: &str) {
        wait_until("the robot is connected", LIMIT, async || {
            let state = reqwest::get(format!("{}/sim/state", self.0)).await.expect("the page");
            let state: Value = state.json().await.expect("the state");
            let apps = state["apps"].as_array().expect("a list");
            let is_open =
                |app: &Value| app["connections"].as_array().is_some_and(|it| !it.is_empty());
            apps.iter().any(|app| app["clientId"] == robot && is_open(app))
        })
        .await;
    }

    /// Any call of the simulated cloud's own.
    pub(super) async fn call(&self, name: &str, body: &Value) -> reqwest::Response {
        let call = reqwest::Client::new().post(format!("{}/sim/{name}", self.0)).json(body);
        let answer = call.send().await.expect("reach the simulated cloud");
        assert!(answer.status().is_success(), "{name} {body}: {}", answer.status());
        answer
    }
}

pub(super) fn line(said: &str, what: &str) -> Option<String> {
    let rest = said.lines().find_map(|line| line.strip_prefix(what))?;
    rest.split_whitespace().next().map(str::to_owned)
}

pub(super) fn text(record: &Value) -> &str {
    record["text"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_person_types_to_the_robot_and_what_they_changed_stays_over_a_restart() {
    let directory = TempDir::new().expect("create a directory");
    let demo = Demo::start(&directory).await;
    for path in ["/", "/sim/chat.js"] {
        let answer = reqwest::get(format!("{}{path}", demo.page.0)).await.expect("the page");
        assert_eq!(answer.status(), 200, "{path}");
    }
    demo.page.connected("dingdemo").await;
    let direct = demo.page.say(json!({ "text": "hello" })).await;
    let reply =
        demo.page.shown(&direct["conversationId"], "reply", |it| text(it).contains("hello"));
    reply.await;
    let group = json!({ "text": "good morning", "group": "cidProjectGroup+A/==", "title": "G" });
    let group = demo.page.say(group).await;
    let is_morning = |record: &Value| text(record).contains("good morning");
    demo.page.shown(&group["conversationId"], "reply", is_morning).await;
    demo.page.say(json!({ "text": "confirm" })).await;
    demo.page.shown(&direct["conversationId"], "card", |_| true).await;

    // The person binds the robot to an expert of their own.
    let admin = &demo.admin;
    admin.done("DELETE", "/api/triggers/demo-expert", &Value::Null).await;
    let own = json!({ "integrationId": "demo", "runtime": { "kind": "echo" } });
    admin.done("PUT", "/api/triggers/my-expert", &own).await;
    demo.end().await;
    let demo = Demo::start(&directory).await;
    let bound = demo.admin.done("GET", "/api/triggers", &Value::Null).await;
    let experts: Vec<_> =
        bound["items"].as_array().expect("a list").iter().map(|it| &it["xpertId"]).collect();
    assert_eq!(experts, ["my-expert"], "{bound}");
    // A command that is typed beside it finds its token.
    let console = ("DT_CONSOLE_ADDR".to_owned(), demo.admin.address.clone());
    let list = ["integration", "list"];
    let mut command = Program::start(directory.path(), "command", &list, &[console]);
    assert_eq!(command.ended().await.code(), Some(0), "{}", command.complained());
    assert!(command.said().contains("demo"), "{}", command.said());

    // Without the demo's own robot it looks like a service, whose robots a demo leaves alone.
    let own = json!({ "id": "own", "mode": "stream" });
    demo.admin.integrate(&own).await;
    demo.admin.done("DELETE", "/api/triggers/my-expert", &Value::Null).await;
    demo.admin.done("DELETE", "/api/integrations/demo", &Value::Null).await;
    demo.end().await;
    let mut refused = Demo::up(&directory);
    assert_eq!(refused.ended().await.code(), Some(2), "{}", refused.complained());
    assert!(refused.complained().contains("DT_DATA_DIR"), "{}", refused.complained());
}
