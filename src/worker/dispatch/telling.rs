//! Saying it to the person: the segments of an answer in order, and the service's own words.
//!
//! Each segment is one send, recorded before the next. A send whose outcome nobody knows is counted;
//! the service's own words are said at most once and nothing hangs on them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use super::language;
use super::turning::Turning;
use crate::domain::entry::Origin;
use crate::domain::inbound::PlaceKind;
use crate::domain::rate;
use crate::domain::reason::Reason;
use crate::domain::reply::{Segment, segments};
use crate::domain::turn::failed::{Failed, Tries};
use crate::domain::turn::{Event, Notice, OpenTurn, Phase};
use crate::domain::words::Word;
use crate::io::dingtalk::failure::{QUOTA_WAIT, SendClass, SendError};
use crate::io::dingtalk::send::Sender;
use crate::io::journal;
use crate::worker::run::{Run, Stopped};

impl From<Notice> for Word {
    fn from(notice: Notice) -> Self {
        match notice {
            Notice::ExpertAway => Self::ExpertAway,
            Notice::Failed => Self::Failed,
            Notice::Unbound => Self::Unbound,
        }
    }
}

/// What the journal has of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loaded {
    Known,
    /// Somebody removed the record that brought it.
    Gone,
}

/// An answer up to this size is split in well under a millisecond: to hand it to another thread costs more.
const SPLIT_AT_ONCE_BYTES: usize = 16 << 10;

