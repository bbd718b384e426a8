//! Runtimes over real sockets: what each answer of theirs does to a turn.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use dingtalk_trigger::context::{Clock, Context};
use dingtalk_trigger::domain::answer::{Failure, FailureClass, Interrupt};
use dingtalk_trigger::domain::binding::{Language, Runtime, RuntimeKind};
use dingtalk_trigger::domain::id::ExpertId;
use dingtalk_trigger::domain::inbound::{Place, PlaceKind, Sender};
use dingtalk_trigger::domain::invocation::{Session, TurnRequest};
use dingtalk_trigger::domain::reason::Reason;
use dingtalk_trigger::domain::secret::Secret;
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::io::egress::{self, Egress};
use dingtalk_trigger::io::runtime::{Config, Learned, Line, Outcome, Runtimes};
use dingtalk_trigger::protocol::webhook::{Headers, Key};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn turn() -> TurnRequest {
    TurnRequest {
        turn: "robot-1.abcdefghijklmnopqrstuvwx23.42".parse().unwrap(),
        attempt: 1,
        expert: ExpertId::parse("expert-1").unwrap(),
        place: Place { id: "cid".into(), kind: PlaceKind::Private, title: None },
        sender: Sender { id: "s".into(), staff_id: None, name: "Ann".into() },
        session: Session { thread_id: "t-1".into(), is_new: true, expires_at: Timestamp(1) },
        action: None,
        params: None,
        resumes: None,
        text: "hello".into(),
        messages: vec![],
        reply_url: "https://edge/reply".into(),
        language: Language::En,
        started_at: Timestamp(0),
        is_repeat: false,
        run: None,
        resumed_run: None,
    }
}

async fn serve(context: &Context, app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(context.spawn(async move { axum::serve(listener, app).await }));
    url
}

fn config() -> Config {
    Config {
        total_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_millis(400),
        ..Config::default()
    }
}

/// One call; what the runtime let be recorded stands beside its outcome.
async fn ask(
    kind: RuntimeKind,
    turn: &TurnRequest,
    cancel: CancellationToken,
) -> (Result<Outcome, Failure>, Vec<String>) {
    let context = Context::new(Clock::system());
    let egress = Egress::new(&egress::Config::default()).unwrap();
    let runtimes = Runtimes::new(context.clone(), egress, config());
    let (learned, mut said) = mpsc::channel::<Learned>(1);
    let names = context.spawn(async move {
        let mut names = Vec::new();
        while let Some(learned) = said.recv().await {
            names.push(learned.run);
            learned.stored.send(()).ok();
        }
        names
    });
    let expert = turn.expert.clone();
    let runtime = Runtime { expert, kind, lease: None, is_paused: false };
    let line = Line { learned, cancel };
    let outcome = runtimes.invoke(&runtime, turn, &line).await;
    drop(line);
    (outcome, names.await.unwrap())
}

fn text(outcome: Result<Outcome, Failure>) -> String {
    match outcome {
        Ok(Outcome::Answer(answer)) => answer.text,
        other => panic!("no answer: {other:?}"),
    }
}

async fn callback(
    response: fn(HeaderMap, axum::body::Bytes) -> Response,
) -> Result<Outcome, Failure> {
    let context = Context::new(Clock::system());
    let app = Router::new().route("/", post(move |h, b| async move { response(h, b) }));
    let url = serve(&context, app).await;
    let kind = RuntimeKind::Callback { url, secret: Secret::new(SECRET) };
    ask(kind, &turn(), CancellationToken::new()).await.0
}

fn stream(body: &'static str) -> Response {
    ([("content-type", "text/event-stream; charset=utf-8")], body).into_response()
}

#[tokio::test]
async fn an_echo_answers_what_it_was_asked() {
    let (outcome, _) = ask(RuntimeKind::Echo, &turn(), CancellationToken::new()).await;
    assert_eq!(text(outcome), "hello");
}

