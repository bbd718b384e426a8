//! A simulated DingTalk cloud over real sockets: gateway and Stream frames, HTTP callbacks, robot sends,
//! cards, files, tokens, and scripted faults in all of them.
//!
//! Guarantees that what it received is recorded in order with time, and that it answers as DingTalk is known to.
//! [`Sim`] is its handle for tests; the same is there as JSON under `/sim/`, and a chat page at `/`.

pub mod settings;
pub mod app;
pub mod cloud;
pub mod record;
pub mod message;
pub mod delivery;
pub mod gateway;
pub mod callback;
pub mod answer;
pub mod robot;
pub mod card;
pub mod media;
pub mod fault;
pub mod control;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post, put};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use self::app::App;
use self::card::Click;
use self::cloud::Cloud;
use self::control::StreamFault;
use self::fault::Fault;
use self::message::{Said, Say};
use self::record::{Book, Kind, Record};
use self::settings::Config;
use super::server;
use crate::context::Context;

/// The largest body that any simulated API reads.
const BODY_MAX_BYTES: usize = 32 * 1024 * 1024;

/// A running simulated cloud. Cheap to clone; all clones speak of the same one.
#[derive(Clone)]
pub struct Sim {
    cloud: Arc<Cloud>,
}

impl Sim {
    /// Listens before it returns; ends with the process, or by [`Sim::stop`].
    pub async fn start(context: &Context, config: Config) -> std::io::Result<Self> {
        let bound = server::bind(&config.address).await?;
        let (delivery, queues) = delivery::new();
        let apps = config.apps.clone();
        let url = config.public_url.clone().unwrap_or_else(|| bound.url());
        let cloud = Arc::new(Cloud::new(context, config, url, delivery));
        for app in apps {
            cloud.put_app(app);
        }
        delivery::start(&cloud, queues);
        server::serve(context, bound, router(&cloud), cloud.stop.clone());
        Ok(Self { cloud })
    }

    /// `http://host:port` of both the API and the old API, the files and the chat page.
    pub fn url(&self) -> &str {
        &self.cloud.url
    }

    pub fn book(&self) -> &Book {
        &self.cloud.book
    }

    /// Adds an app, or changes how a known one is reached.
    pub fn put_app(&self, app: App) {
        self.cloud.put_app(app);
    }

    /// A person writes. The robot must exist.
    pub fn say(&self, say: Say) -> Option<Said> {
        self.cloud.say(say)
    }

    /// Pushes any JSON as a robot message; false where there is no such robot.
    pub fn say_raw(&self, robot: &str, body: Value) -> bool {
        self.cloud.say_raw(robot, body)
    }

    /// An organisation event; its id.
    pub fn event(&self, robot: &str, event_type: &str, data: Value) -> Option<String> {
        self.cloud.event(robot, event_type, data)
    }

    /// Presses a card's button and waits, as DingTalk does, 2 s for the service's response.
    pub async fn click(&self, click: Click) -> Option<Value> {
        let answered = self.cloud.click(&click)?;
        tokio::time::timeout(callback::CARD_DEADLINE, answered).await.ok()?.ok()
    }

    /// The card as people see it now.
    pub fn card(&self, out_track_id: &str) -> Option<card::Card> {
        super::locked(&self.cloud.cards).get(out_track_id).cloned()
    }

    /// Keeps a file and gives the download code to say it with.
    pub fn put_file(&self, name: &str, bytes: impl Into<axum::body::Bytes>) -> String {
        self.cloud.put_file(name, bytes.into())
    }

    pub fn fault(&self, fault: Fault) {
        self.cloud.faults.push(fault);
    }

    pub fn clear_faults(&self) {
        self.cloud.faults.clear();
    }

    /// Does something to every connection of the robot; their number.
    pub fn stream_fault(&self, robot: &str, fault: &StreamFault) -> usize {
        self.cloud.stream_fault(robot, fault)
    }

    /// Live connections of the robot.
    pub fn connections(&self, robot: &str) -> usize {
        self.cloud.app(robot).map_or(0, |app| app.connections().len())
    }

    pub fn revoke_tokens(&self) {
        self.cloud.revoke_tokens();
    }

