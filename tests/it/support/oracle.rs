//! What must hold after any trouble: each message got its answer, in order within its conversation, and
//! an answer is doubled only where its POST was under way when the process was killed.
//!
//! Reads the simulator's records alone. Messages carry a [`mark`], and their answers end with it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use dingtalk_trigger::sim::dingtalk::Sim;
use dingtalk_trigger::sim::dingtalk::record::Kind;

/// How long before a kill a POST may have been read that was under way then.
const UNDER_WAY_MS: i64 = 3000;

/// When an answer was read that may come again: its POST was under way at `from`, and what the dead had
/// sent by then was read at `to` at the latest.
pub(crate) fn doubt(from: i64, to: i64) -> RangeInclusive<i64> {
    from - UNDER_WAY_MS..=to
}

/// The text of one message, unlike any other's.
pub(crate) fn mark(conversation: usize, number: usize) -> String {
    format!("c{conversation:03}n{number:03}")
}

fn mark_in(text: &str) -> Option<&str> {
    let text = text.trim_end();
    text.get(text.len().checked_sub(8)?..).filter(|mark| mark.starts_with('c'))
}

#[derive(Default)]
struct Message {
    conversation: String,
    /// Place in the order in which people wrote.
    said: u64,
    /// DingTalk had to push it again, so that others may have overtaken it before they reached us.
    was_pushed_again: bool,
    /// The service said that it has it.
    is_accepted: bool,
    /// When the answers were read, and their place in the order.
    answers: Vec<(i64, u64)>,
}

pub(crate) struct Verdict {
    pub(crate) said: usize,
    pub(crate) lost: Vec<String>,
    pub(crate) reordered: Vec<String>,
    /// Answers beyond the first.
    pub(crate) doubled: usize,
    /// Doubled, though no kill can be the reason.
    pub(crate) doubled_without_reason: Vec<String>,
}

impl Verdict {
    /// `ambiguous`: the counted sends whose outcome was unknown.
    pub(crate) fn assert_good(&self, ambiguous: f64) {
        assert!(self.lost.is_empty(), "{} of {} lost: {:?}", self.lost.len(), self.said, self.lost);
        assert!(self.reordered.is_empty(), "reordered: {:?}", self.reordered);
        let without = &self.doubled_without_reason;
        assert!(without.is_empty(), "doubled without a reason: {without:?}");
        let doubled = u32::try_from(self.doubled).expect("a small number");
        assert!(f64::from(doubled) <= ambiguous, "{doubled} doubled, {ambiguous} counted");
    }
}

/// `doubts`: what kills explain, each a [`doubt`].
pub(crate) fn judge(cloud: &Sim, doubts: &[RangeInclusive<i64>]) -> Verdict {
    let messages = messages(cloud);
    let mut verdict = Verdict {
        said: messages.len(),
        lost: vec![],
        reordered: vec![],
        doubled: 0,
        doubled_without_reason: vec![],
    };
    let mut by_conversation: BTreeMap<&str, Vec<(&String, &Message)>> = BTreeMap::new();
    for (mark, message) in &messages {
        match message.answers.split_first() {
            None => verdict.lost.push(mark.clone()),
            Some((_, [])) => {}
            Some(((first, _), others)) => {
                verdict.doubled += others.len();
                if !doubts.iter().any(|doubt| doubt.contains(first)) {
                    let again = others.iter().map(|(at, _)| at - first);
                    let again: Vec<_> = again.map(|late| format!("{late} ms later")).collect();
                    let why = format!("{mark}, read at {first} and {}", again.join(", "));
                    verdict.doubled_without_reason.push(why);
                }
            }
        }
        by_conversation.entry(&message.conversation).or_default().push((mark, message));
    }
    for mut list in by_conversation.into_values() {
        list.retain(|(_, message)| !message.was_pushed_again && !message.answers.is_empty());
        list.sort_by_key(|(_, message)| message.said);
        for pair in list.windows(2) {
            let [(earlier, before), (later, after)] = pair else { continue };
            if before.answers[0].1 > after.answers[0].1 {
                verdict.reordered.push(format!("{later} before {earlier}"));
            }
        }
    }
    verdict
}

