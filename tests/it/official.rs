//! The official SDK clients against the simulated cloud: the proof that what the other tests talk to
//! behaves like DingTalk, as far as DingTalk's own clients can tell.
//!
//! [`script`] is the course they run; our own Stream client runs the same one.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use dingtalk_trigger::context::{Clock, Context};
use dingtalk_trigger::sim::dingtalk::Sim;
use dingtalk_trigger::sim::dingtalk::app::App;
use dingtalk_trigger::sim::dingtalk::card::Click;
use dingtalk_trigger::sim::dingtalk::control::StreamFault;
use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::dingtalk::record::{Kind, Record};
use dingtalk_trigger::sim::dingtalk::settings::Config;
use serde_json::{Value, json};

use crate::support::outside::Outside;
use crate::support::service::{Service, echo};
use crate::support::wait::wait_until;

const ROBOT: &str = "ding-official";
/// That of every robot of [`Service`], our own client's among them.
const SECRET: &str = "app-secret";
/// The slowest official client waits 10 s before it connects again.
const LIMIT: Duration = Duration::from_secs(30);

/// What a client answers, as measured of it in the field.
pub(crate) struct Answers {
    /// The ack of a robot message: `message` and `data`.
    pub(crate) bot: (&'static str, Value),
    /// The ack of an organisation's event; `None` for a client that does not subscribe to them.
    pub(crate) event: Option<(&'static str, Value)>,
    /// What a pressed button `yes` is answered.
    pub(crate) card: Value,
}

/// A cloud with one robot, quick enough for a test.
pub(crate) async fn cloud() -> Sim {
    let config = Config {
        apps: vec![App::stream(ROBOT, SECRET)],
        ack_timeout: Duration::from_secs(3),
        disconnect_grace: Duration::from_millis(500),
        ping_every: Some(Duration::from_millis(300)),
        ..Config::default()
    };
    Sim::start(&Context::new(Clock::system()), config).await.expect("a free port")
}

/// Connect, ping, message, reply, group, event, card, lost ack, disconnect: what any client must live through.
pub(crate) async fn script(sim: &Sim, answers: &Answers) {
    wait_until("the client connects", LIMIT, async || sim.connections(ROBOT) > 0).await;
    let ping = seen(sim, "the answer to a ping", |r| {
        r.kind == Kind::SystemAcked && data(&r.body).get("opaque").is_some()
    });
    assert_eq!(ping.await.body["code"], 200);

    let said = sim.say(Say::direct(ROBOT, "alice", "good morning")).expect("the robot exists");
    answered(sim, &said.msg_id, "good morning").await;
    let ack = acked(sim, &said.msg_id).await;
    assert_eq!(ack.detail, "200");
    assert_eq!(
        (ack.body["message"].as_str(), data(&ack.body)),
        (Some(answers.bot.0), answers.bot.1.clone())
    );
    let pushed = seen(sim, "the push", |r| r.kind == Kind::Pushed && r.msg_id == said.msg_id).await;
    assert_eq!(ack.body["headers"]["messageId"], pushed.detail);
    assert_eq!(ack.body["headers"]["contentType"], "application/json");

    let said =
        sim.say(Say::group(ROBOT, "cidGroup+/==", "bob", "hello all")).expect("the robot exists");
    answered(sim, &said.msg_id, "hello all").await;

    if let Some((message, expected)) = &answers.event {
        let body = json!({ "unionId": "u", "operatTime": 1 });
        let id = sim.event(ROBOT, "robot_msg_recall", body).expect("the robot exists");
        let ack = acked(sim, &id).await;
        assert_eq!((ack.body["message"].as_str(), &data(&ack.body)), (Some(*message), expected));
    }
    press(sim, &answers.card).await;

    sim.stream_fault(ROBOT, &StreamFault::LoseAcks { count: 1 });
    let said = sim.say(Say::direct(ROBOT, "alice", "are you there")).expect("the robot exists");
    let again = seen(sim, "the redelivery", |r| {
        r.kind == Kind::Pushed && r.msg_id == said.msg_id && r.attempt == 2
    });
    let again = again.await;
    let ack = acked(sim, &said.msg_id).await;
    assert_eq!(ack.body["headers"]["messageId"], again.detail);

    let before = sim.book().last();
    sim.stream_fault(ROBOT, &StreamFault::Disconnect);
    let back = sim.book().wait_for(before, LIMIT, |r| r.kind == Kind::Connected).await;
    assert!(back.is_some(), "the client did not come back after `disconnect`");
    let said = sim.say(Say::direct(ROBOT, "alice", "welcome back")).expect("the robot exists");
    answered(sim, &said.msg_id, "welcome back").await;
}

async fn seen(sim: &Sim, what: &str, fits: impl Fn(&Record) -> bool) -> Arc<Record> {
    match sim.wait_for(LIMIT, fits).await {
        Some(record) => record,
        None => panic!("waited {LIMIT:?} in vain for {what}: {:#?}", sim.book().since(0, 100)),
    }
}

async fn acked(sim: &Sim, msg_id: &str) -> Arc<Record> {
    seen(sim, "an ack", |r| r.kind == Kind::Acked && r.msg_id == msg_id).await
}

/// A reply in the conversation of the message that ends with its text.
async fn answered(sim: &Sim, msg_id: &str, text: &str) {
    let said = seen(sim, "the message", |r| r.kind == Kind::Said && r.msg_id == msg_id).await;
    let reply = seen(sim, "a reply", |r| {
        r.kind == Kind::Reply && r.conversation == said.conversation && r.text.ends_with(text)
    });
    assert_eq!(reply.await.detail, "webhook");
}

/// Puts a card into alice's chat and presses its button.
async fn press(sim: &Sim, expected: &Value) {
    let http = reqwest::Client::new();
    let token = http.post(format!("{}/v1.0/oauth2/accessToken", sim.url()));
    let token = token.json(&json!({ "appKey": ROBOT, "appSecret": SECRET }));
    let granted = token.send().await.expect("an answer");
    let granted: Value = granted.json().await.expect("JSON");
    let token = granted["accessToken"].as_str().expect("a token");
    let card = json!({
        "cardTemplateId": "buttons.schema", "outTrackId": "card-1", "callbackType": "STREAM",
        "cardData": { "cardParamMap": { "content": "sure?" } },
        "openSpaceId": "dtv1.card//IM_ROBOT.alice",
        "imRobotOpenDeliverModel": { "spaceType": "IM_ROBOT" },
    });
    let made = http
        .post(format!("{}/v1.0/card/instances/createAndDeliver", sim.url()))
        .header("x-acs-dingtalk-access-token", token)
        .json(&card);
    assert!(made.send().await.expect("an answer").status().is_success());
    let click = Click {
        out_track_id: "card-1".to_owned(),
        user: "alice".to_owned(),
        action_ids: vec!["yes".to_owned()],
        params: json!({}),
    };
    let response = sim.click(click).await.expect("an answer within 2 s");
    assert_eq!(&response, expected);
    let card = sim.card("card-1").expect("the card that was created");
    let shown = expected["cardData"]["cardParamMap"]["pressed"].as_str();
    assert_eq!(card.params.get("pressed").and_then(Value::as_str), shown);
    assert_eq!(card.params["content"], "sure?");
}

/// The client makes a card of its own, changes it, and closes it when its button is pressed.
async fn own_card(sim: &Sim) {
    sim.say(Say::direct(ROBOT, "alice", "card please")).expect("the robot exists");
    let of = |what: &'static str| {
        move |r: &Record| r.kind == Kind::Card && r.detail == what && r.msg_id.len() == 64
    };
    let made = seen(sim, "a card", of("deliver")).await;
    seen(sim, "its change", of("update")).await;
    let card = || sim.card(&made.msg_id).expect("the card that was created");
    assert_eq!(card().params["content"], "really?");
    assert!(!card().params.contains_key("open"), "an update overwrites what it does not name");
    let click = Click {
        out_track_id: made.msg_id.clone(),
        user: "alice".to_owned(),
        action_ids: vec!["yes".to_owned()],
        params: json!({}),
    };
    assert_eq!(sim.click(click).await, Some(pressed()));
    assert_eq!(
        (&card().params["content"], &card().params["pressed"]),
        (&json!("really?"), &json!("yes"))
    );
}

fn data(ack: &Value) -> Value {
    ack["data"].as_str().and_then(|data| serde_json::from_str(data).ok()).unwrap_or_default()
}

/// A client process that ends with its test.
struct Client(Child);

impl Client {
    fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Self(child.unwrap_or_else(|error| panic!("could not start {command:?}: {error}")))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.0.kill().ok(); // it may have ended
        self.0.wait().ok();
    }
}

