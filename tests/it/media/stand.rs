//! A simulated cloud, both kinds of experts, and the hand-over between them.

use std::time::Duration;

use axum::Router;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dingtalk_trigger::context::{Clock, Context};
use dingtalk_trigger::domain::answer::{Failure, FailureClass};
use dingtalk_trigger::domain::attachment::Spoken;
use dingtalk_trigger::domain::binding::{Integration, Language, Mode, Runtime, RuntimeKind, Scope};
use dingtalk_trigger::domain::id::{ExpertId, IntegrationId};
use dingtalk_trigger::domain::inbound::{Place, PlaceKind, Sender};
use dingtalk_trigger::domain::invocation::{Session, TurnRequest};
use dingtalk_trigger::domain::secret::Secret;
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::io::dingtalk::media::{self, Downloads};
use dingtalk_trigger::io::dingtalk::token::Tokens;
use dingtalk_trigger::io::egress::host::{HostList, Scheme};
use dingtalk_trigger::io::egress::{self, Egress};
use dingtalk_trigger::io::runtime::{self, Learned, Line, Outcome, Runtimes};
use dingtalk_trigger::protocol::robot;
use dingtalk_trigger::sim::dingtalk::Sim;
use dingtalk_trigger::sim::dingtalk::app::App;
use dingtalk_trigger::sim::dingtalk::fault::{self, Fault};
use dingtalk_trigger::sim::dingtalk::settings;
use dingtalk_trigger::sim::expert::Expert;
use dingtalk_trigger::sim::xpert::Xpert;
use dingtalk_trigger::worker::dispatch::attaching::{Attaching, Limits};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

pub(super) const FILE_MAX_BYTES: u64 = 64 * 1024;
pub(super) const INLINE_MAX_BYTES: u64 = 20 * 1024;
pub(super) const FILES_MAX: usize = 5;
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const API_KEY: &str = "sk-x-1";

pub(super) struct Stand {
    pub(super) context: Context,
    pub(super) cloud: Sim,
    pub(super) expert: Expert,
    pub(super) xpert: Xpert,
    integration: Integration,
    runtimes: Runtimes,
    downloads: Downloads,
}

impl Stand {
    pub(super) async fn start() -> Self {
        Self::start_with("").await
    }

    /// Files may come from `hosts` too.
    pub(super) async fn start_with(hosts: &str) -> Self {
        Self::start_in(hosts, Duration::from_secs(30)).await
    }

    /// A file has so long to come.
    pub(super) async fn start_in(hosts: &str, timeout: Duration) -> Self {
        let context = Context::new(Clock::system());
        let robot = App { robot_code: Some("robot-code".into()), ..App::stream("robot", "secret") };
        let settings = settings::Config { apps: vec![robot], ..settings::Config::default() };
        let cloud = Sim::start(&context, settings).await.expect("start the simulated DingTalk");
        let any = "127.0.0.1:0";
        let expert =
            Expert::start(&context, any, Secret::new(SECRET)).await.expect("start an expert");
        let xpert = Xpert::start(&context, any, Secret::new(API_KEY)).await.expect("start Xpert");
        let egress = Egress::new(&egress::Config::default()).expect("start a client");
        let address = cloud.url().trim_start_matches("http://");
        let config = media::Config {
            api_url: cloud.url().to_owned(),
            hosts: HostList::parse(&format!("{address},{hosts}"), Scheme::HttpToo)
                .expect("a list of hosts"),
            file_max_bytes: FILE_MAX_BYTES,
            timeout,
            held_max: 2,
        };
        let tokens = Tokens::new(context.clone(), egress.clone(), cloud.url());
        let downloads = Downloads::new(context.clone(), egress.clone(), tokens, config);
        let runtimes = Runtimes::new(context.clone(), egress, runtime::Config::default());
        let integration = integration();
        Self { context, cloud, expert, xpert, integration, runtimes, downloads }
    }

    pub(super) fn callback(&self) -> RuntimeKind {
        RuntimeKind::Callback { url: self.expert.url().into(), secret: Secret::new(SECRET) }
    }

    pub(super) fn xpert(&self) -> RuntimeKind {
        let (base_url, api_key) = (self.xpert.url().into(), Secret::new(API_KEY));
        RuntimeKind::Xpert { base_url, api_key, organization_id: None }
    }

