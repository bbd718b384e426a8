//! A broker that was killed after it had noted an acknowledgement and before it took the message out of
//! its work queue: played by giving the queue its files of a moment before.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dingtalk_trigger::sim::dingtalk::message::Say;
use serde_json::json;

use crate::support::outside::Outside;
use crate::support::program::LIMIT;
use crate::support::service::{Service, callback};
use crate::support::wait::wait_until;

/// The slots as they are on disk.
fn queue(service: &Service) -> PathBuf {
    service.data.path().join("data/nats/store/jetstream/$G/streams/DT_RUN/msgs")
}

fn copy(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).expect("remove what is there");
    }
    fs::create_dir(to).expect("create a directory");
    for entry in fs::read_dir(from).expect("read a directory") {
        let entry = entry.expect("read a directory");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copy a file");
    }
}

/// A service that has answered one message, and beside its data the slots as they were meanwhile.
async fn answered(outside: &Outside) -> (Service, PathBuf) {
    let service = Service::start_with(outside, &[("DT_SWEEP_INTERVAL", "10m")]).await;
    service.stream_robot(outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": callback(outside) })).await;
    let said = outside.say(Say::direct("robot", "ann", "slow 2 first"));
    assert!(outside.expert.called(1, LIMIT).await);
    let kept = service.data.path().join("slots");
    copy(&queue(&service), &kept);
    outside.reply(&said.conversation, "You said: slow 2 first").await;
    service.settled().await;
    (service, kept)
}

#[tokio::test]
async fn a_slot_that_nobody_gets_is_taken_out_at_the_start() {
    let outside = Outside::start().await;
    let (mut service, kept) = answered(&outside).await;
    service.program().terminate().await;
    copy(&kept, &queue(&service));
    service.restart().await;
    service.settled().await;
    outside.ask(Say::direct("robot", "ann", "second"), "You said: second").await;
    service.finish().await;
}

#[tokio::test]
async fn a_slot_that_nobody_gets_does_not_hold_up_its_conversation() {
    let outside = Outside::start().await;
    let (mut service, kept) = answered(&outside).await;
    // The broker alone ends and starts again; the sweep has had its turn.
    let pid = fs::read_to_string(service.data.path().join("data/nats/server.pid")).unwrap();
    let pid = pid.trim().to_owned();
    service.program().freeze();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    wait_until("the broker has ended", LIMIT, async || {
        fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().is_empty()
    })
    .await;
    copy(&kept, &queue(&service));
    service.program().thaw();
    outside.ask(Say::direct("robot", "ann", "second"), "You said: second").await;
    service.finish().await;
}