/// A tool that `ops/dev test` installs; without it the test fails and says so.
fn tool(path: &str) -> PathBuf {
    let path = root().join(".tools").join(path);
    assert!(path.exists(), "{} is missing: run the tests with `ops/dev test`", path.display());
    path
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pressed() -> Value {
    json!({
        "cardUpdateOptions": { "updateCardDataByKey": true },
        "cardData": { "cardParamMap": { "pressed": "yes" } },
    })
}

#[tokio::test]
async fn the_official_python_client_runs_the_script() {
    let python = tool("venv/bin/python");
    let sim = cloud().await;
    let mut command = Command::new(python);
    command.arg(root().join("tests/official/client.py")).args([ROBOT, SECRET]);
    let _client = Client::start(command.env("DINGTALK_OPENAPI_ENDPOINT", sim.url()));
    let answers = Answers {
        bot: ("", json!({ "response": "OK" })),
        event: Some(("OK", json!({ "unionId": "u", "operatTime": 1 }))),
        card: pressed(),
    };
    script(&sim, &answers).await;
    own_card(&sim).await;
}

#[tokio::test]
async fn the_official_node_client_runs_the_script() {
    tool("node/node_modules/dingtalk-stream/package.json");
    let sim = cloud().await;
    let mut command = Command::new("node");
    command.arg(root().join("tests/official/client.mjs")).args([sim.url(), ROBOT, SECRET]);
    let _client = Client::start(&mut command);
    let answers = Answers {
        bot: ("OK", json!({ "response": { "errcode": 0, "errmsg": "ok" } })),
        event: Some(("OK", json!({ "status": "SUCCESS", "message": "OK" }))),
        card: pressed(),
    };
    script(&sim, &answers).await;
}

#[tokio::test]
async fn our_own_client_runs_the_script() {
    let mut outside = Outside::start().await;
    outside.cloud = cloud().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, ROBOT).await;
    service.admin().publish("expert", ROBOT, &json!({ "runtime": echo() })).await;
    // Nothing is subscribed to but messages and cards; a press on a card that is not ours changes nothing.
    let answers =
        Answers { bot: ("OK", json!({ "response": null })), event: None, card: json!({}) };
    script(&outside.cloud, &answers).await;
    assert!(service.metric("dt_inbound_total", "ignored_foreign_card").await > 0.5);
    service.finish().await;
}
