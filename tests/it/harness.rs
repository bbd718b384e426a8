//! The harness itself: what other tests rely on is shown to work, and to fail where it must.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::{Config, RetentionPolicy};
use futures_util::FutureExt;
use sqlx::{Connection, PgConnection};

use crate::support::cluster::{Cluster, NODES};
use crate::support::database::{Postgres, Sqlite};
use crate::support::logs::Logs;
use crate::support::nats::{Nats, left_over};
use crate::support::wait::wait_until;

/// The slots' stream as far as the harness looks at it.
fn slots() -> Config {
    Config {
        name: "DT_RUN".to_owned(),
        subjects: vec!["dt.run.*.*".to_owned()],
        retention: RetentionPolicy::WorkQueue,
        ..Config::default()
    }
}

#[tokio::test]
async fn a_killed_server_comes_back_with_what_it_confirmed() {
    let mut nats = Nats::start().await;
    nats.leaves_work();
    let jetstream = nats.jetstream().await;
    jetstream.create_stream(slots()).await.unwrap();
    jetstream.publish("dt.run.a.b", "1".into()).await.unwrap().await.unwrap();
    nats.kill();
    nats.restart().await;
    let stream = nats.jetstream().await.get_stream("DT_RUN").await.unwrap();
    assert_eq!(stream.cached_info().state.messages, 1);
    assert!(nats.url().starts_with("nats://127.0.0.1:"));
}

#[tokio::test]
async fn an_occupied_slot_is_left_over_until_it_is_acknowledged() {
    let nats = Nats::start().await;
    let jetstream = nats.jetstream().await;
    let stream = jetstream.create_stream(slots()).await.unwrap();
    let config = pull::Config { durable_name: Some("dispatch".to_owned()), ..Default::default() };
    let consumer = stream.create_consumer(config).await.unwrap();
    assert!(left_over(&jetstream).await.is_empty());
    jetstream.publish("dt.run.a.b", "1".into()).await.unwrap().await.unwrap();
    assert_eq!(
        left_over(&jetstream).await,
        ["1 messages in DT_RUN", "DT_RUN/dispatch: 1 pending, 0 unacknowledged"]
    );
    let mut batch = consumer.fetch().max_messages(1).messages().await.unwrap();
    let message = futures_util::StreamExt::next(&mut batch).await.unwrap().unwrap();
    message.double_ack().await.unwrap();
    nats.assert_settled().await;
    assert!(nats.logs.lines().is_empty());
}

#[tokio::test]
async fn an_error_in_the_log_is_noticed_on_any_thread_of_the_test() {
    let logs = Logs::watch();
    tracing::warn!(target: "dingtalk_trigger::it", "degraded");
    tokio::task::spawn_blocking(
        || tracing::error!(target: "dingtalk_trigger::it", at = 7, "broken"),
    )
    .await
    .unwrap();
    assert_eq!(logs.unexpected(), ["ERROR dingtalk_trigger::it message=broken at=7"]);
    assert_eq!(logs.lines().len(), 2);
    logs.expect_error("broken");
    assert!(logs.unexpected().is_empty());
}

#[tokio::test]
async fn what_does_not_happen_fails_the_test_and_is_named() {
    let never = wait_until("a miracle", Duration::from_millis(30), async || false);
    let panic = AssertUnwindSafe(never).catch_unwind().await.unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("a miracle"), "{text}");
}

#[tokio::test]
async fn a_cluster_goes_on_without_one_of_its_nodes() {
    let mut cluster = Cluster::start().await;
    assert_eq!(cluster.url().split(',').count(), NODES);
    let jetstream = cluster.jetstream().await;
    // A cluster that is busy may hold an election at any time.
    wait_until("the stream is there", Duration::from_secs(60), async || {
        let replicated = Config { num_replicas: NODES, ..slots() };
        jetstream.create_or_update_stream(replicated).await.is_ok()
    })
    .await;
    let first = cluster.leader("DT_RUN").await;
    cluster.step_down("DT_RUN").await;
    wait_until("another node leads", Duration::from_secs(60), async || {
        cluster.leader("DT_RUN").await != first
    })
    .await;
    let killed = cluster.leader("DT_RUN").await;
    cluster.kill(killed);
    wait_until("the others take messages", Duration::from_secs(60), async || {
        match jetstream.publish("dt.run.a.b", "1".into()).await {
            Ok(acknowledged) => acknowledged.await.is_ok(),
            Err(_) => false,
        }
    })
    .await;
    cluster.restart(killed).await;
    wait_until("the message is there", Duration::from_secs(60), async || {
        let stream = jetstream.get_stream("DT_RUN").await;
        stream.is_ok_and(|stream| stream.cached_info().state.messages >= 1)
    })
    .await;
    assert!(cluster.logs.unexpected().is_empty());
}

#[tokio::test]
async fn each_test_has_databases_of_its_own() {
    let (one, other) = (Postgres::fresh().await, Postgres::fresh().await);
    assert_ne!(one.url(), other.url());
    let mut connection = PgConnection::connect(one.url()).await.unwrap();
    let tables = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'public'";
    let count: i64 = sqlx::query_scalar(tables).fetch_one(&mut connection).await.unwrap();
    assert_eq!(count, 0);
    assert_ne!(Sqlite::fresh().url(), Sqlite::fresh().url());
}
