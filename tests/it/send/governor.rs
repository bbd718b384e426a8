//! The send rate that all pods share, on one server and on a cluster.

use std::time::Duration;

use dingtalk_trigger::context::{Clock, Context};
use dingtalk_trigger::domain::entry::Origin;
use dingtalk_trigger::io::dingtalk::failure::SendClass;
use dingtalk_trigger::io::governor::{Api, Config, Error, Governor, Permit};
use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio::time::{Instant, timeout};

use super::{Bench, bucket, connect, id};
use crate::support::cluster::{Cluster, NODES};
use crate::support::nats::Nats;
use crate::support::wait::wait_for;

const LIMIT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_secs(30);

async fn pod(context: &Context, url: &str, replicas: usize, rate_per_s: u32) -> Governor {
    let replicas = u64::try_from(replicas).expect("a small number");
    let broker = connect(context, url, replicas).await;
    Governor::new(context.clone(), &broker, Config { rate_per_s, ..Config::default() })
}

/// Two pods take 40 permits of one bucket and 40 of another at once, at 50 a second each.
async fn two_pods_take_permits(url: &str, replicas: usize) {
    let context = Context::new(Clock::system());
    let pods = [pod(&context, url, replicas, 50).await, pod(&context, url, replicas, 50).await];
    let apis = [Api::Direct, Api::Group];
    let (began, started_us) = (Instant::now(), context.clock.now().0 * 1000);
    let calls = (0..80).map(|call| {
        let pod = pods[call % 2].clone();
        async move {
            // Between two leaders of a cluster there is none to ask: a worker comes again as well.
            wait_for("a permit", PAUSE, async || {
                match pod.permit(&id(), apis[call / 2 % 2]).await {
                    Err(Error::Read(_) | Error::Write(_)) if replicas > 1 => None,
                    permit => Some(permit.expect("a permit")),
                }
            })
            .await
        }
    });
    for permit in join_all(calls).await {
        assert_eq!(permit, Permit::Granted);
    }
    let spaced = Duration::from_millis(39 * 20);
    assert!(began.elapsed() >= spaced, "40 permits came in {:?}", began.elapsed());
    let broker = connect(&context, url, u64::try_from(replicas).expect("a small number")).await;
    for api in apis {
        let taken = bucket(&broker, api).await.expect("a bucket");
        assert!(taken.next_us >= started_us + 40 * 20_000, "{api:?}: a permit was given twice");
    }
}

#[tokio::test]
async fn two_pods_share_one_bucket() {
    let nats = Nats::start().await;
    two_pods_take_permits(nats.url(), 1).await;
}

#[tokio::test]
async fn two_pods_share_one_bucket_on_a_cluster() {
    let cluster = Cluster::start().await;
    two_pods_take_permits(&cluster.url(), NODES).await;
}

#[tokio::test]
async fn a_complaint_to_one_pod_holds_back_the_other_and_a_long_wait_is_returned() {
    let nats = Nats::start().await;
    let context = Context::new(Clock::system());
    let (one, other) =
        (pod(&context, nats.url(), 1, 50).await, pod(&context, nats.url(), 1, 50).await);
    // Both have a picture of the bucket, so that the other's must be found to be old.
    for pod in [&one, &other] {
        assert_eq!(pod.permit(&id(), Api::Direct).await.unwrap(), Permit::Granted);
    }
    one.slow_down(&id(), Api::Direct, PAUSE).await.unwrap();
    for pod in [&other, &one] {
        let began = Instant::now();
        let Permit::Wait(wait) = pod.permit(&id(), Api::Direct).await.unwrap() else {
            panic!("a permit in the middle of the pause");
        };
        assert!(wait > PAUSE / 2 && wait <= PAUSE, "{wait:?}");
        assert!(began.elapsed() < PAUSE / 2, "it was waited for");
    }
    assert_eq!(other.permit(&id(), Api::Group).await.unwrap(), Permit::Granted);
}

#[tokio::test]
async fn a_send_in_a_long_pause_is_not_tried_and_gives_its_slot_back() {
    let bench = Bench::start().await;
    let other = Governor::new(bench.context.clone(), &bench.broker, Config::default());
    other.slow_down(&id(), Api::Webhook, PAUSE).await.unwrap();
    let held = bench.send(&bench.alone()).await.unwrap_err();
    assert!(matches!(held.class, SendClass::Wait(wait) if wait > PAUSE / 2 && wait <= PAUSE));
    assert!(!held.is_ambiguous && bench.seen().is_empty());
    // The pause is the webhook's: another API of the app goes on.
    let direct = Origin { webhook: None, ..bench.alone() };
    assert_eq!(bench.send(&direct).await.unwrap().route, "oto");
}

#[tokio::test]
async fn a_wait_of_up_to_two_seconds_is_waited() {
    let nats = Nats::start().await;
    let context = Context::new(Clock::system());
    let pod = pod(&context, nats.url(), 1, 50).await;
    let pause = Duration::from_millis(300);
    let began = Instant::now();
    pod.slow_down(&id(), Api::Direct, pause).await.unwrap();
    assert_eq!(pod.permit(&id(), Api::Direct).await.unwrap(), Permit::Granted);
    let waited = began.elapsed();
    // The clock counts whole milliseconds.
    assert!(waited + Duration::from_millis(2) >= pause && waited < LIMIT, "{waited:?}");
}

#[tokio::test]
async fn a_rate_of_zero_costs_no_message_to_the_broker() {
    let nats = Nats::start().await;
    let context = Context::new(Clock::system());
    let broker = connect(&context, nats.url(), 1).await;
    let config = Config { rate_per_s: 0, ..Config::default() };
    let governor = Governor::new(context.clone(), &broker, config);
    let listener = nats.client().await;
    let mut all = listener.subscribe(">").await.unwrap();
    // A flush only empties our side: what comes back proves that the server has the subscription.
    #[expect(clippy::disallowed_methods, reason = "a core message to the test itself")]
    listener.publish("it.ready", "".into()).await.unwrap();
    let ready = timeout(LIMIT, all.next()).await.unwrap().unwrap();
    assert_eq!(ready.subject.as_str(), "it.ready");
    broker.client().flush().await.unwrap();
    for _ in 0..100 {
        assert_eq!(governor.permit(&id(), Api::Direct).await.unwrap(), Permit::Granted);
    }
    governor.slow_down(&id(), Api::Direct, PAUSE).await.unwrap();
    assert_eq!(governor.permit(&id(), Api::Direct).await.unwrap(), Permit::Granted);
    broker.hint("it.marker".to_owned(), bytes::Bytes::new()).await;
    let first = timeout(LIMIT, all.next()).await.unwrap().unwrap();
    assert_eq!(first.subject.as_str(), "it.marker");
}

#[tokio::test]
async fn a_broker_that_is_away_delays_a_send_and_is_no_ambiguity() {
    let mut bench = Bench::start().await;
    let origin = bench.alone();
    bench.nats.kill();
    let failed = bench.send(&origin).await.unwrap_err();
    assert!(!failed.is_ambiguous);
    assert!(failed.detail.expose().contains("send bucket"), "{}", failed.detail.expose());
    bench.nats.restart().await;
    bench.send(&origin).await.unwrap();
    assert_eq!(bench.seen().len(), 1);
}
