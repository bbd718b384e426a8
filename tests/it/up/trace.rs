//! One trace from DingTalk's message to the expert: whoever looks at a record sees what it belongs to.

use async_nats::jetstream::{self, consumer::pull::OrderedConfig};
use dingtalk_trigger::sim::dingtalk::message::Say;
use futures_util::{StreamExt, TryStreamExt};
use serde_json::json;

use crate::support::outside::Outside;
use crate::support::server::connect;
use crate::support::service::{Service, callback};

async fn traces(service: &Service, stream: &str) -> Vec<String> {
    let client = connect(&[service.nats_url()]).await;
    let stream = jetstream::new(client).get_stream(stream).await.expect("a stream");
    let count = usize::try_from(stream.cached_info().state.messages).expect("few messages");
    let consumer = stream.create_consumer(OrderedConfig::default()).await.expect("a consumer");
    let messages = consumer.messages().await.expect("messages");
    let messages: Vec<_> = messages.take(count).try_collect().await.expect("messages");
    let trace = |message: &jetstream::Message| {
        let headers = message.headers.as_ref().expect("headers");
        headers.get("traceparent").map(ToString::to_string).unwrap_or_default()
    };
    messages.iter().map(trace).collect()
}

#[tokio::test]
async fn a_message_has_one_trace_in_the_log_the_journal_and_the_call_of_its_expert() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    let window = json!({ "runtime": callback(&outside), "summaryWindowSeconds": 1 });
    service.admin().publish("expert", "robot", &window).await;
    outside.ask(Say::direct("robot", "ann", "hello"), "You said: hello").await;
    service.settled().await;
    let logged = traces(&service, "DT_IN").await;
    let [trace] = logged.as_slice() else { panic!("{logged:?}") };
    assert_eq!(trace.len(), 55, "{trace}");
    // The timer of its window handed it on to the token, and that to the slot.
    let recorded = traces(&service, "DT_JOURNAL").await;
    assert!(recorded.len() >= 3 && recorded.iter().all(|one| one == trace), "{recorded:?}");
    // An expert is asked to record it; a broker is not.
    let (ids, flags) = trace.rsplit_once('-').expect("flags");
    assert_eq!((flags, &outside.expert.calls()[0].trace), ("00", &format!("{ids}-01")));
    service.finish().await;
}