    /// Every reply of the robot that people saw, in order.
    pub fn replies(&self) -> Vec<Arc<Record>> {
        let all = self.cloud.book.since(0, usize::MAX);
        all.into_iter().filter(|record| record.kind == Kind::Reply).collect()
    }

    /// The first record that fits, from the beginning on, waiting for it at most `limit`.
    pub async fn wait_for(
        &self,
        limit: Duration,
        fits: impl Fn(&Record) -> bool,
    ) -> Option<Arc<Record>> {
        self.cloud.book.wait_for(0, limit, fits).await
    }

    /// Ends this cloud alone: its sockets close, as if DingTalk went away.
    pub fn stop(&self) {
        self.cloud.stop.cancel();
    }

    pub fn stopped(&self) -> CancellationToken {
        self.cloud.stop.clone()
    }
}

fn router(cloud: &Arc<Cloud>) -> Router {
    Router::new()
        .route("/v1.0/gateway/connections/open", post(gateway::open))
        .route("/connect", get(gateway::connect))
        .route("/v1.0/oauth2/accessToken", post(robot::access_token))
        .route("/gettoken", get(robot::get_token))
        .route("/robot/sendBySession", post(robot::by_session))
        .route("/v1.0/robot/oToMessages/batchSend", post(robot::direct))
        .route("/v1.0/robot/groupMessages/send", post(robot::group))
        .route("/v1.0/robot/emotion/reply", post(robot::emotion))
        .route("/v1.0/robot/emotion/recall", post(robot::emotion))
        .route("/v1.0/robot/messageFiles/download", post(media::download))
        .route("/files/{name}", get(media::file))
        .route("/media/upload", post(media::upload))
        .route("/v1.0/card/instances", post(card::create).put(card::update))
        .route("/v1.0/card/instances/deliver", post(card::deliver))
        .route("/v1.0/card/instances/createAndDeliver", post(card::create_and_deliver))
        .route("/v1.0/card/streaming", put(card::streaming))
        .route("/v1.0/card/callbacks/register", post(card::register))
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(from_fn_with_state(cloud.clone(), fault::meet))
        .merge(control::routes(&cloud.url))
        .with_state(cloud.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::context::Clock;
    use crate::sim::dingtalk::fault::Outcome;

    const LIMIT: Duration = Duration::from_secs(5);

    async fn sim() -> Sim {
        let config = Config {
            apps: vec![App::stream("robot", "secret")],
            ack_timeout: Duration::from_millis(100),
            disconnect_grace: Duration::from_millis(100),
            ..Config::default()
        };
        Sim::start(&Context::new(Clock::system()), config).await.unwrap()
    }

    async fn post(sim: &Sim, path: &str, token: &str, body: Value) -> (u16, Value) {
        let answer = sim
            .cloud
            .http
            .post(format!("{}{path}", sim.url()))
            .header("x-acs-dingtalk-access-token", token)
            .json(&body)
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn token(sim: &Sim) -> String {
        let asked = json!({ "appKey": "robot", "appSecret": "secret" });
        let (_, granted) = post(sim, "/v1.0/oauth2/accessToken", "", asked).await;
        granted["accessToken"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_wrong_secret_opens_nothing() {
        let sim = sim().await;
        let open = json!({ "clientId": "robot", "clientSecret": "wrong", "subscriptions": [{ "type": "EVENT", "topic": "*" }] });
        let (status, body) = post(&sim, "/v1.0/gateway/connections/open", "", open).await;
        assert_eq!((status, body["code"].as_str()), (401, Some("authFailed")));
        let (status, _) = post(&sim, "/v1.0/gateway/connections/open", "", json!({})).await;
        assert_eq!(status, 400);
    }

    #[tokio::test]
    async fn webhook_refusals_come_with_status_200() {
        let sim = sim().await;
        let said = sim.say(Say::direct("robot", "alice", "hi")).unwrap();
        let records = sim.book().since(0, 10);
        let webhook = records[0].body["sessionWebhook"].as_str().unwrap().to_owned();
        let path = webhook.strip_prefix(sim.url()).unwrap();
        let text = |content: &str| json!({ "msgtype": "text", "text": { "content": content } });
        for (path, body, code) in [
            (path, text("hello"), 0),
            (path, text(&"x".repeat(20_001)), 460_101),
            (path, json!({ "msgtype": "image" }), 400_105),
            (path, json!({ "msgtype": "text" }), 40_035),
            ("/robot/sendBySession?session=unknown", text("hello"), 300_001),
        ] {
            let (status, answer) = post(&sim, path, "", body).await;
            assert_eq!((status, answer["errcode"].as_i64()), (200, Some(code)), "{path}");
        }
        let replies = sim.replies();
        assert_eq!(replies.len(), 1);
        assert_eq!(replies[0].conversation, said.conversation);
    }

    #[tokio::test]
    async fn robot_sends_are_checked() {
        let sim = sim().await;
        let token = token(&sim).await;
        let send = |users: Value, param: &str| json!({ "robotCode": "robot", "userIds": users, "msgKey": "sampleText", "msgParam": param });
        let path = "/v1.0/robot/oToMessages/batchSend";
        let content = |n: usize| json!({ "content": "x".repeat(n) }).to_string();
        for (body, code) in [
            (send(json!([]), &content(1)), Some("invalidParameter.userIds.empty")),
            (send(json!(["alice"]), "no json"), Some("invalidParameter.msgParam.invalid")),
            (send(json!(["alice"]), &content(15_001)), Some("invalidParameter.msgParam.tooLong")),
            (send(json!(["alice"]), &content(1)), None),
        ] {
            let (_, answer) = post(&sim, path, &token, body).await;
            assert_eq!(answer["code"].as_str(), code);
        }
        let (_, answer) =
            post(&sim, path, &token, send(json!(["$:LWCP_v1:$x"]), &content(1))).await;
        assert_eq!(answer["invalidStaffIdList"], json!(["$:LWCP_v1:$x"]));
        let (status, answer) = post(&sim, path, "stale", send(json!(["alice"]), &content(1))).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some("InvalidAuthentication")));
        let group = json!({ "robotCode": "robot", "openConversationId": "cidNone", "msgKey": "sampleText", "msgParam": content(1) });
        let (_, answer) = post(&sim, "/v1.0/robot/groupMessages/send", &token, group).await;
        assert_eq!(answer["code"], "invalid.openConversationId");
    }

    #[tokio::test]
    async fn a_fault_is_used_as_often_as_asked_and_may_do_the_work_unseen() {
        let sim = sim().await;
        sim.say(Say::direct("robot", "alice", "hi")).unwrap();
        let webhook = sim.book().since(0, 1)[0].body["sessionWebhook"].as_str().unwrap().to_owned();
        sim.fault(Fault::preset("webhook", "tooFast").times(2));
        sim.fault(Fault::new("webhook", Outcome::AcceptThenReset));
        sim.fault(Fault::new("webhook", Outcome::Reset));
        let body = json!({ "msgtype": "text", "text": { "content": "hello" } });
        let mut seen = Vec::new();
        for _ in 0..5 {
            let answer = sim.cloud.http.post(&webhook).json(&body).send().await;
            seen.push(match answer {
                Ok(answer) => answer.json::<Value>().await.unwrap()["errcode"].as_i64(),
                Err(_) => None,
            });
        }
        assert_eq!(seen, [Some(410_100), Some(410_100), None, None, Some(0)]);
        assert_eq!(sim.replies().len(), 2);
        let before = sim.book().last();
        sim.fault(Fault::new("webhook", Outcome::AcceptThenHang));
        let mut asked = Box::pin(sim.cloud.http.post(&webhook).json(&body).send());
        tokio::select! {
            answer = &mut asked => panic!("{answer:?}"),
            done = sim.book().wait_for(before, LIMIT, |r| r.kind == Kind::Reply) => assert!(done.is_some()),
        }
        let answer = tokio::time::timeout(Duration::from_millis(200), asked).await;
        assert!(answer.is_err(), "{answer:?}");
    }

    #[tokio::test]
    async fn a_card_lives_by_dingtalks_rules() {
        let sim = sim().await;
        let token = token(&sim).await;
        let create = |id: &str, space: &str| {
            json!({
                "cardTemplateId": "t.schema", "outTrackId": id, "callbackType": "STREAM",
                "cardData": { "cardParamMap": { "content": "", "title": "a" } },
                "openSpaceId": format!("dtv1.card//IM_ROBOT.{space}"),
                "imRobotOpenDeliverModel": { "spaceType": "IM_ROBOT" },
            })
        };
        let path = "/v1.0/card/instances/createAndDeliver";
        let (_, made) = post(&sim, path, &token, create("one", "alice")).await;
        assert_eq!(made["result"]["deliverResults"][0]["success"], true);
        let (status, again) = post(&sim, path, &token, create("one", "alice")).await;
        assert_eq!((status, again["code"].as_str()), (400, Some("param.cardAlreadyExist")));
        let (status, wrong) = post(&sim, path, &token, create("two", "cidX==")).await;
        assert_eq!(
            (status, &wrong["result"]["deliverResults"][0]["success"]),
            (200, &json!(false))
        );

        let put = async |path: &str, body: Value| {
            let url = format!("{}{path}", sim.url());
            let request = sim.cloud.http.put(url).header("x-acs-dingtalk-access-token", &token);
            request.json(&body).send().await.unwrap().json::<Value>().await.unwrap()
        };
        let streaming = |guid: &str, key: &str| json!({ "outTrackId": "one", "guid": guid, "key": key, "content": "ab", "isFull": false });
        put("/v1.0/card/streaming", streaming("g1", "content")).await;
        put("/v1.0/card/streaming", streaming("g1", "content")).await;
        assert_eq!(sim.card("one").unwrap().params["content"], "ab");
        let unknown = put("/v1.0/card/streaming", streaming("g2", "nokey")).await;
        assert_eq!(unknown["code"], "unknownError");
        let update =
            json!({ "outTrackId": "one", "cardData": { "cardParamMap": { "title": "b" } } });
        put("/v1.0/card/instances", update).await;
        assert!(!sim.card("one").unwrap().params.contains_key("content"));
    }

    #[tokio::test]
    async fn an_unanswered_push_comes_again_until_the_cloud_gives_up() {
        let config = Config {
            apps: vec![App::stream("robot", "secret")],
            ack_timeout: Duration::from_millis(10),
            attempts_max: 3,
            ..Config::default()
        };
        let sim = Sim::start(&Context::new(Clock::system()), config).await.unwrap();
        sim.say(Say::direct("robot", "alice", "hi")).unwrap();
        let gave_up = sim.wait_for(LIMIT, |record| record.kind == Kind::GaveUp).await.unwrap();
        assert_eq!(gave_up.attempt, 3);
    }

    #[tokio::test]
    async fn a_group_message_without_a_mention_stays_in_the_group() {
        let sim = sim().await;
        let mut say = Say::group("robot", "cidG==", "alice", "psst");
        say.unmentioned = true;
        sim.say(say.clone()).unwrap();
        say.force = true;
        let forced = sim.say(say).unwrap();
        let tried = |record: &Record| record.kind == Kind::Undelivered;
        let pushed = sim.wait_for(LIMIT, tried).await.unwrap();
        assert_eq!(pushed.msg_id, forced.msg_id);
    }

    #[tokio::test]
    async fn a_file_is_fetched_by_its_code_and_never_with_a_content_type() {
        let sim = sim().await;
        let token = token(&sim).await;
        let code = sim.put_file("a.png", "bytes");
        let ask = |code: &str| json!({ "robotCode": "robot", "downloadCode": code });
        let path = "/v1.0/robot/messageFiles/download";
        let (_, found) = post(&sim, path, &token, ask(&code)).await;
        let url = found["downloadUrl"].as_str().unwrap();
        let fetched = sim.cloud.http.get(url).send().await.unwrap();
        assert_eq!(fetched.text().await.unwrap(), "bytes");
        let typed = sim.cloud.http.get(url).header("content-type", "text/plain").send().await;
        assert_eq!(typed.unwrap().status(), 403);
        let (_, wrong) = post(&sim, path, &token, ask("codeNone")).await;
        assert_eq!(wrong["code"], "invalidParameter.robotCode.downloadCode");
    }
}
