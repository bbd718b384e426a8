//! `streams apply`, and what a start makes of differences.

use serde_json::{Value, json};

use dingtalk_trigger::io::{state, topology};

use super::{Broker, LIMIT, settings};
use crate::support;
use crate::support::cluster::{Cluster, NODES};
use crate::support::wait::wait_until;

#[tokio::test]
async fn applying_twice_changes_nothing_the_second_time() {
    let server = support::nats::Nats::start().await;
    let broker = Broker::connect(server.url().to_owned()).await;
    let now = broker.context.clock.now();
    let missing = topology::diff(&broker.nats, settings(1)).await.expect("compare");
    assert!(missing.iter().all(|d| d.field == "missing" && d.is_breaking()), "{missing:?}");
    let done = topology::apply(&broker.nats, settings(1), now).await.expect("apply");
    assert_eq!(done, missing);
    assert_eq!(topology::diff(&broker.nats, settings(1)).await.expect("compare"), []);
    assert_eq!(topology::apply(&broker.nats, settings(1), now).await.expect("apply"), []);
    let (log, _) = state::stream(&broker.nats, "DT_IN").await.expect("read the log");
    let began = u64::try_from(now.0).expect("a time after 1970") * 1000;
    assert_eq!(log.last_seq, began - 1, "sequences begin at the time of creation");
}

#[tokio::test]
async fn a_cluster_that_is_not_whole_yet_is_waited_for() {
    let mut cluster = Cluster::start().await;
    let broker = Broker::connect(cluster.urls()[0].clone()).await;
    for node in 1..NODES {
        cluster.terminate(node).await;
    }
    let waits = |line: &String| line.contains("waiting for JetStream");
    let returned = async {
        wait_until("nobody leads", LIMIT, async || cluster.logs.lines().iter().any(waits)).await;
        for node in 1..NODES {
            cluster.restart(node).await;
        }
    };
    let now = broker.context.clock.now();
    let (applied, ()) = tokio::join!(topology::apply(&broker.nats, settings(NODES), now), returned);
    applied.expect("apply");
    assert_eq!(topology::diff(&broker.nats, settings(NODES)).await.expect("compare"), []);
}

#[tokio::test]
async fn only_what_breaks_the_protocol_stops_a_start() {
    let server = support::nats::Nats::start().await;
    let broker = Broker::connect(server.url().to_owned()).await;
    let now = broker.context.clock.now();
    topology::apply(&broker.nats, settings(1), now).await.expect("apply");
    for (stream, field, value, is_breaking) in [
        ("DT_IN", "max_bytes", json!(1_000_000), false),
        ("DT_IN", "discard", json!("old"), true),
        ("DT_JOURNAL", "max_age", json!(3_600_000_000_000_u64), false),
        ("DT_RUN", "max_msgs_per_subject", json!(2), true),
        ("DT_HANDOFF", "subjects", json!(["dt.handoff.a.*.*"]), true),
    ] {
        let info: Value =
            broker.nats.api(&format!("STREAM.INFO.{stream}"), &json!({})).await.expect("info");
        let mut config = info["config"].clone();
        config[field] = value.clone();
        let update = format!("STREAM.UPDATE.{stream}");
        broker.nats.api::<_, Value>(&update, &config).await.expect("an operator's hand");
        let found = topology::diff(&broker.nats, settings(1)).await.expect("compare");
        let [difference] = found.as_slice() else { panic!("{field}: {found:?}") };
        assert_eq!((difference.name.as_str(), difference.field.as_str()), (stream, field));
        assert_eq!((&difference.have, difference.is_breaking()), (&value, is_breaking), "{field}");
        topology::apply(&broker.nats, settings(1), now).await.expect("apply");
        assert_eq!(topology::diff(&broker.nats, settings(1)).await.expect("compare"), []);
    }
    let delete = "CONSUMER.DELETE.DT_RUN.dispatch";
    broker.nats.api::<_, Value>(delete, &json!({})).await.expect("an operator's hand");
    let found = topology::diff(&broker.nats, settings(1)).await.expect("compare");
    let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["DT_RUN/dispatch does not exist"]);
}
