//! `/help` and `/status`: answered where they come in, so that neither waits for a running turn or for
//! an expert.
//!
//! The entry has its timer or slot before; its turn ends without a word. Nothing is recorded about these
//! words: an entry that comes again, as after a kill between the answer and the ack, may have been
//! answered before. It is answered once more, and counted.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::sleep;

use super::IntakeStage;
use crate::domain::binding::{Integration, Language};
use crate::domain::entry::{Entry, Logged, Query, QueryKind};
use crate::domain::id::{Conversation, Seq};
use crate::domain::inbound::PlaceKind;
use crate::domain::reply::{Limits, Segment, segments};
use crate::domain::status::{Status, taken};
use crate::domain::words::{self, Word};
use crate::io::dingtalk::failure::SendClass;
use crate::io::log::{self, Found, PageLimits};
use crate::io::nats::pull::Delivery;
use crate::protocol::entry;
use crate::protocol::envelope::Error;
use crate::worker::dispatch::leaving::is_newer;
use crate::worker::driver::Disposition;

/// Well within the consumer's `ack_wait` (`streams/DT_IN.intake.json`).
const RENEW_EVERY: Duration = Duration::from_secs(2);
const ATTEMPTS_MAX: u32 = 3;
const WAIT_MAX: Duration = Duration::from_secs(5);
/// More waiting messages than this are not counted.
const WAITING: PageLimits = PageLimits { entries_max: 100, bytes_max: usize::MAX };
/// A question that only a newer release can answer is stale after some five minutes.
const LEFT_MAX: u64 = 60;

/// It has its timer or slot already; it comes again after the consumer's `ack_wait`.
fn left(delivery: &Delivery) -> Disposition {
    if delivery.deliveries < LEFT_MAX { Disposition::Left } else { Disposition::Done }
}

impl IntakeStage {
    pub(super) async fn answer(
        &self,
        conversation: &Conversation,
        delivery: &Delivery,
    ) -> anyhow::Result<Disposition> {
        let query = match entry::decode(&delivery.payload) {
            Ok(Entry::Query(query)) => query,
            Err(Error::Newer(_)) => return Ok(left(delivery)),
            // What nobody can read is the dispatch stage's to judge.
            Ok(_) | Err(Error::Empty | Error::Undecodable(_)) => return Ok(Disposition::Done),
        };
        let trigger = self.routing.trigger_of(&conversation.integration);
        let origin = &query.origin;
        if trigger.as_ref().is_some_and(|trigger| !trigger.allows(&origin.place, &origin.sender)) {
            self.context.metrics.limit_breached("allow_list");
            return Ok(Disposition::Done);
        }
        let integration = self.routing.integration(&conversation.integration).await;
        let Some(integration) = integration.context("read integration")? else {
            return Ok(Disposition::Done);
        };
        let language = integration.language;
        let text = match query.kind {
            QueryKind::Help => Word::Help.text(language).to_owned(),
            QueryKind::Status => match self.status(conversation, delivery.seq, language).await {
                Err(error) if is_newer(&error) => return Ok(left(delivery)),
                status => status?,
            },
            QueryKind::Unheeded => return Ok(Disposition::Done),
        };
        let is_mentioned = origin.place.kind == PlaceKind::Group
            && trigger.is_none_or(|trigger| trigger.mention_asker);
        let mention = origin.sender.staff_id.as_deref().filter(|_| is_mentioned);
        for segment in &segments(&text, Limits::default(), language, mention).list {
            if delivery.deliveries > 1 {
                self.context.metrics.ambiguous_sends.inc();
            }
            self.held(delivery, self.say(&integration, &query, segment)).await;
        }
        Ok(Disposition::Done)
    }

    async fn status(
        &self,
        conversation: &Conversation,
        asked: Seq,
        language: Language,
    ) -> anyhow::Result<String> {
        let mut head = self.journal.last(conversation).await.context("read journal")?.head;
        let trigger = self.routing.trigger_of(&conversation.integration);
        head.session = head.session.map(|session| session.under(trigger.as_deref()));
        let bound = trigger.map(|trigger| trigger.expert.clone());
        let opened_at = match &head.session {
            None => None,
            Some(session) => {
                let before = Seq(session.epoch.0.saturating_sub(1));
                let found = self.log.first_after(conversation, before).await;
                let found = match found {
                    Err(log::Error::Newer { found, .. }) => Some(found),
                    found => {
                        let found = found.context("read the entry that opened the session")?;
                        found.map(|Logged { seq, at, trace, .. }| Found { seq, at, trace })
                    }
                };
                found.filter(|found| found.seq == session.epoch).map(|found| found.at)
            }
        };
        let to = Seq(asked.0.saturating_sub(1));
        let page = self.log.glance(conversation, taken(&head), to, WAITING).await;
        let page = page.context("read what waits")?;
        let waiting = page.iter().filter(|logged| matches!(logged.entry, Entry::Message(_)));
        let now = self.context.clock.now();
        let status = Status::new(&head, bound, opened_at, waiting.count(), now);
        Ok(words::status(language, &status))
    }

    /// A few times, then no more: the person asks again.
    async fn say(&self, integration: &Integration, query: &Query, segment: &Segment) {
        for attempt in 1..=ATTEMPTS_MAX {
            let Err(error) = self.sender.send(integration, &query.origin, segment).await else {
                return;
            };
            let wait = match error.class {
                SendClass::Wait(wait) => wait,
                SendClass::Retryable { after } => after.unwrap_or(RENEW_EVERY),
                SendClass::Unknown => RENEW_EVERY,
                SendClass::Permanent | SendClass::Quota => Duration::MAX,
            };
            if attempt == ATTEMPTS_MAX || wait > WAIT_MAX {
                tracing::warn!(reason = error.reason.as_str(), "a question was not answered");
                return;
            }
            if error.is_ambiguous {
                self.context.metrics.ambiguous_sends.inc();
            }
            sleep(wait).await;
        }
    }

    /// While DingTalk is slow the broker hears that the entry is in hands.
    async fn held(&self, delivery: &Delivery, work: impl Future<Output = ()>) {
        tokio::pin!(work);
        loop {
            tokio::select! {
                () = &mut work => return,
                () = sleep(RENEW_EVERY) => {}
            }
            if let Err(error) = self.nats.renew(delivery).await {
                tracing::debug!(%error, "an entry was not renewed");
            }
        }
    }
}
