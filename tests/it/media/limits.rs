//! Limits on files: their size, their number, their time.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use dingtalk_trigger::io::runtime::Outcome;
use dingtalk_trigger::sim::dingtalk::fault::{self, Fault};
use futures_util::stream;
use serde_json::json;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::media::stand::{FILE_MAX_BYTES, FILES_MAX, Stand, message, picture};

/// Less than a file has to come.
const LIMIT: Duration = Duration::from_secs(20);

fn large() -> Vec<u8> {
    vec![b'x'; usize::try_from(FILE_MAX_BYTES).expect("it fits") + 1]
}

fn rich(items: serde_json::Value) -> serde_json::Value {
    let mut body = json!({"msgtype": "richText", "content": {}});
    body["content"]["richText"] = items;
    message(body)
}

#[tokio::test]
async fn a_file_over_the_limit_is_told_to_the_expert_and_counted() {
    let stand = Stand::start().await;
    let exact = vec![b'x'; usize::try_from(FILE_MAX_BYTES).unwrap()];
    let said = rich(json!([
        {"text": "read "},
        {"type": "picture", "downloadCode": stand.cloud.put_file("x", large())},
        {"type": "picture", "downloadCode": stand.cloud.put_file("x", exact)},
    ]));
    let input = stand.input(&[said]).await;
    assert_eq!(input["text"], "read [picture 1 (too large)][picture 2]");
    let files = &input["messages"][0]["files"];
    assert_eq!((&files[0]["error"], &files[0]["number"]), (&json!("too_large"), &json!(1)));
    assert_eq!(files[1]["size"], FILE_MAX_BYTES, "the limit itself is allowed");
    assert_eq!(stand.counted(r#"dt_limit_breaches_total{limit="media_bytes"}"#), 1);
    assert_eq!(stand.counted(r#"dt_media_total{result="too_large"}"#), 1);
}

#[tokio::test]
async fn who_sends_nothing_but_a_file_over_the_limit_is_told_so() {
    let stand = Stand::start().await;
    let said = picture(&stand.cloud.put_file("x", large()));
    for kind in [stand.callback(), stand.xpert()] {
        let outcome = stand.ask(kind, std::slice::from_ref(&said), CancellationToken::new()).await;
        let Ok(Outcome::Answer(answer)) = outcome else { panic!("no answer: {outcome:?}") };
        assert_eq!(answer.text, "The file is too large to be read. Please send a smaller one.");
    }
    assert_eq!(stand.expert.calls().len() + stand.xpert.calls().len(), 0, "nobody was asked");
}

#[tokio::test]
async fn a_store_that_hides_how_long_a_file_is_cannot_send_more_than_the_limit() {
    let chunks = || stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 4096])));
    let app =
        Router::new().route("/endless", get(move || async move { Body::from_stream(chunks()) }));
    let helper = Stand::start().await;
    let address = helper.serve(app).await;
    let stand = Stand::start_with(&address).await;
    stand.lead_to(&format!("http://{address}/endless"));
    let said = rich(json!([{"text": "a"}, {"type": "picture", "downloadCode": "c"}]));
    assert_eq!(stand.input(&[said]).await["text"], "a[picture 1 (too large)]");
}

#[tokio::test]
async fn ten_thousand_segments_are_one_question_and_a_few_files() {
    let stand = Stand::start().await;
    let code = stand.cloud.put_file("x", "GIF89a\u{1}");
    let items: Vec<_> = (0..10_000)
        .map(|index| match index % 2 {
            0 => json!({"text": "字"}),
            _ => json!({"type": "picture", "downloadCode": code}),
        })
        .collect();
    let input = stand.input(&[rich(json!(items))]).await;
    let text = input["text"].as_str().unwrap();
    assert_eq!(text.matches('字').count(), 5000);
    assert!(text.ends_with(&format!("\n[{} more not passed on: too many]", 5000 - FILES_MAX)));
    assert_eq!(input["messages"][0]["files"].as_array().unwrap().len(), FILES_MAX);
    assert_eq!(stand.counted(r#"dt_limit_breaches_total{limit="turn_files"}"#), 1);
    assert_eq!(stand.counted(r#"dt_media_total{result="too_many"}"#), 5000 - FILES_MAX as u64);
}

#[tokio::test]
async fn a_file_that_does_not_come_is_given_up_and_holds_up_nobody_else() {
    let stand = Stand::start_in("", Duration::from_secs(2)).await;
    let code = stand.cloud.put_file("x", "GIF89a\u{1}");
    stand.cloud.fault(Fault::new("file", fault::Outcome::Hang));
    let started = Instant::now();
    let (slow, other) =
        (picture(&code), message(json!({"msgtype": "text", "text": {"content": "hi"}})));
    let slow = async {
        let detail = stand.failure(&[slow]).await;
        assert!(detail.contains("it took too long"), "{detail}");
        started.elapsed()
    };
    let other = async {
        assert_eq!(stand.input(&[other]).await["text"], "hi");
        started.elapsed()
    };
    let (slow, other) = tokio::join!(slow, other);
    assert!(other < slow, "{other:?} {slow:?}");
    assert_eq!(stand.counted(r#"dt_media_total{result="failed"}"#), 1);
}

#[tokio::test]
async fn cancelling_ends_a_download() {
    let stand = Stand::start().await;
    stand.cloud.fault(Fault::new("download", fault::Outcome::Hang));
    let cancel = CancellationToken::new();
    let said = [picture("code")];
    let asked = stand.ask(stand.callback(), &said, cancel.clone());
    let cancelled = async {
        let is_faulted = |record: &dingtalk_trigger::sim::dingtalk::record::Record| {
            record.kind == dingtalk_trigger::sim::dingtalk::record::Kind::Faulted
        };
        stand.cloud.wait_for(LIMIT, is_faulted).await.expect("the download began");
        cancel.cancel();
    };
    let (outcome, ()) = timeout(LIMIT, async { tokio::join!(asked, cancelled) })
        .await
        .expect("the call ends before the file's own time");
    assert_eq!(outcome, Ok(Outcome::Cancelled));
    assert!(stand.expert.calls().is_empty());
}
