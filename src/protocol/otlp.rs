//! Spans in the form of OTLP, the protocol of OpenTelemetry: protobuf over HTTP.
//!
//! Only the fields that we fill or read, by the numbers of `opentelemetry/proto/trace/v1/trace.proto`, which
//! never change; a test reads the bytes with the project's own types. Sending them is `io::otlp`'s.

use prost::Message;

use crate::domain::span::{Kind, Moment, Span, Spot, Value};

/// Behind the address of a collector.
pub const PATH: &str = "/v1/traces";
pub const CONTENT_TYPE: &str = "application/x-protobuf";

/// The body of one request: `spans` of one process, which `resource` describes.
pub fn encode(resource: &[(&'static str, String)], spans: Vec<Span>) -> Vec<u8> {
    let text = |(key, value): &(&'static str, String)| attribute(key, Value::Text(value.clone()));
    let resource = wire::Resource { attributes: resource.iter().map(text).collect() };
    let scope = wire::Scope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let spans = spans.into_iter().map(span).collect();
    let of_scope = wire::ScopeSpans { scope: Some(scope), spans };
    let of_resource = wire::ResourceSpans { resource: Some(resource), scopes: vec![of_scope] };
    wire::Request { resources: vec![of_resource] }.encode_to_vec()
}

/// How many spans of a request the collector says that it did not take.
pub fn rejected(response: &[u8]) -> u64 {
    let partial = wire::Response::decode(response).ok().and_then(|response| response.partial);
    partial.map_or(0, |partial| u64::try_from(partial.rejected).unwrap_or(0))
}

fn span(span: Span) -> wire::Span {
    wire::Span {
        trace: span.spot.trace.0.to_vec(),
        span: span.spot.span.0.to_vec(),
        parent: span.parent.map(|parent| parent.0.to_vec()).unwrap_or_default(),
        name: span.name.to_owned(),
        kind: match span.kind {
            Kind::Internal => 1,
            Kind::Server => 2,
            Kind::Client => 3,
            Kind::Consumer => 5,
        },
        began_ns: span.began_ns,
        ended_ns: span.ended_ns,
        attributes: span.attributes.into_iter().map(|(key, value)| attribute(key, value)).collect(),
        events: span.moments.into_iter().map(event).collect(),
        links: span.links.into_iter().map(link).collect(),
        status: span.failure.map(|why| wire::Status { message: why.to_owned(), code: ERROR }),
    }
}

/// The status code of what failed; nothing is said of what did not.
const ERROR: i32 = 2;

fn attribute(key: &'static str, value: Value) -> wire::KeyValue {
    let value = match value {
        Value::Text(text) => wire::any::Value::Text(text),
        Value::Number(number) => wire::any::Value::Number(number),
    };
    wire::KeyValue { key: key.to_owned(), value: Some(wire::Any { value: Some(value) }) }
}

fn event(Moment { name, at_ns }: Moment) -> wire::Event {
    wire::Event { at_ns, name: name.to_owned() }
}

fn link(Spot { trace, span }: Spot) -> wire::Link {
    wire::Link { trace: trace.0.to_vec(), span: span.0.to_vec() }
}

mod wire {
    use prost::{Message, Oneof};

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Request {
        #[prost(message, repeated, tag = "1")]
        pub(super) resources: Vec<ResourceSpans>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Response {
        #[prost(message, optional, tag = "1")]
        pub(super) partial: Option<Partial>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Partial {
        #[prost(int64, tag = "1")]
        pub(super) rejected: i64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct ResourceSpans {
        #[prost(message, optional, tag = "1")]
        pub(super) resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub(super) scopes: Vec<ScopeSpans>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub(super) attributes: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct ScopeSpans {
        #[prost(message, optional, tag = "1")]
        pub(super) scope: Option<Scope>,
        #[prost(message, repeated, tag = "2")]
        pub(super) spans: Vec<Span>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Scope {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) version: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Span {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) trace: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) span: Vec<u8>,
        #[prost(bytes = "vec", tag = "4")]
        pub(super) parent: Vec<u8>,
        #[prost(string, tag = "5")]
        pub(super) name: String,
        #[prost(int32, tag = "6")]
        pub(super) kind: i32,
        #[prost(fixed64, tag = "7")]
        pub(super) began_ns: u64,
        #[prost(fixed64, tag = "8")]
        pub(super) ended_ns: u64,
        #[prost(message, repeated, tag = "9")]
        pub(super) attributes: Vec<KeyValue>,
        #[prost(message, repeated, tag = "11")]
        pub(super) events: Vec<Event>,
        #[prost(message, repeated, tag = "13")]
        pub(super) links: Vec<Link>,
        #[prost(message, optional, tag = "15")]
        pub(super) status: Option<Status>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Event {
        #[prost(fixed64, tag = "1")]
        pub(super) at_ns: u64,
        #[prost(string, tag = "2")]
        pub(super) name: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Link {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) trace: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) span: Vec<u8>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Status {
        #[prost(string, tag = "2")]
        pub(super) message: String,
        #[prost(int32, tag = "3")]
        pub(super) code: i32,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct KeyValue {
        #[prost(string, tag = "1")]
        pub(super) key: String,
        #[prost(message, optional, tag = "2")]
        pub(super) value: Option<Any>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Any {
        #[prost(oneof = "any::Value", tags = "1, 3")]
        pub(super) value: Option<any::Value>,
    }

    pub(super) mod any {
        use super::Oneof;

        #[derive(Clone, PartialEq, Oneof)]
        pub(in super::super) enum Value {
            #[prost(string, tag = "1")]
            Text(String),
            #[prost(int64, tag = "3")]
            Number(i64),
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1 as official;
    use opentelemetry_proto::tonic::common::v1::any_value;

    use super::*;
    use crate::domain::span::{SpanId, TraceId};

    #[test]
    fn the_official_types_read_what_is_written() {
        let spot = Spot { trace: TraceId([1; 16]), span: SpanId([2; 8]) };
        let linked = Spot { trace: TraceId([4; 16]), span: SpanId([5; 8]) };
        let span = Span {
            spot,
            parent: Some(SpanId([3; 8])),
            name: "run",
            kind: Kind::Client,
            began_ns: 7,
            ended_ns: 9,
            attributes: vec![
                ("turn.id", Value::Text("t".to_owned())),
                ("attempt", Value::Number(2)),
            ],
            moments: vec![Moment { name: "answered", at_ns: 8 }],
            links: vec![linked],
            failure: Some("runtime_timeout"),
        };
        let bytes = encode(&[("service.name", "it".to_owned())], vec![span]);
        let read = official::ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap();
        let of_resource = &read.resource_spans[0];
        let service = &of_resource.resource.as_ref().unwrap().attributes[0];
        assert_eq!(service.key, "service.name");
        let span = &of_resource.scope_spans[0].spans[0];
        assert_eq!(
            (&span.trace_id[..], &span.span_id[..], &span.parent_span_id[..]),
            (&[1; 16][..], &[2; 8][..], &[3; 8][..])
        );
        assert_eq!((span.name.as_str(), span.kind), ("run", 3));
        assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (7, 9));
        let values: Vec<_> =
            span.attributes.iter().map(|it| it.value.clone().unwrap().value.unwrap()).collect();
        let expected =
            [any_value::Value::StringValue("t".to_owned()), any_value::Value::IntValue(2)];
        assert_eq!(values, expected);
        assert_eq!((span.events[0].name.as_str(), span.events[0].time_unix_nano), ("answered", 8));
        assert_eq!(
            (&span.links[0].trace_id[..], &span.links[0].span_id[..]),
            (&[4; 16][..], &[5; 8][..])
        );
        let status = span.status.as_ref().unwrap();
        assert_eq!((status.message.as_str(), status.code), ("runtime_timeout", 2));
    }

    #[test]
    fn what_a_collector_did_not_take_is_read_from_its_answer() {
        let partial = official::ExportTracePartialSuccess {
            rejected_spans: 3,
            error_message: "no room".to_owned(),
        };
        let answer = official::ExportTraceServiceResponse { partial_success: Some(partial) };
        assert_eq!(rejected(&answer.encode_to_vec()), 3);
        assert_eq!((rejected(b""), rejected(b"{\"not\":\"protobuf\"}")), (0, 0));
    }
}
