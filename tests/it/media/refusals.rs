//! Files that cannot be had: told where they never will be, tried again where they may be; and addresses
//! that are not followed (I11).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::get;
use dingtalk_trigger::sim::dingtalk::fault::{self, Fault};
use serde_json::{Value, json};

use crate::media::stand::{Stand, message};

const GIF: &str = "GIF89a\u{1}";

fn see(code: &str) -> [Value; 1] {
    let items = json!([{"text": "see "}, {"type": "picture", "downloadCode": code}]);
    [message(json!({"msgtype": "richText", "content": {"richText": items}}))]
}

async fn assert_told(stand: &Stand, code: &str, what: &str) {
    let input = stand.input(&see(code)).await;
    assert_eq!(input["text"], "see [picture 1 (could not be read)]", "{what}");
    assert_eq!(input["messages"][0]["files"][0]["error"], "unreadable", "{what}");
}

#[tokio::test]
async fn only_addresses_on_the_list_are_followed_and_no_redirects() {
    let helper = Stand::start().await;
    let hits = Arc::new(AtomicU32::new(0));
    let hit = hits.clone();
    let secret = move || async move {
        hit.fetch_add(1, Ordering::Relaxed);
        GIF
    };
    let inside = helper.serve(Router::new().route("/secret", get(secret))).await;
    let target = format!("http://{inside}/secret");
    let leads = Router::new().route("/away", get(|| async move { Redirect::temporary(&target) }));
    let listed = helper.serve(leads).await;
    // A listed name without a port must be public; this one is not.
    let stand = Stand::start_with(&format!("{listed},localhost")).await;
    let refused = [
        format!("http://{listed}/away"),
        format!("http://{inside}/secret"),
        "http://localhost/secret".to_owned(),
        "https://localhost/secret".to_owned(),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        format!("http://user:password@{listed}/away"),
        "file:///etc/passwd".to_owned(),
        "no address".to_owned(),
    ];
    for url in &refused {
        stand.lead_to(url);
        assert_told(&stand, "code", url).await;
    }
    assert_eq!(hits.load(Ordering::Relaxed), 0, "nobody was led inside");
    let count = refused.len() as u64;
    assert_eq!(stand.counted(r#"dt_limit_breaches_total{limit="download_hosts"}"#), count);
    assert_eq!(stand.counted(r#"dt_media_total{result="refused"}"#), count);
}

#[tokio::test]
async fn what_never_will_be_had_is_told_and_the_expert_is_asked() {
    let stand = Stand::start().await;
    assert_told(&stand, "expired", "a code that DingTalk does not know").await;
    let code = stand.cloud.put_file("x", GIF);
    stand.cloud.fault(Fault::preset("download", "ipDenied"));
    assert_told(&stand, &code, "an address that DingTalk does not serve").await;
    for status in [403, 404, 410] {
        let body = json!("<Error/>");
        stand.cloud.fault(Fault::new("file", fault::Outcome::Answer { status, body }));
        assert_told(&stand, &code, "a store that refuses").await;
    }
    assert_eq!(stand.counted(r#"dt_media_total{result="unreadable"}"#), 5);
}

#[tokio::test]
async fn what_may_be_had_later_fails_the_attempt_and_the_next_one_has_it() {
    let stand = Stand::start().await;
    let code = stand.cloud.put_file("x", GIF);
    for preset in ["qps", "tooMany", "internal", "unavailable", "timeout"] {
        stand.cloud.fault(Fault::preset("download", preset));
        stand.failure(&see(&code)).await;
    }
    stand.cloud.fault(Fault::new("download", fault::Outcome::Reset));
    stand.failure(&see(&code)).await;
    stand.cloud.fault(Fault::new("file", fault::Outcome::Reset));
    stand.failure(&see(&code)).await;
    let status = StatusCode::SERVICE_UNAVAILABLE.as_u16();
    stand.cloud.fault(Fault::new("file", fault::Outcome::Answer { status, body: json!("busy") }));
    stand.failure(&see(&code)).await;
    assert!(stand.expert.calls().is_empty(), "half a question is not asked");
    assert_eq!(stand.input(&see(&code)).await["text"], "see [picture 1]");
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let stand = Stand::start().await;
    let code = stand.cloud.put_file("x", GIF);
    assert_eq!(stand.input(&see(&code)).await["text"], "see [picture 1]");
    stand.cloud.revoke_tokens();
    assert_eq!(stand.input(&see(&code)).await["text"], "see [picture 1]");
    stand.cloud.fault(Fault::preset("download", "unauthorized"));
    assert_eq!(stand.input(&see(&code)).await["text"], "see [picture 1]");
    stand.cloud.fault(Fault::preset("download", "unauthorized").times(2));
    stand.failure(&see(&code)).await;
}

#[tokio::test]
async fn a_file_that_xpert_refuses_is_told_and_one_it_cannot_take_now_comes_again() {
    use dingtalk_trigger::io::runtime::Outcome;
    use dingtalk_trigger::sim::xpert::fault::Fault;
    use tokio_util::sync::CancellationToken;

    let stand = Stand::start().await;
    let code = stand.cloud.put_file("x", GIF);
    let ask = || async { stand.ask(stand.xpert(), &see(&code), CancellationToken::new()).await };
    stand.xpert.fault(Fault::Status { status: 503, retry_after: None });
    assert!(ask().await.is_err());
    assert!(stand.xpert.calls().is_empty());
    stand.xpert.fault(Fault::Status { status: 413, retry_after: None });
    assert!(matches!(ask().await, Ok(Outcome::Answer(_))));
    let call = stand.xpert.calls().pop().expect("a run was asked for");
    let input = &call.body["input"]["message"]["input"];
    assert_eq!(input["input"], "see [picture 1 (could not be read)]");
    assert_eq!(stand.counted(r#"dt_media_total{result="not_taken"}"#), 1);
}
