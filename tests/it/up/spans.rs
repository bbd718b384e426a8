//! What an operator's collector is told: one trace for each message, from DingTalk to the answer, and
//! nothing that anybody wrote.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use dingtalk_trigger::context::{Clock, Context};
use dingtalk_trigger::protocol::trace;
use dingtalk_trigger::sim::dingtalk::message::Say;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::support::collector::{Collector, Seen};
use crate::support::outside::{EXPERT_SECRET, Outside};
use crate::support::program::{LIMIT, free_port};
use crate::support::service::{Service, callback, echo};
use crate::support::wait::wait_until;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";

/// The trace of a message, in hex.
fn trace_of(robot: &str, msg_id: &str) -> String {
    trace::of(&format!("{robot}:{msg_id}")).split('-').nth(1).expect("a trace").to_owned()
}

fn named<'a>(spans: &'a [Seen], name: &str) -> &'a Seen {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    let [span] = found.as_slice() else { panic!("{name}: {found:?} of {spans:?}") };
    span
}

#[tokio::test]
async fn a_message_is_one_trace_from_dingtalk_to_its_answer_and_nothing_of_it_is_told() {
    let (outside, collector) = (Outside::start().await, Collector::start().await);
    let settings = [
        (ENDPOINT, collector.endpoint()),
        (HEADERS, "authorization=Bearer%20of-the-collector".to_owned()),
        ("DT_POD", "pod-7".to_owned()),
    ];
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut service = Service::start_with(&outside, &settings).await;
    service.stream_robot(&outside, "robot").await;
    let window = json!({ "runtime": callback(&outside), "summaryWindowSeconds": 1 });
    service.admin().publish("expert", "robot", &window).await;
    let mut say = Say::direct("robot", "zenobia-staff", "the unspeakable question");
    say.nick = Some("Zenobia Nickname".to_owned());
    let said = outside.say(say);
    outside.reply(&said.conversation, "You said: the unspeakable question").await;
    service.settled().await;
    // The last of them are sent on the way out.
    let status = service.program().terminate().await;
    assert_eq!(status.code(), Some(0));

    let spans = collector.spans();
    let trace = trace_of("robot", &said.msg_id);
    assert!(spans.iter().all(|span| span.trace == trace), "{trace}: {spans:?}");
    let accept = named(&spans, "accept");
    assert_eq!(accept.parent, "");
    for stage in ["intake", "due", "dispatch"] {
        assert_eq!(named(&spans, stage).parent, accept.id, "{stage}");
    }
    let run = named(&spans, "run");
    assert_eq!(run.parent, named(&spans, "dispatch").id);
    assert_eq!(run.events, ["started", "answered", "delivered"]);
    let (invoke, send) = (named(&spans, "invoke"), named(&spans, "send"));
    assert_eq!((&invoke.parent, &send.parent), (&run.id, &run.id));
    assert!(spans.iter().all(|span| span.failure.is_none()), "{spans:?}");
    assert!(spans.iter().all(|span| span.began_ns <= span.ended_ns), "{spans:?}");
    // The expert's own spans stand below the call that reached it.
    assert_eq!(outside.expert.calls()[0].trace, format!("00-{trace}-{}-01", invoke.id));
    for (span, key, value) in [
        (accept, "message.id", said.msg_id.as_str()),
        (accept, "integration.id", "robot"),
        (accept, "outcome", "accepted"),
        (run, "message.id", &said.msg_id),
        (run, "expert.id", "expert"),
        (run, "outcome", "delivered"),
        (invoke, "attempt", "1"),
        (invoke, "outcome", "answered"),
        (send, "outcome", "sent"),
    ] {
        assert_eq!(span.attributes.get(key).map(String::as_str), Some(value), "{span:?}");
    }
    assert_eq!(run.attributes.get("conversation.id"), accept.attributes.get("conversation.id"));

    for request in collector.requests() {
        assert_eq!(request.headers["authorization"], "Bearer of-the-collector");
        assert_eq!(request.headers["content-type"], "application/x-protobuf");
        let resource = request.resource();
        assert_eq!(resource["service.name"], "dingtalk-trigger");
        assert_eq!((&*resource["service.instance.id"], &*resource["role"]), ("pod-7", "up"));
        let told = String::from_utf8_lossy(&request.body).to_lowercase();
        let secret = EXPERT_SECRET.to_lowercase();
        let private = ["unspeakable", "you said", "zenobia", "app-secret", "http://", &secret];
        for word in private {
            assert!(!told.contains(word), "{word} in {told}");
        }
    }
    assert!(!service.program().complained().contains("of-the-collector"));
}