impl Turning<'_> {
    /// The next segment. What DingTalk says of it is the next event.
    pub(super) async fn send(
        &mut self,
        run: &Run,
        turn: &OpenTurn,
        segment: u32,
    ) -> Result<Event, Stopped> {
        let clock = &self.hands.context.clock;
        if self.load_answer(turn).await? == Loaded::Gone {
            let detail = "the answer is gone from DT_JOURNAL".into();
            let failure = Failed { reason: Reason::ReplyPermanent, detail, retry: None };
            let (tries, at) = (Tries::Schedule, clock.now());
            return Ok(Event::SendFailed { failure, tries, at });
        }
        self.date_question(turn).await?;
        let index = usize::try_from(segment).unwrap_or(usize::MAX);
        if let Some(event) = self.ask_aside(run, turn).await? {
            return Ok(event);
        }
        let segment = self.segment(run, turn, index).await?;
        let (Some(segment), Some(integration), Some(origin)) =
            (segment, self.integration, &self.origin)
        else {
            // Nobody to tell: the integration is gone, or the entry never named a place.
            return Ok(Event::Sent { webhook_free_at: None, at: clock.now() });
        };
        let now = clock.now();
        let rate = self.hands.config.webhook_rate;
        let is_metered = rate > 0 && self.hands.sender.is_by_webhook(origin);
        let per_minute = if is_metered { rate } else { 0 };
        let webhook_free_at = match rate::webhook(run.head().webhook_free_at, now, per_minute) {
            Ok(free_at) => free_at,
            Err(wait) => return Ok(Event::SendHeld { until: now.after(wait) }),
        };
        run.check()?;
        match self.sender(run).send(integration, origin, &segment).await {
            Ok(_) => Ok(Event::Sent { webhook_free_at, at: clock.now() }),
            Err(error) => Ok(self.send_failed(&error)),
        }
    }

    /// Speaks as long as the run holds its conversation: what it waits for before a post may outlast that.
    pub(super) fn sender(&self, run: &Run) -> Sender {
        let held = run.lease().held().clone();
        self.hands.sender.while_held(Arc::new(move || held.lasts()))
    }

    pub(super) fn send_failed(&self, error: &SendError) -> Event {
        let at = self.hands.context.clock.now();
        let (retry, tries) = match error.class {
            SendClass::Wait(wait) => return Event::SendHeld { until: at.after(wait) },
            SendClass::Permanent => (None, Tries::Schedule),
            SendClass::Retryable { after } => (Some(after.unwrap_or_default()), Tries::Schedule),
            SendClass::Unknown => (Some(Duration::ZERO), Tries::Few),
            SendClass::Quota => (Some(QUOTA_WAIT), Tries::UntilHandoffAge),
        };
        if error.is_ambiguous && retry.is_some() {
            self.hands.context.metrics.ambiguous_sends.inc();
        }
        let failure = Failed { reason: error.reason, detail: error.detail.clone(), retry };
        Event::SendFailed { failure, tries, at }
    }

    /// One of the service's own words, said once at the most: it may be lost, it is never doubled.
    pub(super) async fn tell(&self, run: &Run, word: Word) {
        let (Some(integration), Some(origin)) = (self.integration, &self.origin) else { return };
        let text = word.text(integration.language);
        let said = segments(text, self.hands.config.reply, integration.language, None);
        let sender = self.sender(run);
        for segment in &said.list {
            if let Err(error) = sender.send(integration, origin, segment).await {
                tracing::warn!(?word, reason = error.reason.as_str(), "a notice was not sent");
            }
        }
    }

    /// The messages of the answer: those of its text, and its question if there is a person to ask.
    pub(super) async fn count_segments(&mut self) -> Result<u32, Stopped> {
        let can_ask = self.integration.is_some() && self.origin.is_some();
        let asked = usize::from(can_ask && self.asks());
        let said = self.said().await?.len();
        Ok(u32::try_from(said + asked).unwrap_or(u32::MAX))
    }

    async fn segment(
        &mut self,
        run: &Run,
        turn: &OpenTurn,
        index: usize,
    ) -> Result<Option<Segment>, Stopped> {
        let said = self.said().await?;
        if index != said.len() {
            return Ok(said.get(index).cloned());
        }
        let mention = self.origin.as_ref().and_then(|origin| self.mention(origin));
        let mention = mention.filter(|_| said.is_empty()).map(ToOwned::to_owned);
        let question = self.question(run, turn, self.in_place_of_links(turn));
        Ok(question.map(|question| Segment { mention, ..question }))
    }

    /// The messages of the answer's text.
    async fn said(&mut self) -> Result<Arc<[Segment]>, Stopped> {
        if let Some(said) = &self.said {
            return Ok(said.clone());
        }
        let text = self.answer.as_ref().map(|answer| answer.text.clone()).unwrap_or_default();
        if text.trim().is_empty() {
            return Ok(Arc::default());
        }
        let language = language(self.integration);
        let mention = self.origin.as_ref().and_then(|origin| self.mention(origin));
        let (limits, mention) = (self.hands.config.reply, mention.map(ToOwned::to_owned));
        let is_short = text.len() <= SPLIT_AT_ONCE_BYTES;
        let work = move || segments(&text, limits, language, mention.as_deref());
        let made = match is_short {
            true => work(),
            false => self.hands.context.compute(work).await.context("split the answer")?,
        };
        if made.is_cut {
            self.hands.context.metrics.limit_breached("segments");
        }
        let said: Arc<[Segment]> = made.list.into();
        self.said = Some(said.clone());
        Ok(said)
    }

    /// In a group the answer names who asked, where the trigger wants it.
    pub(super) fn mention<'b>(&self, origin: &'b Origin) -> Option<&'b str> {
        let integration = &self.integration?.id;
        let trigger = self.hands.routing.trigger_of(integration)?;
        let is_group = origin.place.kind == PlaceKind::Group;
        (is_group && trigger.mention_asker).then_some(origin.sender.staff_id.as_deref()?)
    }

    /// A run that goes on after another reads the answer from the journal.
    async fn load_answer(&mut self, turn: &OpenTurn) -> Result<Loaded, Stopped> {
        if self.answer.is_some() {
            return Ok(Loaded::Known);
        }
        let Phase::Sending(sending) = &turn.phase else { return Ok(Loaded::Known) };
        let Some(seq) = sending.answer else { return Ok(Loaded::Known) };
        match self.hands.journal.answer(seq).await {
            Ok(answer) => {
                self.answer = Some(answer);
                self.said = None;
                Ok(Loaded::Known)
            }
            Err(journal::Error::AnswerGone(_)) => Ok(Loaded::Gone),
            Err(error) => Err(error).context("read the answer from the journal")?,
        }
    }
}
