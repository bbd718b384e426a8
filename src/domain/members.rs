//! Which edge pods are alive, as one pod sees it.
//!
//! A member is gone when it said goodbye, or when its record has not changed for nine seconds during
//! which our own heartbeats were confirmed throughout: an outage of the broker makes nobody disappear.
//! A pod always counts itself. While its own heartbeats are not confirmed it may keep what it has, and
//! must take nothing new.

use std::collections::BTreeMap;
use std::time::Duration;

/// How long a record may stay unchanged.
pub const QUIET_MAX: Duration = Duration::from_secs(9);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    me: String,
    /// Without `me`.
    others: BTreeMap<String, Member>,
    /// When our last heartbeat was confirmed; none while the chain of confirmations is broken.
    confirmed_at: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    revision: u64,
    is_leaving: bool,
    /// How long the record has been the same under unbroken confirmations.
    quiet: Duration,
}

/// A member's record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub pod: String,
    /// Differs with every heartbeat.
    pub revision: u64,
    pub is_leaving: bool,
}

/// One round of the heartbeat; times are those of any clock that never goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Our heartbeat was stored and, after it, all records were read.
    Confirmed {
        at: Duration,
        records: Vec<Record>,
    },
    Unconfirmed,
}

impl Members {
    pub fn new(me: impl Into<String>) -> Self {
        Self { me: me.into(), others: BTreeMap::new(), confirmed_at: None }
    }

    pub fn next(mut self, event: Event) -> Self {
        match event {
            Event::Confirmed { at, records } => {
                let passed =
                    self.confirmed_at.map_or(Duration::ZERO, |last| at.saturating_sub(last));
                for member in self.others.values_mut() {
                    member.quiet += passed;
                }
                for record in records {
                    self.take(record);
                }
                // Long quiet ones stay until here, so that a stale record does not look new again.
                self.confirmed_at = Some(at);
            }
            Event::Unconfirmed => {
                self.confirmed_at = None;
                for member in self.others.values_mut().filter(|member| member.quiet < QUIET_MAX) {
                    member.quiet = Duration::ZERO;
                }
            }
        }
        self
    }

    fn take(&mut self, record: Record) {
        if record.pod == self.me {
            return;
        }
        let Record { pod, revision, is_leaving } = record;
        let known = self.others.get(&pod).filter(|known| known.revision == revision);
        let quiet = known.map_or(Duration::ZERO, |known| known.quiet);
        self.others.insert(pod, Member { revision, is_leaving, quiet });
    }

    /// Those that are alive, ourselves among them.
    pub fn alive(&self) -> impl Iterator<Item = &str> {
        let alive = |member: &Member| !member.is_leaving && member.quiet < QUIET_MAX;
        let others = self.others.iter().filter(move |(_, member)| alive(member));
        others.map(|(pod, _)| pod.as_str()).chain([self.me.as_str()])
    }

    /// Whether something new may be taken.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed_at.is_some()
    }

    pub fn me(&self) -> &str {
        &self.me
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds of `(second, records)`, where a record is `(pod, revision)`; no records at all: unconfirmed.
    type Round<'a> = (u64, Option<&'a [(&'a str, u64)]>);

    fn alive_after(rounds: &[Round<'_>]) -> Vec<String> {
        let mut members = Members::new("me");
        for (second, records) in rounds {
            let event = records.map_or(Event::Unconfirmed, |records| Event::Confirmed {
                at: Duration::from_secs(*second),
                records: records
                    .iter()
                    .map(|(pod, revision)| Record {
                        pod: (*pod).to_owned(),
                        revision: *revision,
                        is_leaving: *revision == LEAVING,
                    })
                    .collect(),
            });
            members = members.next(event);
        }
        let mut alive: Vec<_> = members.alive().map(str::to_owned).collect();
        alive.sort();
        alive
    }

    const LEAVING: u64 = 99;

    #[test]
    fn members_come_and_go_by_their_records() {
        let cases: [(&str, &[Round<'_>], &[&str]); 12] = [
            ("a pod counts itself before anything", &[], &["me"]),
            ("and while nothing is confirmed", &[(0, None)], &["me"]),
            ("a record is a member", &[(0, Some(&[("a", 1)]))], &["a", "me"]),
            ("our own is no other", &[(0, Some(&[("me", 1)]))], &["me"]),
            (
                "quiet for less than nine seconds",
                &[(0, Some(&[("a", 1)])), (3, Some(&[("a", 1)])), (8, Some(&[("a", 1)]))],
                &["a", "me"],
            ),
            ("for nine", &[(0, Some(&[("a", 1)])), (9, Some(&[("a", 1)]))], &["me"]),
            (
                "a change starts over",
                &[(0, Some(&[("a", 1)])), (6, Some(&[("a", 2)])), (12, Some(&[("a", 2)]))],
                &["a", "me"],
            ),
            (
                "an expired record is quiet, not a goodbye",
                &[(0, Some(&[("a", 1)])), (3, Some(&[]))],
                &["a", "me"],
            ),
            (
                "an outage counts for nobody",
                &[
                    (0, Some(&[("a", 1)])),
                    (6, Some(&[("a", 1)])),
                    (9, None),
                    (60, Some(&[("a", 1)])),
                    (68, Some(&[("a", 1)])),
                ],
                &["a", "me"],
            ),
            (
                "after it the time starts again",
                &[(0, Some(&[("a", 1)])), (3, None), (60, Some(&[])), (69, Some(&[]))],
                &["me"],
            ),
            (
                "who was gone before an outage stays gone",
                &[
                    (0, Some(&[("a", 1)])),
                    (9, Some(&[("a", 1)])),
                    (12, None),
                    (15, Some(&[("a", 1)])),
                ],
                &["me"],
            ),
            (
                "a goodbye counts at once, and a return too",
                &[
                    (0, Some(&[("a", 1), ("b", 1)])),
                    (3, Some(&[("a", LEAVING), ("b", LEAVING)])),
                    (6, Some(&[("a", LEAVING), ("b", 3)])),
                ],
                &["b", "me"],
            ),
        ];
        for (name, rounds, expected) in cases {
            assert_eq!(alive_after(rounds), expected, "{name}");
        }
    }

    #[test]
    fn nothing_new_may_be_taken_while_heartbeats_are_unconfirmed() {
        let members = Members::new("me");
        assert!(!members.is_confirmed());
        let members = members.next(Event::Confirmed { at: Duration::ZERO, records: Vec::new() });
        assert!(members.is_confirmed());
        assert!(!members.next(Event::Unconfirmed).is_confirmed());
    }
}
