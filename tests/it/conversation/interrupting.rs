//! The newest message cancels the run at work, at an Xpert server too, and is asked together with what
//! that run was asked: one run at a time in a thread, one answer in the chat.

use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::xpert::fault::Fault;
use serde_json::{Value, json};

use crate::support::outside::Outside;
use crate::support::program::LIMIT;
use crate::support::service::{Service, xpert};
use crate::support::wait::wait_until;

async fn interrupting(outside: &Outside) -> Service {
    let service = Service::start(outside).await;
    service.stream_robot(outside, "robot").await;
    let fields = json!({ "runtime": xpert(outside), "busyPolicy": "interrupt" });
    service.admin().publish("expert", "robot", &fields).await;
    service
}

/// What each run was asked.
fn inputs(outside: &Outside) -> Vec<Value> {
    let calls = outside.xpert.calls();
    calls.iter().map(|call| call.body["input"]["message"]["input"]["input"].clone()).collect()
}

fn runs(outside: &Outside) -> Vec<String> {
    outside.xpert.calls().iter().map(|call| call.run.clone()).collect()
}

#[tokio::test]
async fn a_newer_message_cancels_the_run_at_xpert_and_is_answered_with_it() {
    let outside = Outside::start().await;
    let service = interrupting(&outside).await;
    let said = outside.say(Say::direct("robot", "ann", "slow 20 first"));
    assert!(outside.xpert.called(1, LIMIT).await);
    outside.say(Say::direct("robot", "ann", "second"));
    assert!(outside.xpert.called(2, LIMIT).await);
    outside.say(Say::direct("robot", "ann", "third"));
    outside.reply(&said.conversation, "You said: slow 20 first\nsecond\nthird").await;
    assert_eq!(outside.read_in(&said.conversation).len(), 1);
    outside.ask(Say::direct("robot", "ann", "later"), "You said: later").await;
    assert_eq!(
        inputs(&outside),
        ["slow 20 first", "slow 20 first\nsecond", "slow 20 first\nsecond\nthird", "later"]
    );
    let calls = outside.xpert.calls();
    assert!(calls.iter().all(|call| call.thread == calls[0].thread));
    assert_eq!(outside.xpert.cancelled(), runs(&outside)[..2]);
    assert_eq!(outside.xpert.overlaps(), 0);
    service.finish().await;
}

#[tokio::test]
async fn a_run_whose_worker_was_killed_is_cancelled_before_the_next_one_begins() {
    let outside = Outside::start().await;
    let mut service = interrupting(&outside).await;
    let said = outside.say(Say::direct("robot", "ann", "hang"));
    assert!(outside.xpert.called(1, LIMIT).await);
    service.kill().await;
    // It is in the log before the dead worker's slot comes again.
    outside.say(Say::direct("robot", "ann", "second"));
    service.restart().await;
    assert!(outside.xpert.called(2, LIMIT).await);
    assert_eq!(outside.xpert.cancelled(), runs(&outside)[..1]);
    assert_eq!(outside.xpert.overlaps(), 0);
    // And what was asked anew is cancelled like any other.
    outside.ask(Say::direct("robot", "ann", "/stop"), "Stopped.").await;
    wait_until("both are cancelled", LIMIT, async || outside.xpert.cancelled() == runs(&outside))
        .await;
    outside.ask(Say::direct("robot", "ann", "third"), "You said: third").await;
    assert_eq!(inputs(&outside), ["hang", "hang\nsecond", "third"]);
    assert_eq!(outside.read_in(&said.conversation), ["Stopped.", "You said: third"]);
    service.finish().await;
}

#[tokio::test]
async fn a_run_that_is_being_made_is_cancelled_before_the_next_one_begins() {
    let outside = Outside::start().await;
    let service = interrupting(&outside).await;
    outside.xpert.fault(Fault::SlowCreate { ms: 1500 });
    let said = outside.say(Say::direct("robot", "ann", "slow 3 first"));
    wait_until("the run is asked for", LIMIT, async || outside.xpert.faults() == 0).await;
    outside.say(Say::direct("robot", "ann", "second"));
    outside.reply(&said.conversation, "You said: slow 3 first\nsecond").await;
    assert_eq!(inputs(&outside), ["slow 3 first", "slow 3 first\nsecond"]);
    assert_eq!(outside.xpert.cancelled(), runs(&outside)[..1]);
    service.finish().await;
}