fn messages(cloud: &Sim) -> BTreeMap<String, Message> {
    let mut messages: BTreeMap<String, Message> = BTreeMap::new();
    let mut by_id: BTreeMap<String, String> = BTreeMap::new();
    for record in cloud.book().since(0, usize::MAX) {
        match record.kind {
            Kind::Said => {
                let Some(mark) = mark_in(&record.text) else { continue };
                by_id.insert(record.msg_id.clone(), mark.to_owned());
                let message = messages.entry(mark.to_owned()).or_default();
                message.conversation.clone_from(&record.conversation);
                message.said = record.seq;
            }
            Kind::Pushed if record.attempt > 1 => {
                let Some(mark) = by_id.get(&record.msg_id) else { continue };
                if let Some(message) = messages.get_mut(mark) {
                    message.was_pushed_again = true;
                }
            }
            Kind::Acked if record.detail == "200" => {
                let Some(mark) = by_id.get(&record.msg_id) else { continue };
                if let Some(message) = messages.get_mut(mark) {
                    message.is_accepted = true;
                }
            }
            Kind::Reply => {
                let Some(message) = mark_in(&record.text).and_then(|mark| messages.get_mut(mark))
                else {
                    continue;
                };
                message.answers.push((record.at_ms, record.seq));
            }
            _ => {}
        }
    }
    messages
}

/// The messages that have no answer.
pub(crate) fn unanswered(cloud: &Sim) -> BTreeSet<String> {
    let open = messages(cloud).into_iter().filter(|(_, message)| message.answers.is_empty());
    open.map(|(mark, _)| mark).collect()
}

/// The messages that were accepted and have no answer.
pub(crate) fn waiting(cloud: &Sim) -> BTreeSet<String> {
    let waits = |message: &Message| message.is_accepted && message.answers.is_empty();
    let waiting = messages(cloud).into_iter().filter(|(_, message)| waits(message));
    waiting.map(|(mark, _)| mark).collect()
}

/// How many of the messages have an answer.
pub(crate) fn answered(cloud: &Sim) -> usize {
    messages(cloud).values().filter(|message| !message.answers.is_empty()).count()
}

/// The turns that a callback expert took, by conversation, begin in the order of the log.
pub(crate) fn assert_turns_in_order(calls: &[std::sync::Arc<dingtalk_trigger::sim::expert::Call>]) {
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    for call in calls {
        let (conversation, seq) = call.webhook_id.rsplit_once('.').expect("a turn id");
        let seq: u64 = seq.parse().expect("a turn id ends with a sequence");
        let last = newest.entry(conversation.to_owned()).or_default();
        assert!(seq >= *last, "turn {seq} of {conversation} began after {last}");
        *last = seq;
    }
}

#[cfg(test)]
mod tests {
    use dingtalk_trigger::sim::dingtalk::record::Record;

    use super::*;
    use crate::support::outside::Outside;

    fn record(kind: Kind, number: usize, at_ms: i64, attempt: u32) -> Record {
        let text = mark(1, number);
        Record {
            kind,
            at_ms,
            attempt,
            conversation: "cid".to_owned(),
            msg_id: text.clone(),
            text: if kind == Kind::Reply { format!("You said: {text}") } else { text },
            ..Record::default()
        }
    }

    #[tokio::test]
    async fn the_oracle_finds_what_is_lost_reordered_and_doubled() {
        let outside = Outside::start().await;
        let book = outside.cloud.book();
        for number in 0..4 {
            book.append(record(Kind::Said, number, 0, 0));
        }
        for (number, at_ms) in [(1, 10_000), (0, 10_001), (2, 10_002), (2, 20_000)] {
            book.append(record(Kind::Reply, number, at_ms, 0));
        }
        let verdict = judge(&outside.cloud, &[doubt(11_000, 11_100)]);
        assert_eq!((verdict.said, verdict.doubled), (4, 1));
        assert_eq!(verdict.lost, [mark(1, 3)]);
        assert_eq!(verdict.reordered, [format!("{} before {}", mark(1, 1), mark(1, 0))]);
        assert!(verdict.doubled_without_reason.is_empty(), "its first answer was at the kill");
        let without = judge(&outside.cloud, &[doubt(20_000, 20_100)]).doubled_without_reason;
        assert_eq!(without, [format!("{}, read at 10002 and 9998 ms later", mark(1, 2))]);
        // What DingTalk had to push again may have been overtaken on its way to us.
        book.append(record(Kind::Pushed, 0, 30_000, 2));
        assert!(judge(&outside.cloud, &[]).reordered.is_empty());
    }
}
