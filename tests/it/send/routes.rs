//! Which way an answer takes, and to which hosts nothing ever goes.

use std::net::TcpListener;
use std::time::Duration;

use axum::Router;
use axum::response::Redirect;
use axum::routing::post;
use dingtalk_trigger::domain::entry::Origin;
use dingtalk_trigger::domain::inbound::SessionWebhook;
use dingtalk_trigger::io::dingtalk::failure::SendClass;
use dingtalk_trigger::sim::dingtalk::fault::Fault;
use serde_json::json;

use super::{Bench, HOUR, done, gone, told};

#[tokio::test]
async fn a_session_that_is_gone_is_left_for_the_api_within_the_same_call() {
    let bench = Bench::start().await;
    let refusals = [
        Fault::preset("webhook", "sessionGone"),
        told("webhook", 200, json!({ "errcode": "300001" })),
        told("webhook", 400, json!({ "code": "session.expired" })),
    ];
    for refusal in refusals {
        for (origin, route) in [(bench.alone(), "oto"), (bench.grouped(), "group")] {
            bench.sim.fault(refusal.clone());
            let sent = bench.send(&origin).await.unwrap();
            assert_eq!(sent.route, route);
            assert!(sent.query_key.is_some(), "the API says how to recall the message");
            assert_eq!(bench.seen().last().unwrap().0, route);
        }
    }
    assert_eq!(bench.seen().len(), 6, "each was sent once");
}

#[tokio::test]
async fn what_the_webhook_refuses_for_permission_or_address_goes_by_the_api() {
    let bench = Bench::start().await;
    let denied = "错误描述:机器人权限校验不通过;解决方案:请登陆开放平台后台";
    let refusals = [
        Fault::preset("webhook", "tooFast"),
        told("webhook", 200, json!({ "errcode": 400_101 })),
        told("webhook", 200, json!({ "errcode": 400_106 })),
        told("webhook", 200, json!({ "errcode": 43_004 })),
        told("webhook", 200, json!({ "errcode": 99_999, "errmsg": denied })),
        told("webhook", 200, json!({ "errcode": 99_999, "errmsg": "new" })),
        told("webhook", 404, json!("<html>not found</html>")),
        told("webhook", 403, json!({ "message": "no" })),
    ];
    for (sent, refusal) in (1..).zip(refusals) {
        let name = format!("{refusal:?}");
        bench.sim.fault(refusal);
        assert_eq!(bench.send(&bench.alone()).await.unwrap().route, "oto", "{name}");
        assert_eq!(bench.seen().len(), sent, "{name}");
    }
}

#[tokio::test]
async fn what_the_api_refuses_for_permission_goes_by_the_webhook_while_it_lives() {
    let bench = Bench::start().await;
    let forbidden = |api, code: &str| {
        told(api, 403, json!({ "code": format!("Forbidden.AccessDenied.{code}") }))
    };
    let refusals = [
        (forbidden("oto", "IpNotInWhiteList"), SendClass::Permanent),
        (forbidden("oto", "AccessTokenPermissionDenied"), SendClass::Permanent),
        (forbidden("oto", "orgAuthLevelNotEnough"), SendClass::Permanent),
        (forbidden("oto", "ApiCountLimitForOrg"), SendClass::Quota),
        (forbidden("oto", "SomethingNew"), SendClass::Unknown),
        (told("oto", 400, json!({ "errcode": 60_020 })), SendClass::Permanent),
        (told("oto", 400, json!({ "errcode": 90_020 })), SendClass::Quota),
    ];
    let mut origin = bench.alone();
    for (refusal, class) in refusals {
        let name = format!("{refusal:?}");
        for (left_s, expected) in [(200, Ok("webhook")), (0, Err(class))] {
            let now = bench.context.clock.now();
            origin.webhook.as_mut().unwrap().expires_at = now.after(Duration::from_secs(left_s));
            bench.sim.fault(refusal.clone());
            let sent = bench.send(&origin).await;
            let found = sent.map(|sent| sent.route).map_err(|failed| failed.class);
            assert_eq!(found, expected, "{name}, {left_s} s are left");
        }
    }
}

#[tokio::test]
async fn of_two_refusals_the_more_hopeful_one_counts_and_both_are_told() {
    let bench = Bench::start().await;
    bench.sim.fault(Fault::preset("webhook", "tooFast"));
    bench.sim.fault(Fault::preset("oto", "ipDenied"));
    let failed = bench.send(&bench.alone()).await.unwrap_err();
    assert_eq!(failed.class, SendClass::Retryable { after: Some(Duration::from_secs(10)) });
    let detail = failed.detail.expose();
    assert!(detail.contains("410100"), "{detail}");
    assert!(detail.contains("IpNotInWhiteList"), "{detail}");
    assert!(bench.seen().is_empty());
}

