//! Which dead letters a list or a replay is about.
//!
//! A list and a replay read the same words, so that what was listed is what is replayed. An unknown
//! reason is refused rather than ignored.

use serde::Deserialize;

use super::super::problem::Problem;
use super::view::Item;
use crate::domain::id::Seq;
use crate::domain::reason::Reason;
use crate::domain::time::Timestamp;
use crate::io::nats::read;
use crate::io::store::dead::State as Settlement;
use crate::protocol::advisory;

/// The query of a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Search {
    stage: Option<String>,
    integration_id: Option<String>,
    xpert_id: Option<String>,
    reason: Option<String>,
    since: Option<String>,
    until: Option<String>,
    state: Option<String>,
    limit: Option<String>,
    after: Option<String>,
}

/// The same in a body.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Narrow {
    stage: Option<String>,
    integration_id: Option<String>,
    xpert_id: Option<String>,
    reason: Option<String>,
    since: Option<String>,
    until: Option<String>,
    state: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Dead,
    Settled(Settlement),
}

#[derive(Debug)]
pub(crate) struct Filter {
    stage: Option<String>,
    integration: Option<String>,
    expert: Option<String>,
    reason: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    pub(super) state: Wanted,
}

impl Search {
    pub(super) fn limit(&self) -> Option<&str> {
        self.limit.as_deref()
    }

    pub(super) fn after(&self) -> Result<Seq, Problem> {
        match self.after.as_deref() {
            None | Some("") => Ok(Seq(0)),
            Some(text) => text
                .parse()
                .map(Seq)
                .map_err(|_| Problem::field("after", "after must be `next` of the list before")),
        }
    }

    pub(super) fn filter(self) -> Result<Filter, Problem> {
        let Self { stage, integration_id, xpert_id, reason, since, until, state, .. } = self;
        Narrow { stage, integration_id, xpert_id, reason, since, until, state }.filter("")
    }
}

impl Narrow {
    /// `prefix` goes before the name of a refused field.
    pub(super) fn filter(self, prefix: &str) -> Result<Filter, Problem> {
        let refuse = |field: &str, why: &str| {
            Problem::field(format!("{prefix}{field}"), format!("{prefix}{field} {why}"))
        };
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let time = |field: &str, text: Option<String>| {
            given(text)
                .map(|text| read::timestamp(&text))
                .transpose()
                .map_err(|_| refuse(field, "must be a time like 2030-01-31T08:00:00Z"))
        };
        let reason = given(self.reason);
        if reason.as_deref().is_some_and(|word| !is_reason(word)) {
            return Err(refuse("reason", "is no reason for which a turn is buried"));
        }
        let state = match given(self.state).as_deref() {
            None | Some("dead") => Wanted::Dead,
            Some(word) => Settlement::parse(word)
                .map(Wanted::Settled)
                .ok_or_else(|| refuse("state", "must be one of dead, replayed, dropped"))?,
        };
        Ok(Filter {
            stage: given(self.stage),
            integration: given(self.integration_id),
            expert: given(self.xpert_id),
            reason,
            since: time("since", self.since)?,
            until: time("until", self.until)?,
            state,
        })
    }
}

impl Filter {
    pub(super) fn fits(&self, item: &Item) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        let at = read::timestamp(&item.at).unwrap_or_default();
        is(&self.stage, Some(&item.stage))
            && is(&self.integration, item.integration_id.as_deref())
            && is(&self.expert, item.xpert_id.as_deref())
            && is(&self.reason, Some(&item.reason))
            && self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at <= until)
    }
}

fn is_reason(word: &str) -> bool {
    Reason::ALL.into_iter().any(|reason| reason.as_str() == word)
        || advisory::Kind::ALL.into_iter().any(|kind| kind.as_str() == word)
}
