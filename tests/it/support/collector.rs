//! A collector of traces, played over a socket: it takes what is posted by OTLP and reads it with
//! OpenTelemetry's own types.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use data_encoding::HEXLOWER;
use dingtalk_trigger::context::{Clock, Context};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;

use crate::support::program::LIMIT;
use crate::support::wait::wait_for;

/// Where a test's collector lives below its address.
const BASE: &str = "/base";

pub(crate) struct Collector {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
    context: Context,
}

/// One request, and what it said.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A span with its ids in hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) name: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) events: Vec<String>,
    /// Traces that it is linked with.
    pub(crate) links: Vec<String>,
    pub(crate) failure: Option<String>,
    pub(crate) began_ns: u64,
    pub(crate) ended_ns: u64,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        Self::listen("127.0.0.1:0").await
    }

    pub(crate) async fn listen(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("listen for spans");
        let address = listener.local_addr().expect("an address").to_string();
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let router = Router::new()
            .route(&format!("{BASE}/v1/traces"), post(take))
            .with_state(requests.clone());
        let context = Context::new(Clock::system());
        let stop = context.stop().clone();
        context.spawn(async move {
            stop.run_until_cancelled(axum::serve(listener, router).into_future()).await
        });
        Self { address, requests, context }
    }

    /// What an operator sets.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}{BASE}/", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("nobody panics in it").clone()
    }

    pub(crate) fn spans(&self) -> Vec<Seen> {
        self.requests().iter().flat_map(Request::spans).collect()
    }

    /// All spans, once there is one that fits.
    pub(crate) async fn spans_with(&self, fits: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        wait_for("a span", LIMIT, async || Some(self.spans()).filter(|all| all.iter().any(&fits)))
            .await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.context.stop().cancel();
    }
}

impl Request {
    fn read(&self) -> ExportTraceServiceRequest {
        ExportTraceServiceRequest::decode(self.body.clone()).expect("OTLP")
    }

    /// What every span of it says of its process.
    pub(crate) fn resource(&self) -> BTreeMap<String, String> {
        let resource = self.read().resource_spans.remove(0).resource.expect("a resource");
        attributes(&resource.attributes)
    }

    pub(crate) fn spans(&self) -> Vec<Seen> {
        let resources = self.read().resource_spans.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).map(seen).collect()
    }
}

fn seen(span: Span) -> Seen {
    Seen {
        trace: HEXLOWER.encode(&span.trace_id),
        id: HEXLOWER.encode(&span.span_id),
        parent: HEXLOWER.encode(&span.parent_span_id),
        name: span.name,
        attributes: attributes(&span.attributes),
        events: span.events.into_iter().map(|event| event.name).collect(),
        links: span.links.iter().map(|link| HEXLOWER.encode(&link.trace_id)).collect(),
        failure: span.status.filter(|status| status.code == 2).map(|status| status.message),
        began_ns: span.start_time_unix_nano,
        ended_ns: span.end_time_unix_nano,
    }
}

fn attributes(list: &[KeyValue]) -> BTreeMap<String, String> {
    let show = |one: &KeyValue| {
        let value = match one.value.clone().and_then(|value| value.value) {
            Some(any_value::Value::StringValue(text)) => text,
            Some(any_value::Value::IntValue(number)) => number.to_string(),
            other => panic!("{other:?}"),
        };
        (one.key.clone(), value)
    };
    list.iter().map(show).collect()
}

async fn take(
    State(requests): State<Arc<Mutex<Vec<Request>>>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    requests.lock().expect("nobody panics in it").push(Request { headers, body });
    StatusCode::OK
}
