//! The runtime's question to the person: asked by a card where the integration has a template, else by a
//! message with a signed link for each answer; and closed once it is open no more.
//!
//! A link acts for the asker, whoever follows it: where not everybody in a group may, it goes to the asker
//! alone, and then the group hears of that. What cannot be made leaves the next way, words at last. Closing
//! is a courtesy that nothing waits for: a press on a card that was not closed is answered all the same,
//! changes nothing, and closes it.

use std::time::Duration;

use anyhow::Context as _;

use super::language;
use super::turning::{Turning, turn_id};
use crate::domain::answer::Interrupt;
use crate::domain::binding::{Integration, Mode};
use crate::domain::entry::{Entry, Origin};
use crate::domain::id::{Seq, TurnId};
use crate::domain::inbound::PlaceKind;
use crate::domain::press;
use crate::domain::reply::{self, Format, Segment};
use crate::domain::retry::UNKNOWN_ATTEMPTS_MAX;
use crate::domain::turn::question::{Asking, Closing};
use crate::domain::turn::{Event, OpenTurn, Phase, Sending};
use crate::domain::words::{self, Word};
use crate::io::dingtalk::failure::{SendClass, SendError};
use crate::protocol::action::{Kind, Link};
use crate::protocol::card::question::{Callback, Question, Route, TEXT_MAX_BYTES};
use crate::worker::run::{Run, Stopped};

/// How long the links of a question may be pressed.
const LINK_LIFE: Duration = Duration::from_secs(24 * 3600);
/// After so many a card or a direct message that cannot be sent gives way to the next way to ask.
const ASIDE_ATTEMPTS_MAX: u32 = 4;
/// What DingTalk counts beside the text.
const RESERVE_BYTES: usize = 1000;
const TITLE_CHARS: usize = 100;