#[tokio::test]
async fn a_callback_is_signed_and_its_answers_are_read() {
    let signed = callback(|headers, body| {
        let header = |name: &str| headers[name].to_str().unwrap();
        let signed = Headers {
            id: header("webhook-id"),
            timestamp: header("webhook-timestamp"),
            signature: header("webhook-signature"),
        };
        let key = Key::parse(&Secret::new(SECRET)).unwrap();
        let result = key.verify(signed, &body, Clock::system().now());
        format!(r#"{{"text":"{result:?} {}"}}"#, signed.id).into_response()
    });
    assert_eq!(text(signed.await), "Ok(()) robot-1.abcdefghijklmnopqrstuvwx23.42");
    let streamed = callback(|_, _| {
        stream(
            "data: {\"delta\":\"a\"}\n\n: x\n\ndata: {\"delta\":\"b\"}\n\ndata: {\"done\":true}\n\n",
        )
    });
    assert_eq!(text(streamed.await), "ab");
    let accepted = callback(|_, _| StatusCode::ACCEPTED.into_response()).await;
    assert_eq!(accepted, Ok(Outcome::Accepted));
}

#[tokio::test]
async fn a_callbacks_failures_are_classified() {
    let retry = |s| FailureClass::Retryable { after: Some(Duration::from_secs(s)) };
    let now = FailureClass::Retryable { after: None };
    type Respond = fn(HeaderMap, axum::body::Bytes) -> Response;
    let table: [(Respond, FailureClass, Reason); 7] = [
        (
            |_, _| StatusCode::BAD_REQUEST.into_response(),
            FailureClass::Permanent,
            Reason::RuntimePermanent,
        ),
        (|_, _| StatusCode::CONFLICT.into_response(), now, Reason::RuntimeExhausted),
        (|_, _| StatusCode::BAD_GATEWAY.into_response(), now, Reason::RuntimeExhausted),
        (
            |_, _| (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")]).into_response(),
            retry(7),
            Reason::RuntimeExhausted,
        ),
        (|_, _| "<html>".into_response(), now, Reason::RuntimeExhausted),
        (|_, _| stream("data: {\"delta\":\"half\"}\n\n"), now, Reason::RuntimeExhausted),
        (|_, _| StatusCode::FOUND.into_response(), now, Reason::RuntimeExhausted),
    ];
    for (index, (respond, class, reason)) in table.into_iter().enumerate() {
        let failure = callback(respond).await.unwrap_err();
        assert_eq!((failure.class, failure.reason), (class, reason), "case {index}: {failure:?}");
    }
}

/// A server with one run whose stream breaks once, told in two parts.
#[derive(Default)]
struct Fake {
    posts: AtomicU32,
    seen: Mutex<Vec<Option<String>>>,
    cancelled: AtomicU32,
}

const FIRST: &str = "id: 1-0\ndata: {\"type\":\"message\",\"data\":{\"type\":\"text\",\"id\":\"a\",\"text\":\"one \"}}\n\n";
const SECOND: &str = "id: 2-0\ndata: {\"type\":\"message\",\"data\":{\"type\":\"text\",\"id\":\"a\",\"text\":\"two\"}}\n\n\
    id: 3-0\ndata: {\"type\":\"event\",\"event\":\"on_conversation_end\",\"data\":{\"status\":\"interrupted\",\
    \"operation\":{\"tasks\":[{\"info\":{\"title\":\"Mail\"}}]}}}\n\n\
    id: 4-0\nevent: complete\ndata: {\"type\":\"complete\"}\n\n";
const RUN: &str = r#"{"run_id":"r-1","status":"running","created_at":"2026-01-01T00:00:00Z"}"#;

async fn xpert(fake: &Arc<Fake>) -> RuntimeKind {
    let events = |State(fake): State<Arc<Fake>>, headers: HeaderMap| async move {
        let last = headers.get("last-event-id").map(|id| id.to_str().unwrap().to_owned());
        fake.seen.lock().unwrap().push(last.clone());
        stream(if last.is_none() { FIRST } else { SECOND })
    };
    let create = |State(fake): State<Arc<Fake>>| async move {
        fake.posts.fetch_add(1, Ordering::Relaxed);
        (StatusCode::CREATED, RUN)
    };
    let cancel = |State(fake): State<Arc<Fake>>| async move {
        fake.cancelled.fetch_add(1, Ordering::Relaxed);
        "{}"
    };
    let app = Router::new()
        .route("/api/ai/threads", post(|| async { (StatusCode::CREATED, "{}") }))
        .route("/api/ai/threads/t-1/runs", post(create).get(|| async { format!("[{RUN}]") }))
        .route("/api/ai/threads/t-1/runs/r-1", get(|| async { RUN }))
        .route("/api/ai/threads/t-1/runs/r-1/stream", get(events))
        .route("/api/ai/threads/t-1/runs/r-1/cancel", post(cancel))
        .with_state(Arc::clone(fake));
    let base_url = serve(&Context::new(Clock::system()), app).await;
    RuntimeKind::Xpert { base_url, api_key: Secret::new("sk-x-1"), organization_id: None }
}

#[tokio::test]
async fn an_xpert_run_is_recorded_and_its_broken_stream_is_joined_again() {
    let fake = Arc::default();
    let (outcome, names) = ask(xpert(&fake).await, &turn(), CancellationToken::new()).await;
    let Ok(Outcome::Answer(answer)) = outcome else { panic!("no answer: {outcome:?}") };
    assert_eq!(answer.text, "one two");
    assert_eq!(answer.interrupt, Some(Interrupt { title: "Mail".into(), text: String::new() }));
    assert_eq!(names, ["r-1"]);
    assert_eq!(*fake.seen.lock().unwrap(), [None, Some("1-0".to_owned())]);
}

#[tokio::test]
async fn a_repeated_turn_joins_the_run_that_is_there() {
    let fake: Arc<Fake> = Arc::default();
    let turn = TurnRequest { is_repeat: true, ..turn() };
    let (outcome, names) = ask(xpert(&fake).await, &turn, CancellationToken::new()).await;
    assert_eq!(text(outcome), "one two");
    assert_eq!(names, ["r-1"]);
    assert_eq!(fake.posts.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn cancelling_tells_the_server() {
    let fake: Arc<Fake> = Arc::default();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let (outcome, _) = ask(xpert(&fake).await, &turn(), cancel).await;
    assert_eq!(outcome, Ok(Outcome::Cancelled));
    assert_eq!(fake.cancelled.load(Ordering::Relaxed), 1);
}
