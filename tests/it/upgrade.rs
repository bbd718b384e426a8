//! A rolling upgrade: two releases at once on one broker and one database.
//!
//! The newer one is this program built with the feature `wire-next`: its messages, journal records and timers
//! are variants that this release does not know, under the same version byte. What it cannot read is left to
//! the newer one, in order; what no newer one comes for is buried.

mod forsaken;

use std::path::Path;
use std::time::Duration;

use dingtalk_trigger::protocol::envelope::Error;
use dingtalk_trigger::protocol::{entry, record};
use dingtalk_trigger::sim::dingtalk::app::App;
use dingtalk_trigger::sim::dingtalk::message::Say;
use futures_util::{StreamExt, TryStreamExt};
use serde_json::json;

use crate::roles::{Fleet, Pod};
use crate::support::env;
use crate::support::oracle::{answered, assert_turns_in_order, judge, mark};
use crate::support::program::{metric, report};
use crate::support::service::{AES_KEY, TOKEN, callback};
use crate::support::wait::wait_until;

const CONVERSATIONS: usize = 12;
const LIMIT: Duration = Duration::from_secs(120);

/// One message in each conversation, through this edge.
fn say_through(fleet: &Fleet, edge: &Pod, round: usize) {
    let url = format!("http://{}/api/dingtalk/webhook/robot", edge.address);
    fleet.outside.cloud.put_app(App::http("robot", "app-secret", &url));
    for conversation in 0..CONVERSATIONS {
        let text = mark(conversation, round);
        fleet.outside.say(Say::direct("robot", &format!("person{conversation}"), &text));
    }
}

async fn stored(fleet: &Fleet, count: usize) {
    let jetstream = fleet.nats.jetstream().await;
    wait_until("the log has the messages", LIMIT, async || {
        let stream = jetstream.get_stream("DT_IN").await.expect("the log");
        stream.cached_info().state.messages == count as u64
    })
    .await;
}

async fn answers(fleet: &Fleet, rounds: usize) {
    let all = rounds * CONVERSATIONS;
    wait_until("every message is answered", LIMIT, async || answered(&fleet.outside.cloud) == all)
        .await;
}

/// How many records of a stream this release can read, and how many only the newer one.
async fn readable(
    fleet: &Fleet,
    stream: &str,
    read: impl Fn(&[u8]) -> Result<(), Error>,
) -> (usize, usize) {
    let stream = fleet.nats.jetstream().await.get_stream(stream).await.expect("a stream");
    let config = async_nats::jetstream::consumer::pull::OrderedConfig::default();
    let consumer = stream.create_consumer(config).await.expect("a consumer");
    let count = usize::try_from(stream.cached_info().state.messages).expect("few messages");
    let messages = consumer.messages().await.expect("messages");
    let records: Vec<_> = messages.take(count).try_collect().await.expect("messages");
    let read: Vec<_> = records.iter().map(|record| read(&record.payload)).collect();
    let is_newer = |read: &&Result<(), Error>| matches!(read, Err(Error::Newer(1)));
    let newer = read.iter().filter(is_newer).count();
    assert!(read.iter().all(|read| read.is_ok() || is_newer(&read)), "{read:?}");
    (count - newer, newer)
}

async fn check(next: &Path) {
    let fleet = Fleet::prepare().await;
    let mut older = vec![];
    for name in ["console-1", "edge-1", "worker-1"] {
        older.push(fleet.pod(name).ready().await);
    }
    let keys =
        json!({ "id": "robot", "mode": "http", "callbackToken": TOKEN, "callbackAesKey": AES_KEY });
    let admin = older[0].admin();
    admin.integrate(&keys).await;
    admin.publish("expert", "robot", &json!({ "runtime": callback(&fleet.outside) })).await;
    say_through(&fleet, &older[1], 0);
    answers(&fleet, 1).await;

    // The newer edge comes first: the older worker can read nothing of what it stores, and does
    // nothing that comes after it.
    let edge = fleet.pod_of(next, "edge-2").ready().await;
    say_through(&fleet, &edge, 1);
    stored(&fleet, 2 * CONVERSATIONS).await;
    say_through(&fleet, &older[1], 2);
    stored(&fleet, 3 * CONVERSATIONS).await;
    let left = async |stage: &str| metric(&older[2].health, "dt_newer_left_total", stage).await;
    let enough = 2.0 * f64::from(u32::try_from(CONVERSATIONS).expect("a small number"));
    wait_until("all is left twice", LIMIT, async || left("dispatch").await >= enough).await;
    assert_eq!(answered(&fleet.outside.cloud), CONVERSATIONS, "left, and nothing after it done");

    // Then the newer worker: it takes what was left, while both go on side by side.
    let worker = fleet.pod_of(next, "worker-2").ready().await;
    say_through(&fleet, &edge, 3);
    say_through(&fleet, &older[1], 4);
    answers(&fleet, 5).await;
    let (dispatch, due) = (left("dispatch").await, left("due").await);
    assert!(due > 0.0, "tokens of the newer release are left as well");

    // At last the older pods go.
    for pod in &mut older {
        pod.terminate().await;
    }
    say_through(&fleet, &edge, 5);
    answers(&fleet, 6).await;
    fleet.nats.assert_settled().await;
    let log = readable(&fleet, "DT_IN", |bytes| entry::decode(bytes).map(drop)).await;
    let journal = readable(&fleet, "DT_JOURNAL", |bytes| record::decode(bytes).map(drop)).await;
    assert_eq!(log, (3 * CONVERSATIONS, 3 * CONVERSATIONS), "each edge stored its own");
    assert!(journal.0 > 0 && journal.1 > 0, "{journal:?}");
    judge(&fleet.outside.cloud, &[]).assert_good(0.0);
    assert_turns_in_order(&fleet.outside.expert.calls());
    report(&format!(
        "measured: {} messages; the older worker left {dispatch} slots and {due} tokens to the \
         newer one; records of this release and of the newer one: log {log:?}, journal {journal:?}",
        6 * CONVERSATIONS
    ));
    for mut pod in [edge, worker] {
        pod.terminate().await;
    }
}

#[tokio::test]
async fn in_a_rolling_upgrade_the_older_release_leaves_to_the_newer_what_it_cannot_read() {
    match env::next_release() {
        Some(next) => check(&next).await,
        None => env::skipped("DT_TEST_NEXT is not set: `ops/dev test` builds the next release"),
    }
}
