//! The log put back from a backup, and made anew, while people write.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::messages::parked;
use super::stand::{REDELIVERED, Stand};
use crate::support::oracle::answered;
use crate::support::program::{LIMIT, report};
use crate::support::wait::wait_until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_put_back_or_made_anew_goes_on_without_losing_what_it_had() {
    let stand = Stand::start(&[]).await;
    let urls = stand.service.nats_url();
    stand.under_load(put_back(&stand, &urls)).await;
    stand.under_load(made_anew(&stand, &urls)).await;
    stand.judge(&[]).await;
    stand.service.finish().await;
}

/// So many answers more.
pub(super) async fn answers(stand: &Stand, more: usize) {
    let enough = answered(&stand.outside.cloud) + more;
    wait_until("people are answered", LIMIT, async || answered(&stand.outside.cloud) >= enough)
        .await;
}

pub(super) async fn put_back(stand: &Stand, urls: &str) {
    let hands = &stand.hands;
    answers(stand, 40).await;
    // It waits for its expert until all is put back.
    let admin = stand.service.admin();
    admin.done("POST", "/api/runtimes/own/pause", &Value::Null).await;
    let (mark, _) = stand.say_own();
    parked(stand).await;
    let mut backed_up = stand.waiting();
    backed_up.insert(mark);
    hands.backup("DT_IN").await;
    answers(stand, 40).await;
    let highest = stand.hands.info("DT_IN").await["state"]["last_seq"].as_u64();
    stand.removed_log(&backed_up).await;
    hands.restore("DT_IN").await;
    let restored = Instant::now();
    // Each message makes them look; by themselves they do so every 10 s. A cluster may elect first.
    let limit = Duration::from_secs(if urls.contains(',') { 30 } else { 9 });
    wait_until("the workers say what is wrong", limit, async || {
        let missing = stand.missing().await;
        missing["log"].as_str().is_some_and(|why| why.contains("streams apply"))
    })
    .await;
    report(&format!("noticed {:.1} s after the restore", restored.elapsed().as_secs_f64()));
    // People go on; nothing is answered, and nothing refused.
    stand.piled_up("messages wait for `streams apply`").await;
    let (code, said) = stand.command("streams diff", urls).await;
    assert!(code == 1 && said.contains("restored from a backup"), "{code} {said}");
    assert!(stand.hands.info("DT_IN").await["state"]["last_seq"].as_u64() >= highest);
    let (code, said) = stand.command("streams apply", urls).await;
    assert!(code == 0 && said.contains("conversations moved"), "{code} {said}");
    report(said.trim());
    admin.done("POST", "/api/runtimes/own/resume", &Value::Null).await;
    stand.recovered("DT_IN restored, after streams apply", REDELIVERED).await;
    let (code, said) = stand.command("streams diff", urls).await;
    assert_eq!(code, 0, "{said}");
    assert!(stand.missing().await["log"].is_null());
}

async fn made_anew(stand: &Stand, urls: &str) {
    let highest = stand.hands.info("DT_IN").await["state"]["last_seq"].as_u64();
    stand.removed_log(&BTreeSet::new()).await;
    stand.piled_up("messages wait for the log").await;
    let (code, said) = stand.command("streams apply", urls).await;
    assert!(code == 0 && said.contains("DT_IN does not exist"), "{code} {said}");
    stand.recovered("DT_IN removed and applied again", REDELIVERED).await;
    assert!(stand.hands.info("DT_IN").await["state"]["first_seq"].as_u64() > highest);
}
