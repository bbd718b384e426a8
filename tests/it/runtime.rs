//! What the tests of runtimes share: a turn, and a caller that asks a runtime for it as the worker does.
#![expect(clippy::unwrap_used, reason = "fixtures of tests")]

use std::time::Duration;

use axum::Router;
use dingtalk_trigger::context::{Clock, Context};
use dingtalk_trigger::domain::answer::{Answer, Failure};
use dingtalk_trigger::domain::binding::{Language, Runtime, RuntimeKind};
use dingtalk_trigger::domain::id::ExpertId;
use dingtalk_trigger::domain::inbound::{Place, PlaceKind, Sender};
use dingtalk_trigger::domain::invocation::{Session, TurnRequest};
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::io::egress::{self, Egress};
use dingtalk_trigger::io::runtime::{Config, Fact, Learned, Line, Outcome, Runtimes, Steer};
use dingtalk_trigger::telemetry::metrics::Limit;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use crate::support::logs::Logs;

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub(crate) const TURN: &str = "robot-1.abcdefghijklmnopqrstuvwx23.42";

pub(crate) fn turn(text: &str) -> TurnRequest {
    TurnRequest {
        turn: TURN.parse().unwrap(),
        attempt: 1,
        expert: ExpertId::parse("expert-1").unwrap(),
        place: Place { id: "cid".into(), kind: PlaceKind::Private, title: None },
        sender: Sender { id: "s".into(), staff_id: None, name: "Ann".into(), corp_id: None },
        session: Session {
            thread_id: "6f2d9a52-3c0e-4c55-9a43-1c7e2f1d8b11".into(),
            is_new: true,
            expires_at: Timestamp(1),
        },
        action: None,
        params: None,
        resumes: None,
        text: text.into(),
        messages: vec![],
        reply_url: "https://edge/reply".into(),
        language: Language::En,
        started_at: Clock::system().now(),
        is_repeat: false,
        run: None,
        resumed_run: None,
    }
}

/// Limits that nothing reaches which works, however slow the machine is.
pub(crate) fn config() -> Config {
    Config {
        total_timeout: Duration::from_mins(1),
        idle_timeout: Duration::from_secs(10),
        request_timeout: Duration::from_secs(20),
        ..Config::default()
    }
}

/// For what never answers: silence ends soon.
pub(crate) fn impatient() -> Config {
    let idle_timeout = Duration::from_millis(300);
    Config { idle_timeout, request_timeout: Duration::from_secs(1), ..config() }
}

/// One call: its outcome, and the names of runs that it let be recorded.
pub(crate) type Asked = (Result<Outcome, Failure>, Vec<String>);

pub(crate) struct Caller {
    pub(crate) context: Context,
    runtimes: Runtimes,
    _logs: Logs,
}

impl Caller {
    pub(crate) fn new(config: Config) -> Self {
        let logs = Logs::watch();
        let context = Context::new(Clock::system());
        let egress = Egress::new(&egress::Config::default()).unwrap();
        let runtimes = Runtimes::new(context.clone(), egress, config);
        Self { context, runtimes, _logs: logs }
    }

    pub(crate) async fn ask(&self, kind: &RuntimeKind, turn: &TurnRequest) -> Asked {
        self.ask_until(kind, turn, &CancellationToken::new(), |_| true).await
    }

    /// `learn` says whether a run's name could be stored; where not, the caller has lost the turn.
    pub(crate) async fn ask_until(
        &self,
        kind: &RuntimeKind,
        turn: &TurnRequest,
        cancel: &CancellationToken,
        learn: impl Fn(&str) -> bool,
    ) -> Asked {
        let learn = |fact: &Fact| match fact {
            Fact::Run(run) => learn(run),
            Fact::Read(_) => true,
        };
        let (_nothing, steers) = mpsc::channel(1);
        let (outcome, facts) = self.ask_steered(kind, turn, (cancel, steers), learn).await;
        let run = |fact| match fact {
            Fact::Run(run) => Some(run),
            Fact::Read(_) => None,
        };
        (outcome, facts.into_iter().filter_map(run).collect())
    }

    /// The outcome, and all that was let be recorded.
    pub(crate) async fn ask_steered(
        &self,
        kind: &RuntimeKind,
        turn: &TurnRequest,
        (cancel, steers): (&CancellationToken, mpsc::Receiver<Steer>),
        learn: impl Fn(&Fact) -> bool,
    ) -> (Result<Outcome, Failure>, Vec<Fact>) {
        let (learned, mut said) = mpsc::channel::<Learned>(1);
        let runtime = Runtime {
            expert: turn.expert.clone(),
            kind: kind.clone(),
            lease: None,
            is_paused: false,
        };
        let mut facts = Vec::new();
        let record = async {
            while let Some(learned) = said.recv().await {
                if learn(&learned.fact) {
                    learned.stored.send(()).ok(); // a call that was cancelled does not wait for it
                }
                facts.push(learned.fact);
            }
        };
        let call = async {
            let line = Line { learned, cancel: cancel.clone(), steers: Mutex::new(steers) };
            self.runtimes.invoke(&runtime, turn, &line).await
        };
        let (outcome, ()) = tokio::join!(call, record);
        (outcome, facts)
    }

    /// How often an answer was longer than allowed.
    pub(crate) fn cuts(&self) -> u64 {
        self.context.metrics.limit_breaches.get_or_create(&Limit { limit: "answer" }).get()
    }

    /// Serves `app` as a runtime of the test's own.
    pub(crate) async fn serve(&self, app: Router) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/turn", listener.local_addr().unwrap());
        drop(self.context.spawn(async move { axum::serve(listener, app).await }));
        url
    }
}

pub(crate) fn answer((outcome, _): Asked) -> Answer {
    match outcome {
        Ok(Outcome::Answer(answer)) => answer,
        other => panic!("no answer: {other:?}"),
    }
}

pub(crate) fn failure((outcome, _): Asked) -> Failure {
    match outcome {
        Err(failure) => failure,
        Ok(other) => panic!("no failure: {other:?}"),
    }
}

#[tokio::test]
async fn an_echo_answers_what_it_was_asked() {
    let caller = Caller::new(config());
    assert_eq!(answer(caller.ask(&RuntimeKind::Echo, &turn("hello")).await).text, "hello");
}
