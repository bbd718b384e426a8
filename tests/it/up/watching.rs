//! What an operator's tools read: the health endpoint and the metrics, by the names they rely on.

use dingtalk_trigger::config::settings::SETTINGS;
use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::expert::Next;
use serde_json::json;
use tempfile::TempDir;

use crate::support::outside::Outside;
use crate::support::program::{LIMIT, Program};
use crate::support::service::{Service, callback};
use crate::support::wait::wait_until;

/// The series that dashboards and alerts are made of, each with its labels.
const SERIES: [&str; 16] = [
    r#"dt_inbound_total{integration="robot",mode="stream",result="accepted"}"#,
    "dt_accept_seconds_count",
    r#"dt_stage_seconds_count{stage="intake"}"#,
    r#"dt_stage_seconds_count{stage="dispatch"}"#,
    r#"dt_turns_total{result="delivered"}"#,
    "dt_turn_seconds_count",
    r#"dt_consumer_pending{stage="intake"}"#,
    r#"dt_stream_connected{integration="robot"}"#,
    r#"dt_stream_last_frame_seconds{integration="robot"}"#,
    r#"dt_sends_total{route="webhook",result="ok"}"#,
    "dt_ambiguous_sends_total",
    r#"dt_dead_total{stage="dispatch",reason="runtime_permanent"}"#,
    r#"dt_parked{reason="busy"}"#,
    r#"dt_parked_oldest_seconds{reason="missing"}"#,
    r#"dt_stage_oldest_seconds{stage="dispatch"}"#,
    r#"dt_limit_breaches_total{limit="body_bytes"}"#,
];

#[tokio::test]
async fn every_metric_that_a_dashboard_needs_has_its_name_and_its_labels() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    service.http_robot(&outside, "hook").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": callback(&outside) })).await;
    outside.ask(Say::direct("robot", "ann", "hello"), "You said: hello").await;
    outside.expert.next(Next::Status { status: 400, retry_after: None, body: String::new() });
    outside.say(Say::direct("robot", "ann", "refused"));
    // Its head promises an envelope, whose signature is proved by its body.
    let at = outside.now_ms();
    let hook = format!("{}?signature=s&timestamp={at}&nonce=n", service.webhook("hook"));
    let large = reqwest::Client::new().post(hook).body("x".repeat(4 << 20));
    assert_eq!(large.send().await.expect("reach the edge").status(), 413);
    let url = |path: &str| format!("http://{}/{path}", service.health);
    wait_until("every series is there", LIMIT, async || {
        let text = reqwest::get(url("metrics")).await.expect("read").text().await.expect("read");
        let missing: Vec<_> =
            SERIES.iter().filter(|name| !text.lines().any(|line| is_series(line, name))).collect();
        assert!(
            text.lines().all(|line| line.starts_with("dt_") || line.starts_with('#')),
            "{text}"
        );
        missing.is_empty()
    })
    .await;
    let live = reqwest::get(url("livez")).await.expect("reach it");
    assert_eq!(live.status(), 200);
    service.finish().await;
}

/// Labels in any order.
fn is_series(line: &str, wanted: &str) -> bool {
    let parts = |text: &str| {
        let (name, labels) = text.split_once('{').unwrap_or((text, ""));
        let mut labels: Vec<_> =
            labels.trim_end_matches('}').split(',').map(str::to_owned).collect();
        labels.sort();
        (name.to_owned(), labels)
    };
    line.rsplit_once(' ').is_some_and(|(series, _)| parts(series) == parts(wanted))
}

#[tokio::test]
async fn help_lists_every_setting_with_its_default() {
    let directory = TempDir::new().expect("create a directory");
    let mut program = Program::start(directory.path(), "help", &["--help"], &[]);
    assert_eq!(program.ended().await.code(), Some(0));
    let said = program.said();
    for setting in SETTINGS {
        let line = said.lines().find(|line| line.trim_start().starts_with(setting.name));
        let line = line.unwrap_or_else(|| panic!("{} is not listed:\n{said}", setting.name));
        assert!(line.contains(setting.default), "{line}");
    }
}