#[tokio::test]
async fn messages_of_one_turn_are_linked_and_each_turn_has_the_trace_of_its_own() {
    let (outside, collector) = (Outside::start().await, Collector::start().await);
    let service = Service::start_with(&outside, &[(ENDPOINT, &collector.endpoint())]).await;
    service.stream_robot(&outside, "robot").await;
    let runtime = json!({ "runtime": callback(&outside), "summaryWindowSeconds": 2 });
    service.admin().publish("expert", "robot", &runtime).await;
    let first = outside.say(Say::direct("robot", "ann", "one"));
    let second = outside.say(Say::direct("robot", "ann", "two"));
    outside.reply(&first.conversation, "You said: one\ntwo").await;
    let [one, two] = [&first, &second].map(|said| trace_of("robot", &said.msg_id));
    let spans = collector.spans_with(|span| span.name == "run").await;
    let run = named(&spans, "run");
    assert_eq!((&run.trace, &run.links), (&two, &vec![one]));

    // Said while the expert works on the one before, it gets its slot from the end of that one's run.
    service.admin().publish("expert", "robot", &json!({ "runtime": callback(&outside) })).await;
    let slow = outside.say(Say::direct("robot", "ann", "slow 1"));
    assert!(outside.expert.called(2, LIMIT).await, "the expert is asked");
    outside.ask(Say::direct("robot", "ann", "behind it"), "You said: behind it").await;
    let calls = outside.expert.calls();
    let traces =
        [&calls[1], &calls[2]].map(|call| call.trace.split('-').nth(1).unwrap_or_default());
    assert_eq!(traces[0], trace_of("robot", &slow.msg_id));
    assert_ne!(traces[0], traces[1]);
    let own = traces[1].to_owned();
    // Its slot was offered by the run of the one before, and is in the trace of what it is for.
    let is_own = |span: &Seen| span.trace == own;
    let spans = collector.spans_with(|span| span.name == "dispatch" && is_own(span)).await;
    let spans: Vec<_> = spans.into_iter().filter(is_own).collect();
    for name in ["accept", "run", "invoke", "send"] {
        named(&spans, name);
    }
    service.finish().await;
}

#[tokio::test]
async fn a_failure_is_told_by_its_reason_and_not_by_what_was_said_of_it() {
    let (outside, collector) = (Outside::start().await, Collector::start().await);
    let service = Service::start_with(&outside, &[(ENDPOINT, &collector.endpoint())]).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": callback(&outside) })).await;
    let said = outside.say(Say::direct("robot", "ann", "refuse this"));
    let spans = collector.spans_with(|span| span.name == "run").await;
    let run = named(&spans, "run");
    assert_eq!(run.trace, trace_of("robot", &said.msg_id));
    assert_eq!(run.failure.as_deref(), Some("runtime_permanent"));
    assert_eq!(run.attributes["outcome"], "dead");
    let invoke = named(&spans, "invoke");
    assert_eq!(invoke.failure.as_deref(), Some("runtime_permanent"));
    assert_eq!(invoke.attributes["outcome"], "permanent");
    for request in collector.requests() {
        let told = String::from_utf8_lossy(&request.body).to_lowercase();
        assert!(!told.contains("refused on request"), "{told}");
    }
    service.finish().await;
}