impl Turning<'_> {
    /// The answer that is being sent ends with a question.
    pub(super) fn asks(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.interrupt.is_some())
    }

    /// The links of a question count from when it was asked: its messages may have waited for days.
    pub(super) async fn date_question(&mut self, turn: &OpenTurn) -> Result<(), Stopped> {
        if let Phase::Sending(Sending { answer: Some(seq), .. }) = &turn.phase
            && self.asks()
            && self.asked_at.is_none()
        {
            let stored_at = self.hands.journal.stored_at(*seq).await;
            self.asked_at = stored_at.context("read when the question was asked")?;
        }
        Ok(())
    }

    /// Whether the next segment is a card: the same card twice is one card.
    pub(super) fn is_card_next(&self, turn: &OpenTurn) -> bool {
        let has_template = self.integration.is_some_and(|it| it.card_template_id.is_some());
        has_template && is_question_next(turn)
    }

    /// Asks by a card, or in private what only its asker may answer. `None`: what is left is a message
    /// where the turn was asked.
    pub(super) async fn ask_aside(
        &mut self,
        run: &Run,
        turn: &OpenTurn,
    ) -> Result<Option<Event>, Stopped> {
        if !is_question_next(turn) {
            return Ok(None);
        }
        if let Some(event) = self.ask_by_card(run, turn).await? {
            return Ok(Some(event));
        }
        if std::mem::take(&mut self.is_card_doubted) {
            self.hands.context.metrics.ambiguous_sends.inc();
        }
        self.ask_in_private(run, turn).await
    }

    /// `None`: it is asked by a message.
    async fn ask_by_card(&self, run: &Run, turn: &OpenTurn) -> Result<Option<Event>, Stopped> {
        let interrupt = self.answer.as_ref().and_then(|answer| answer.interrupt.as_ref());
        let (Some(interrupt), Some(integration), Some(origin)) =
            (interrupt, self.integration, &self.origin)
        else {
            return Ok(None);
        };
        let Some(template) = integration.card_template_id.as_deref() else { return Ok(None) };
        let trigger = self.hands.routing.trigger_of(&integration.id);
        if !press::may_card_be_pressed(&origin.sender, trigger.as_deref()) {
            return Ok(None);
        }
        let text = reply::markdown(&interrupt.text, usize::MAX, integration.language);
        if text.len() > TEXT_MAX_BYTES {
            return Ok(None);
        }
        let (id, title) = (turn_id(run, turn), title(interrupt, integration));
        let question = Question {
            turn: &id,
            template,
            robot_code: origin.robot_code.as_deref().unwrap_or_else(|| integration.robot_code()),
            title: &title,
            text: &text,
            language: integration.language,
            is_mentioned: self.mention(origin).is_some(),
        };
        run.check()?;
        let callback = self.card_callback(integration);
        let asked = self.sender(run).ask(integration, origin, question, &callback).await;
        let at = self.hands.context.clock.now();
        let Err(error) = asked else { return Ok(Some(Event::Sent { webhook_free_at: None, at })) };
        Ok(self.unless_spent(turn, &error, "by a message"))
    }

    /// A group's links would act for whoever follows them.
    async fn ask_in_private(&self, run: &Run, turn: &OpenTurn) -> Result<Option<Event>, Stopped> {
        let (Some(integration), Some(origin)) = (self.integration, &self.origin) else {
            return Ok(None);
        };
        if self.are_links_for_all(integration, origin) {
            return Ok(None);
        }
        let (Some(aside), Some(mut question)) = (origin.aside(), self.question(run, turn, None))
        else {
            return Ok(None);
        };
        if let Some(group) = &origin.place.title {
            let asked_in = words::asked_in(integration.language, group);
            question.text = format!("{asked_in}\n\n{}", question.text);
        }
        run.check()?;
        match self.sender(run).send(integration, &aside, &question).await {
            Ok(_) => Ok(Some(Event::AskedInPrivate)),
            Err(error) => Ok(self.unless_spent(turn, &error, "in words")),
        }
    }

    /// `None` where this way is given up; the log says why.
    fn unless_spent(&self, turn: &OpenTurn, error: &SendError, instead: &str) -> Option<Event> {
        let attempt = sending(turn).map_or(1, |sending| sending.attempt);
        let is_spent = match error.class {
            SendClass::Wait(_) => false,
            SendClass::Retryable { .. } => attempt >= ASIDE_ATTEMPTS_MAX,
            SendClass::Unknown => attempt >= UNKNOWN_ATTEMPTS_MAX,
            SendClass::Permanent | SendClass::Quota => true,
        };
        if !is_spent {
            return Some(self.send_failed(error));
        }
        tracing::warn!(
            reason = error.reason.as_str(),
            instead,
            "a question is asked in another way"
        );
        None
    }

    fn are_links_for_all(&self, integration: &Integration, origin: &Origin) -> bool {
        let trigger = self.hands.routing.trigger_of(&integration.id);
        origin.place.kind == PlaceKind::Private || press::may_all_act(trigger.as_deref())
    }

    /// What the message says that asks the question where the turn was asked; `None`: it has the links.
    pub(super) fn in_place_of_links(&self, turn: &OpenTurn) -> Option<Word> {
        let (integration, origin) = (self.integration?, self.origin.as_ref()?);
        match sending(turn)?.asks {
            Asking::InPrivate => Some(Word::AskedInPrivate),
            Asking::Openly if self.are_links_for_all(integration, origin) => None,
            Asking::Openly => Some(Word::AskedInWords),
            // A question all the same, of a session that is over.
            Asking::Nothing => Some(Word::AskedInVain),
        }
    }

    fn card_callback(&self, integration: &Integration) -> Callback {
        match integration.mode {
            Mode::Stream => Callback::Stream,
            Mode::Http => {
                let public_url = self.hands.config.public_url.trim_end_matches('/');
                let url = format!("{public_url}/api/dingtalk/webhook/{}", integration.id);
                let secret = self.hands.links.card_api_secret(&integration.id);
                Callback::Http(Route { url, secret })
            }
        }
    }

    /// The question as a message: with a signed link for each answer, or with a word in their place.
    pub(super) fn question(
        &self,
        run: &Run,
        turn: &OpenTurn,
        in_place: Option<Word>,
    ) -> Option<Segment> {
        let interrupt = self.answer.as_ref()?.interrupt.as_ref()?;
        let (integration, origin) = (self.integration?, self.origin.as_ref()?);
        let language = integration.language;
        let title = title(interrupt, integration);
        let answers = match in_place {
            None => self.links(integration, origin, &turn_id(run, turn)),
            Some(word) => word.text(language).to_owned(),
        };
        let taken = reply::json_len(&answers) + reply::json_len(&title) + RESERVE_BYTES;
        let max = self.hands.config.reply.segment_max_bytes.saturating_sub(taken);
        let text = reply::markdown(&interrupt.text, max, language);
        let text = format!("#### {title}\n\n{text}\n\n{answers}");
        Some(Segment { format: Format::Markdown, title, text, mention: None })
    }

    fn links(&self, integration: &Integration, origin: &Origin, turn: &TurnId) -> String {
        // Somebody removed the record: the question is as old as what it is about.
        let said_at = || self.entries.last().map_or_else(Default::default, |logged| logged.at);
        let asked_at = self.asked_at.unwrap_or_else(said_at);
        let link = |kind: Kind, word: Word| {
            let link = Link {
                kind,
                integration: integration.id.clone(),
                conversation_id: origin.place.id.clone(),
                sender_id: origin.sender.id.clone(),
                staff_id: origin.sender.staff_id.clone(),
                place_kind: Some(origin.place.kind),
                turn: Some(turn.clone()),
                expires_at: asked_at.after(LINK_LIFE),
            };
            let url = link.to_url(&self.hands.config.public_url, &self.hands.links);
            format!("[{}]({url})", word.text(integration.language))
        };
        let links = [
            link(Kind::Confirm, Word::Confirm),
            link(Kind::Reject, Word::Reject),
            link(Kind::End, Word::End),
        ];
        links.join("　")
    }

    /// The question of the turn that ended at `question` is open no more.
    pub(super) fn close(&self, run: &Run, question: Seq, how: Closing) {
        let Some(integration) = self.integration.filter(|it| it.card_template_id.is_some()) else {
            return;
        };
        let turn = TurnId { conversation: run.conversation.clone(), last: question };
        let result = self.result(how);
        self.hands.cards.close(integration, turn, Some(result));
    }

    /// Somebody pressed a card that is open no more: it still shows buttons.
    pub(super) fn close_pressed(&self) {
        let pressed = self.entries.last().map(|logged| &logged.entry);
        // A link has a place, a card is one.
        if let (Some(Entry::Action(action)), Some(integration)) = (pressed, self.integration)
            && action.place.is_none()
        {
            self.hands.cards.close(integration, action.turn.clone(), None);
        }
    }

    /// What the closed question says.
    fn result(&self, how: Closing) -> String {
        let language = language(self.integration);
        let word = match how {
            Closing::Stopped => Word::QuestionStopped,
            Closing::Ended => Word::QuestionEnded,
            Closing::Expired => Word::QuestionExpired,
            Closing::Answered => match self.entries.last().map(|logged| &logged.entry) {
                Some(Entry::Action(action)) => return words::pressed(language, &action.kind),
                Some(_) | None => Word::AnsweredOtherwise,
            },
        };
        word.text(language).to_owned()
    }
}

/// What is being sent; `None` in any other phase.
fn sending(turn: &OpenTurn) -> Option<&Sending> {
    match &turn.phase {
        Phase::Sending(sending) => Some(sending),
        Phase::Running
        | Phase::Waiting { .. }
        | Phase::Retry { .. }
        | Phase::Parked { .. }
        | Phase::Burying { .. } => None,
    }
}

/// It is the last segment, and nobody has it yet.
fn is_question_next(turn: &OpenTurn) -> bool {
    sending(turn).is_some_and(|sending| {
        sending.asks == Asking::Openly && sending.sent + 1 == sending.segments
    })
}

fn title(interrupt: &Interrupt, integration: &Integration) -> String {
    match interrupt.title.trim() {
        "" => Word::ConfirmTitle.text(integration.language).to_owned(),
        title => title.chars().take(TITLE_CHARS).collect(),
    }
}