#[tokio::test]
async fn a_session_that_is_gone_in_truth_is_noticed_without_a_fault() {
    let bench = Bench::start().await;
    let mut origin = bench.alone();
    let url = format!("{}/robot/sendBySession?session=unknown", bench.sim.url());
    origin.webhook.as_mut().unwrap().url = url;
    assert_eq!(bench.send(&origin).await.unwrap().route, "oto");
}

#[tokio::test]
async fn a_code_in_quotes_is_a_code() {
    let bench = Bench::start().await;
    bench.sim.fault(done("webhook", 200, json!({ "errcode": "0", "errmsg": "ok" })));
    assert_eq!(bench.send(&bench.alone()).await.unwrap().route, "webhook");
    bench.sim.fault(told("webhook", 200, json!({ "errcode": "400105" })));
    let refused = bench.send(&bench.alone()).await.unwrap_err();
    assert_eq!((refused.class, refused.is_ambiguous), (SendClass::Permanent, false));
    assert_eq!(bench.seen().len(), 1);
}

#[tokio::test]
async fn a_webhook_that_is_about_to_expire_is_not_tried() {
    let bench = Bench::start().await;
    let mut origin = bench.alone();
    let table = [(0, "oto"), (299, "oto"), (310, "webhook"), (3600, "webhook")];
    for (left_s, route) in table {
        let now = bench.context.clock.now();
        origin.webhook.as_mut().unwrap().expires_at = now.after(Duration::from_secs(left_s));
        assert_eq!(bench.send(&origin).await.unwrap().route, route, "{left_s} s are left");
        assert_eq!(bench.seen().last().unwrap().0, route);
    }
}

#[tokio::test]
async fn where_no_way_is_open_the_answer_is_undeliverable_at_once() {
    let bench = Bench::start().await;
    bench.sim.fault(told("webhook", 200, gone()));
    let mut origin = bench.alone();
    origin.sender.staff_id = None;
    let refused = bench.send(&origin).await.unwrap_err();
    assert_eq!((refused.class, refused.is_ambiguous), (SendClass::Permanent, false));
    assert!(bench.seen().is_empty());
}

/// A host that is not on the list and tells whether anybody came.
struct Foreign(TcpListener);

impl Foreign {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket may be asked without waiting");
        Self(listener)
    }

    fn url(&self) -> String {
        let address = self.0.local_addr().expect("a bound socket has an address");
        format!("http://{address}/robot/sendBySession?session=x")
    }

    fn was_contacted(&self) -> bool {
        self.0.accept().is_ok()
    }
}

#[tokio::test]
async fn a_host_that_is_not_listed_is_never_contacted_and_the_api_is_used() {
    let bench = Bench::start().await;
    let foreign = Foreign::start();
    let port = foreign.url().split([':', '/']).nth(4).unwrap().to_owned();
    let listed = bench.sim.url().trim_start_matches("http://").to_owned();
    let urls = [
        foreign.url(),
        foreign.url().replace("127.0.0.1", "localhost"),
        format!("http://{listed}@127.0.0.1:{port}/"),
        format!("https://127.0.0.1:{port}/#{listed}"),
        "file:///etc/passwd".to_owned(),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        String::new(),
    ];
    for (index, url) in urls.into_iter().enumerate() {
        let expires_at = bench.context.clock.now().after(HOUR);
        let webhook = Some(SessionWebhook { url: url.clone(), expires_at });
        let origin = Origin { webhook, ..bench.alone() };
        assert_eq!(bench.send(&origin).await.unwrap().route, "oto", "{url}");
        assert_eq!(bench.refused_hosts(), index as u64 + 1, "{url} is counted");
    }
    assert!(!foreign.was_contacted());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let foreign = Foreign::start();
    let to = foreign.url();
    let redirect = move || async move { Redirect::temporary(&to) };
    let app = Router::new()
        .route(
            "/v1.0/oauth2/accessToken",
            post(|| async { r#"{"accessToken":"t","expireIn":7200}"# }),
        )
        .route("/v1.0/robot/oToMessages/batchSend", post(redirect));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    let bench = Bench::with(|_| api.clone()).await;
    drop(bench.context.spawn(async move { axum::serve(listener, app).await }));
    let origin = Origin { webhook: None, ..bench.alone() };
    let failed = bench.send(&origin).await.unwrap_err();
    assert_eq!(failed.class, SendClass::Retryable { after: None });
    assert!(!foreign.was_contacted());
}