    /// Asks an expert what people said, in DingTalk's JSON.
    pub(super) async fn ask(
        &self,
        kind: RuntimeKind,
        said: &[Value],
        cancel: CancellationToken,
    ) -> Result<Outcome, Failure> {
        let (learned, mut names) = mpsc::channel::<Learned>(1);
        drop(self.context.spawn(async move {
            while let Some(learned) = names.recv().await {
                learned.stored.send(()).ok();
            }
        }));
        let request = request();
        let runtime =
            Runtime { expert: request.expert.clone(), kind, lease: None, is_paused: false };
        let attaching = Attaching {
            context: &self.context,
            downloads: &self.downloads,
            runtimes: &self.runtimes,
            limits: Limits {
                files_max: FILES_MAX,
                inline_max_bytes: INLINE_MAX_BYTES,
                file_max_bytes: FILE_MAX_BYTES,
            },
            integration: Some(&self.integration),
            runtime: &runtime,
            line: &Line { learned, cancel, steers: Mutex::new(mpsc::channel(1).1) },
        };
        attaching.ask(request, said.iter().map(spoken).collect()).await
    }

    /// What the callback expert read of a turn that it answered.
    pub(super) async fn input(&self, said: &[Value]) -> Value {
        let outcome = self.ask(self.callback(), said, CancellationToken::new()).await;
        assert!(matches!(outcome, Ok(Outcome::Answer(_))), "{outcome:?}");
        let call = self.expert.calls().pop().expect("the expert was asked");
        assert!(call.is_signed);
        call.body["input"].clone()
    }

    /// Asks and fails so that another attempt is worth it; the detail.
    pub(super) async fn failure(&self, said: &[Value]) -> String {
        let outcome = self.ask(self.callback(), said, CancellationToken::new()).await;
        match outcome {
            Err(Failure { class: FailureClass::Retryable { .. }, detail, .. }) => {
                detail.expose().to_owned()
            }
            other => panic!("no failure to repeat: {other:?}"),
        }
    }

    /// The next download is given this address.
    pub(super) fn lead_to(&self, url: &str) {
        let body = json!({ "downloadUrl": url });
        self.cloud.fault(Fault::new("download", fault::Outcome::Answer { status: 200, body }));
    }

    /// A counter, by its name and labels.
    pub(super) fn counted(&self, series: &str) -> u64 {
        let text = self.context.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.map_or(0, |value| value.trim().parse().expect("a counter is a number"))
    }

    pub(super) async fn serve(&self, app: Router) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("find a free port");
        let address = listener.local_addr().expect("a bound socket has one").to_string();
        drop(self.context.spawn(async move { axum::serve(listener, app).await }));
        address
    }
}

pub(super) fn bytes_of(file: &Value) -> Vec<u8> {
    STANDARD.decode(file["data"].as_str().expect("the bytes are there")).expect("base64")
}

/// A message with the fields that every message has.
pub(super) fn message(content: Value) -> Value {
    let mut body = json!({
        "msgId": "msg1==", "conversationId": "cidA==", "conversationType": "1",
        "senderId": "$:LWCP_v1:$x", "senderStaffId": "staff1", "senderNick": "Ann",
        "robotCode": "robot-code", "createAt": 1_700_000_000_000_i64,
    });
    let Value::Object(fields) = content else { panic!("the content is no object: {content}") };
    body.as_object_mut().expect("a message is an object").extend(fields);
    body
}

pub(super) fn picture(code: &str) -> Value {
    message(json!({"msgtype": "picture", "content": {"downloadCode": code}}))
}

fn spoken(said: &Value) -> Spoken {
    match robot::inspect(&said.into()).expect("a message") {
        robot::Outcome::Message(message) => Spoken { message: *message, at: Timestamp(1) },
        other => panic!("no message: {other:?}"),
    }
}

fn integration() -> Integration {
    Integration {
        id: IntegrationId::parse("robot-1").expect("an id"),
        name: "Robot".into(),
        mode: Mode::Stream,
        client_id: "robot".into(),
        client_secret: Secret::new("secret"),
        robot_code: Some("robot-code".into()),
        callback_token: None,
        callback_aes_key: None,
        card_template_id: None,
        language: Language::En,
        receiver_id: None,
        corp_id: None,
        scope: Scope::Sender,
        is_paused: false,
    }
}

fn request() -> TurnRequest {
    TurnRequest {
        turn: "robot-1.abcdefghijklmnopqrstuvwx23.42".parse().expect("a turn's id"),
        attempt: 1,
        expert: ExpertId::parse("expert-1").expect("an id"),
        place: Place { id: "cidA==".into(), kind: PlaceKind::Private, title: None },
        sender: Sender { id: "s".into(), staff_id: None, name: "Ann".into(), corp_id: None },
        session: Session {
            thread_id: "0b7e3f7e-6f7c-5d3c-9a3e-0d6a7c1f2b11".into(),
            is_new: true,
            expires_at: Timestamp(1),
        },
        action: None,
        params: None,
        resumes: None,
        text: String::new(),
        messages: vec![],
        reply_url: "https://edge/reply".into(),
        language: Language::En,
        started_at: Timestamp(0),
        is_repeat: false,
        run: None,
        resumed_run: None,
    }
}
