//! After a roll-back: records of a newer release that no worker will ever read; and those of no release.
//!
//! The former are left for as long as the setting says, then they are dead letters with all their bytes,
//! and what follows them is answered. The latter are not waited for.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use dingtalk_trigger::domain::id::Conversation;
use dingtalk_trigger::protocol::subject;
use dingtalk_trigger::sim::dingtalk::message::Say;
use serde_json::{Value, json};

use crate::support::outside::Outside;
use crate::support::server::connect;
use crate::support::service::{Service, callback};
use crate::support::wait::wait_until;

/// Of a release far ahead.
const NEWER: &[u8] = &[200, 1, 2, 3];
const LIMIT: Duration = Duration::from_secs(30);

struct Stand {
    outside: Outside,
    service: Service,
    jetstream: Context,
}

impl Stand {
    async fn start() -> Self {
        let outside = Outside::start().await;
        let service = Service::start_with(&outside, &[("DT_NEWER_MAX_AGE", "3s")]).await;
        service.stream_robot(&outside, "robot").await;
        service.admin().publish("expert", "robot", &json!({ "runtime": callback(&outside) })).await;
        let client = connect(&[service.nats_url()]).await;
        Self { outside, service, jetstream: async_nats::jetstream::new(client) }
    }

    /// A conversation of this person in which one turn has ended, and the entry of that turn.
    async fn begun(&self, person: &str) -> (Conversation, u64) {
        let text = format!("{person} begins");
        self.outside.ask(Say::direct("robot", person, &text), &text).await;
        let log = self.jetstream.get_stream("DT_IN").await.expect("the log");
        let entry = log.get_last_raw_message_by_subject("dt.in.>").await.expect("an entry");
        let conversation = subject::conversation_of(&entry.subject).expect("a conversation");
        (conversation, entry.sequence)
    }

    /// Stores the bytes of the newer release; their sequence.
    async fn store(&self, subject: String, headers: &[(&str, String)]) -> u64 {
        self.store_bytes(subject, headers, NEWER).await
    }

    async fn store_bytes(
        &self,
        subject: String,
        headers: &[(&str, String)],
        bytes: &'static [u8],
    ) -> u64 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.as_str());
        }
        let stored = self.jetstream.publish_with_headers(subject, map, bytes.into()).await;
        stored.expect("publish").await.expect("stored").sequence
    }

    async fn store_entry(&self, conversation: &Conversation) -> u64 {
        self.store(subject::log(conversation), &[("Dt-Kind", "message".to_owned())]).await
    }

    /// A journal record about the turn whose last entry is `last`.
    async fn store_record(&self, conversation: &Conversation, step: &str, last: u64) {
        let headers = [("Dt-Kind", step.to_owned()), ("Dt-Turn", format!("{conversation}.{last}"))];
        self.store(subject::journal(conversation), &headers).await;
    }

    async fn dead(&self, count: usize) -> Vec<Value> {
        self.service.admin().list_until("/api/dead", |items| items.len() == count).await
    }

    /// The next message is answered, though not before what stands before it is out of the way.
    async fn goes_on(&self, person: &str) {
        let text = format!("{person} goes on");
        self.outside.ask(Say::direct("robot", person, &text), &text).await;
    }
}

#[tokio::test]
async fn an_entry_that_no_worker_comes_for_is_buried_and_what_follows_is_answered() {
    let stand = Stand::start().await;
    let (conversation, _) = stand.begun("ann").await;
    let seq = stand.store_entry(&conversation).await;
    stand.goes_on("ann").await;
    let dead = stand.dead(1).await;
    assert_eq!(dead[0]["reason"], "decode", "{dead:?}");
    assert_eq!(dead[0]["turnId"], format!("{conversation}.{seq}"), "{dead:?}");
    let left = stand.service.metric("dt_newer_left_total", "dispatch").await;
    assert!(left >= 1.0, "it is left before it is buried");
    stand.service.finish().await;
}

