//! What the webhook promises when something is away: no success without the log, and no lasting refusal.

use std::time::Duration;

use dingtalk_trigger::domain::binding::{Integration, Mode};
use dingtalk_trigger::domain::entry::Entry;
use dingtalk_trigger::domain::secret::Secret;
use tokio::time::Instant;

use crate::edge::{Bench, assert_empty, integration, message, note};
use crate::support::wait::wait_until;

#[tokio::test]
async fn without_the_broker_the_answer_is_503_in_time_and_the_retry_is_stored_once() {
    let mut bench = Bench::start().await;
    assert_empty(bench.plain(&message("m1", "one")).send().await.unwrap()).await;
    bench.nats.kill();
    // A busy machine adds to the time of an answer and never takes away: the fastest shows ours.
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let started = Instant::now();
        let response = bench.plain(&message("m2", "two")).send().await.unwrap();
        fastest = fastest.min(started.elapsed());
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "1");
        let body: serde_json::Value = response.json().await.unwrap();
        assert_eq!(body["error"]["code"], "NOT_DURABLE");
    }
    assert!(fastest < Duration::from_millis(1500), "{fastest:?}");
    bench.nats.restart().await;
    wait_until("the retry is accepted", Duration::from_secs(30), async || {
        let retry = bench.plain(&message("m2", "two")).send().await;
        retry.is_ok_and(|response| response.status() == 200)
    })
    .await;
    let ids: Vec<String> = bench.logged().await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["http:m1", "http:m2"]);
    bench.finish().await;
}

#[tokio::test]
async fn a_secret_that_was_just_changed_is_read_again_before_it_is_refused() {
    let bench = Bench::start().await;
    let next =
        Integration { client_secret: Secret::new("rotated"), ..integration("http", Mode::Http) };
    // Nobody tells this process: it holds the old secret in memory.
    assert_empty(bench.plain(&message("m1", "one")).send().await.unwrap()).await;
    let record = bench.store.integration(&next.id).await.unwrap().unwrap();
    bench.store.update_integration(&record, &next, &note()).await.unwrap();
    let request = bench.signed("rotated", bench.now()).json(&message("m2", "two"));
    assert_empty(request.send().await.unwrap()).await;
    let old = bench.plain(&message("m3", "three")).send().await.unwrap();
    assert_eq!(old.status(), 401);
    assert_eq!(bench.logged().await.len(), 2);
    bench.finish().await;
}

#[tokio::test]
async fn known_integrations_are_taken_while_the_database_is_away() {
    let bench = Bench::start().await;
    assert_empty(bench.plain(&message("m1", "one")).send().await.unwrap()).await;
    bench.store.close().await;
    assert_empty(bench.plain(&message("m2", "two")).send().await.unwrap()).await;
    let unknown = bench.client.post(bench.webhook("unknown")).send().await.unwrap();
    assert_eq!(unknown.status(), 503);
    assert_eq!(bench.logged().await.len(), 2);
    bench.finish().await;
}

#[tokio::test]
async fn many_at_once_are_each_stored_once() {
    let bench = Bench::start().await;
    let sends = (0..60).map(|number| {
        let request = bench.plain(&message(&format!("m{}", number % 30), "text"));
        async { assert_empty(request.send().await.unwrap()).await }
    });
    futures_util::future::join_all(sends).await;
    let logged = bench.logged().await;
    assert_eq!(logged.len(), 30);
    assert!(logged.iter().all(|(_, entry)| matches!(entry, Entry::Message(_))));
    bench.finish().await;
}
