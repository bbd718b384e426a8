//! Robot messages, card presses and events, from JSON to an entry of the log.
//!
//! Whatever is accepted is written and read back as the same entry, has the same message id each time,
//! fits into subjects and headers, and can be handed to an expert.

use std::collections::BTreeMap;

use dingtalk_trigger::domain::attachment::{Quoting, Spoken, Wanted, compose, wanted};
use dingtalk_trigger::domain::binding::{Integration, Language, Scope};
use dingtalk_trigger::domain::entry::Entry;
use dingtalk_trigger::domain::invocation::{Content, File};
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::edge::accept::{self, Decision, Publish};
use dingtalk_trigger::protocol::{entry, subject};
use serde_json::Value;

use super::integration;

pub(super) fn check(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    for scope in [Scope::Sender, Scope::Group] {
        check_value(&integration(scope), &value);
    }
}

/// As the webhook looks at it, and as a Stream frame names it.
pub(super) fn check_value(integration: &Integration, value: &Value) {
    let value = &serde_json_borrow::Value::from(value);
    let looked = accept::payload(value).map(|payload| accept::decide(integration, &payload, value));
    let named = [accept::robot(integration, value), accept::card(integration, value)];
    for decision in looked.into_iter().chain(named) {
        let Ok(Decision::Publish(publish)) = decision else { continue };
        check_publish(integration, value, &publish);
    }
}

fn check_publish(
    integration: &Integration,
    value: &serde_json_borrow::Value<'_>,
    publish: &Publish,
) {
    let log = subject::log(&publish.conversation);
    assert_eq!(subject::conversation_of(&log).as_ref(), Some(&publish.conversation));
    assert_eq!(publish.conversation.integration, integration.id);
    let id = &publish.message_id;
    assert!(!id.chars().any(char::is_control), "a header would end in {id:?}");
    let bytes = entry::encode(publish.entry.clone());
    assert_eq!(entry::decode(&bytes).as_ref(), Ok(&publish.entry));
    let again = [accept::robot(integration, value), accept::card(integration, value)];
    let same = |decision: &Result<Decision, _>| matches!(decision, Ok(Decision::Publish(again)) if **again == *publish);
    assert!(again.iter().any(same), "a redelivery is another entry");
    if let Entry::Message(message) = &publish.entry {
        check_files(&[Spoken { message: message.clone(), at: Timestamp(0) }]);
    }
}

/// Every file of a message is handed on once, under a number of its own.
fn check_files(spoken: &[Spoken]) {
    let wanted = wanted(spoken);
    let file = |wanted: &Wanted<'_>| File {
        number: wanted.number,
        kind: wanted.media.kind,
        name: "file".to_owned(),
        content_type: None,
        size_bytes: None,
        content: Content::Unfetched,
    };
    let files: BTreeMap<_, _> = wanted.iter().map(|one| (one.number, file(one))).collect();
    assert_eq!(files.len(), wanted.len(), "no number twice");
    let composed = compose(spoken, files.clone(), Quoting::Apart, Language::En);
    let mut listed = Vec::new();
    for asked in composed.messages {
        listed.extend(asked.quoted.map(|quoted| quoted.files).unwrap_or_default());
        listed.extend(asked.files);
    }
    assert_eq!(listed, files.into_values().collect::<Vec<_>>(), "in reading order, each once");
}
