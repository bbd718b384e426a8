//! What an operator moves in a cluster: the leaders of streams and consumers; and a log put back there.

use tokio::time::Instant;

use super::restored::put_back;
use super::stand::{REDELIVERED, Stand};
use crate::drift::{CONSUMERS, STREAMS};
use crate::support::cluster::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_step_down_and_a_log_is_put_back_in_a_cluster_without_a_loss() {
    let cluster = Cluster::start().await;
    let urls = cluster.url();
    let stand = Stand::start(&[("NATS_URL", &urls), ("DT_REPLICAS", "3")]).await;
    stand.under_load(work(&stand)).await;
    stand.under_load(put_back(&stand, &urls)).await;
    stand.judge(&[]).await;
    stand.end().await;
}

async fn work(stand: &Stand) {
    let bound = REDELIVERED;
    for stream in STREAMS {
        let begun = Instant::now();
        stand.hands.step_down(stream).await;
        let what = format!("the leader of {stream} stepped down");
        stand.recovered_since(begun, &what, bound).await;
    }
    for (stream, consumer) in CONSUMERS {
        let begun = Instant::now();
        stand.hands.step_down_consumer(stream, consumer).await;
        let what = format!("the leader of {consumer} stepped down");
        stand.recovered_since(begun, &what, bound).await;
    }
    assert!(stand.missing().await["log"].is_null(), "a new leader is not a new log");
}