#[tokio::test]
async fn a_journal_that_no_worker_comes_for_begins_anew() {
    let stand = Stand::start().await;
    // One whose turn had ended, and one whose turn was under way.
    let (ended, last) = stand.begun("ann").await;
    stand.store_record(&ended, "delivered", last).await;
    let (open, _) = stand.begun("bob").await;
    let seq = stand.store_entry(&open).await;
    stand.store_record(&open, "running", seq).await;
    tokio::join!(stand.goes_on("ann"), stand.goes_on("bob"));
    let dead = stand.dead(1).await;
    assert_eq!(dead[0]["turnId"], format!("{open}.{seq}"), "{dead:?}");
    stand.service.finish().await;
}

#[tokio::test]
async fn a_journal_record_that_no_release_can_read_stops_nobody() {
    let stand = Stand::start().await;
    // Every stage that a message passes meets it.
    let collecting = json!({ "runtime": callback(&stand.outside), "summaryWindowSeconds": 1 });
    stand.service.admin().publish("expert", "robot", &collecting).await;
    for (person, bytes, has_headers) in [
        ("ann", [].as_slice(), true),
        ("bob", &[0, 1, 2], true),
        ("carol", &[1, 255, 255, 255], true),
        ("dora", &[], false),
    ] {
        let (conversation, last) = stand.begun(person).await;
        let turn = format!("{conversation}.{last}");
        let headers = [("Dt-Kind", "delivered".to_owned()), ("Dt-Turn", turn)];
        let headers = if has_headers { headers.as_slice() } else { &[] };
        // Its end is on record.
        stand.service.settled().await;
        stand.store_bytes(subject::journal(&conversation), headers, bytes).await;
        stand.goes_on(person).await;
    }
    assert_eq!(stand.outside.expert.calls().len(), 8, "each turn was asked once");
    stand.dead(0).await;
    stand.service.finish().await;
}

#[tokio::test]
async fn an_open_turn_behind_a_record_that_says_nothing_is_given_up_once() {
    let stand = Stand::start().await;
    let (conversation, _) = stand.begun("ann").await;
    let said = stand.outside.say(Say::direct("robot", "ann", "slow 60"));
    assert!(stand.outside.expert.called(2, LIMIT).await, "the turn runs");
    stand.store_bytes(subject::journal(&conversation), &[], &[]).await;
    // The run finds itself lost at its next record, here at that of a stop; its slot comes again.
    stand.outside.say(Say::direct("robot", "ann", "/stop"));
    let dead = stand.dead(1).await;
    let [letter] = dead.as_slice() else { panic!("one letter: {dead:?}") };
    assert!(letter["turnId"].as_str().is_some_and(|id| id.starts_with(&conversation.to_string())));
    stand.goes_on("ann").await;
    assert_eq!(stand.outside.expert.calls().len(), 3, "each turn was asked once");
    let read = stand.outside.read_in(&said.conversation);
    assert!(!read.iter().any(|text| text.contains("slow 60")), "{read:?}");
    stand.service.finish().await;
}

#[tokio::test]
async fn a_token_that_no_worker_comes_for_gives_way_to_the_log() {
    let stand = Stand::start().await;
    let (conversation, _) = stand.begun("ann").await;
    stand.store(subject::due(&conversation), &[]).await;
    wait_until("it is left", LIMIT, async || {
        stand.service.metric("dt_newer_left_total", "due").await >= 1.0
    })
    .await;
    stand.goes_on("ann").await;
    stand.dead(0).await;
    // Nothing waits any more: the token is gone.
    stand.service.finish().await;
}

#[tokio::test]
async fn a_turn_that_runs_goes_on_when_a_message_of_a_newer_release_arrives() {
    let stand = Stand::start().await;
    let (conversation, _) = stand.begun("ann").await;
    // The expert thinks for longer than a run takes to look at the log again.
    let slow = Say::direct("robot", "ann", "slow 7");
    let said = stand.outside.say(slow);
    assert!(stand.outside.expert.called(2, LIMIT).await, "the turn runs");
    stand.store_entry(&conversation).await;
    stand.outside.reply(&said.conversation, "slow 7").await;
    stand.goes_on("ann").await;
    assert_eq!(stand.outside.expert.calls().len(), 3, "each turn was asked once");
    stand.dead(1).await;
    stand.service.finish().await;
}