#[tokio::test]
async fn an_xpert_server_is_told_of_the_span_that_asks_it() {
    let (outside, collector) = (Outside::start().await, Collector::start().await);
    let service = Service::start_with(&outside, &[(ENDPOINT, &collector.endpoint())]).await;
    service.stream_robot(&outside, "robot").await;
    // It notes how it was asked, and refuses.
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let noted = asked.clone();
    let refuse = async move |headers: HeaderMap| {
        let trace = headers.get("traceparent").and_then(|value| value.to_str().ok());
        noted.lock().expect("nobody panics in it").push(trace.unwrap_or_default().to_owned());
        StatusCode::BAD_REQUEST
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    let context = Context::new(Clock::system());
    let served = axum::serve(listener, Router::new().fallback(refuse)).into_future();
    let stop = context.stop().clone();
    context.spawn(async move { stop.run_until_cancelled(served).await });
    let runtime = json!({ "kind": "xpert", "baseUrl": base, "apiKey": "sk-x-1" });
    service.admin().publish("expert", "robot", &json!({ "runtime": runtime })).await;
    outside.say(Say::direct("robot", "ann", "hello"));
    let spans = collector.spans_with(|span| span.name == "run").await;
    let invoke = named(&spans, "invoke");
    let expected = format!("00-{}-{}-01", invoke.trace, invoke.id);
    let asked = asked.lock().expect("nobody panics in it").clone();
    assert!(!asked.is_empty() && asked.iter().all(|trace| *trace == expected), "{asked:?}");
    service.finish().await;
    context.finish(LIMIT).await;
}

#[tokio::test]
async fn a_wait_for_the_expert_and_what_comes_after_it_are_one_trace() {
    let (outside, collector) = (Outside::start().await, Collector::start().await);
    let service = Service::start_with(&outside, &[(ENDPOINT, &collector.endpoint())]).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({})).await;
    let said = outside.say(Say::direct("robot", "ann", "anybody there?"));
    let spans = collector.spans_with(|span| span.name == "run").await;
    let parked = named(&spans, "run");
    assert_eq!(
        (&*parked.attributes["outcome"], &*parked.attributes["reason"]),
        ("parked", "missing")
    );
    service.admin().register("expert", &callback(&outside)).await;
    outside.reply(&said.conversation, "You said: anybody there?").await;
    let spans = collector.spans_with(|span| span.name == "send").await;
    let trace = trace_of("robot", &said.msg_id);
    assert!(spans.iter().all(|span| span.trace == trace), "{spans:?}");
    named(&spans, "invoke");
    service.finish().await;
}

#[tokio::test]
async fn a_collector_that_is_away_holds_up_nobody_and_hears_of_it_when_it_is_back() {
    let outside = Outside::start().await;
    let address = format!("127.0.0.1:{}", free_port());
    let endpoint = format!("http://{address}/base");
    let service = Service::start_with(&outside, &[(ENDPOINT, &endpoint)]).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": echo() })).await;
    outside.ask(Say::direct("robot", "ann", "meanwhile"), "meanwhile").await;
    let undelivered = async || service.metric("dt_spans_total", "undelivered").await;
    wait_until("spans are given up", LIMIT, async || undelivered().await > 0.0).await;
    let collector = Collector::listen(&address).await;
    let said = outside.say(Say::direct("robot", "ann", "later"));
    let trace = trace_of("robot", &said.msg_id);
    collector.spans_with(|span| span.trace == trace && span.name == "send").await;
    wait_until("it is counted", LIMIT, async || {
        service.metric("dt_spans_total", "sent").await > 0.0
    })
    .await;
    service.finish().await;
}

#[tokio::test]
async fn every_message_of_many_has_its_trace_to_the_end() {
    const MESSAGES: usize = 300;
    let (outside, collector) = (Outside::start().await, Collector::start().await);
    let endpoint = collector.endpoint();
    let settings = [(ENDPOINT, endpoint.as_str()), ("DT_SEND_RATE", "0"), ("DT_WEBHOOK_RATE", "0")];
    let mut service = Service::start_with(&outside, &settings).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": echo() })).await;
    let say = |n| outside.say(Say::direct("robot", &format!("person{}", n % 50), &format!("{n}")));
    let said: Vec<_> = (0..MESSAGES).map(say).collect();
    let answered = || outside.cloud.replies().len();
    wait_until("all are answered", LIMIT, async || answered() >= MESSAGES).await;
    service.settled().await;
    assert!(service.metric("dt_spans_total", "dropped").await < 0.5);
    assert_eq!(service.program().terminate().await.code(), Some(0));
    let spans = collector.spans();
    let told: BTreeSet<_> = spans.iter().map(|span| (&*span.trace, &*span.name)).collect();
    for said in said {
        let trace = trace_of("robot", &said.msg_id);
        for name in ["accept", "intake", "run", "invoke", "send"] {
            assert!(told.contains(&(trace.as_str(), name)), "{name} of {said:?}");
        }
    }
}

#[tokio::test]
async fn a_collector_that_never_answers_does_not_keep_the_process_from_ending() {
    let outside = Outside::start().await;
    // It is connected to, and that is all.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let settings = [(ENDPOINT, endpoint.as_str()), ("DT_DRAIN_SECONDS", "3")];
    let mut service = Service::start_with(&outside, &settings).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": echo() })).await;
    outside.ask(Say::direct("robot", "ann", "hello"), "hello").await;
    service.settled().await;
    let told = Instant::now();
    let status = service.program().terminate().await;
    assert_eq!(status.code(), Some(0), "{}", service.program().complained());
    // Without its limit it would have waited twice for the collector's 10 s.
    assert!(told.elapsed() < Duration::from_secs(15), "{:?}", told.elapsed());
    assert!(service.program().complained().contains("spans were not sent"));
}
