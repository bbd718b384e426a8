//! Saying it, as `src/worker/dispatch/telling.rs` and `questioning.rs` have it: segments in order, and a
//! question by a card, by links for all, or by links for its asker alone.

use std::time::Duration;

use dingtalk_trigger::domain::turn::failed::Tries;
use dingtalk_trigger::domain::turn::question::Asking;
use dingtalk_trigger::domain::turn::{Event, OpenTurn, Phase, Sending};

use crate::broker::Place;
use crate::run::failed;
use crate::world::{Bug, World};

/// How a conversation's questions are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Card,
    /// Everybody may press.
    Links,
    /// To the asker in private, and then a word to the group.
    Aside,
}

pub(crate) fn way(place: Place) -> Way {
    match place {
        0 => Way::Card,
        1 => Way::Links,
        _ => Way::Aside,
    }
}

/// The question is the next segment, and nobody has it yet.
pub(crate) fn is_question_next(turn: &OpenTurn) -> bool {
    sending(turn).is_some_and(|sending| {
        sending.asks == Asking::Openly && sending.sent + 1 == sending.segments
    })
}

fn sending(turn: &OpenTurn) -> Option<&Sending> {
    match &turn.phase {
        Phase::Sending(sending) => Some(sending),
        _ => None,
    }
}

impl World {
    pub(crate) fn send(&mut self, place: Place, turn: &OpenTurn, segment: u32) -> Event {
        let at = self.clock();
        let luck = if self.is_calm { 9 } else { self.rng.below(30) };
        match luck {
            0 => Event::SendFailed { failure: failed(None), tries: Tries::Schedule, at },
            1 => {
                let is_passed_over = self.bug == Some(Bug::SegmentPassedOver)
                    && sending(turn).is_some_and(|sending| segment + 1 < sending.segments);
                if is_passed_over {
                    self.oracle.sent(place, turn.last, segment + 1);
                    return self.arrived(place, turn, segment);
                }
                let (failure, tries) = (failed(Some(Duration::ZERO)), Tries::Schedule);
                Event::SendFailed { failure, tries, at }
            }
            // Nobody knows whether it arrived; it did.
            2 => {
                self.arrived(place, turn, segment);
                if way(place) != Way::Card || !is_question_next(turn) {
                    self.oracle.ambiguous += 1;
                }
                let (failure, tries) = (failed(Some(Duration::ZERO)), Tries::Schedule);
                Event::SendFailed { failure, tries, at }
            }
            3 => Event::SendHeld { until: at.after(Duration::from_secs(3)) },
            // No direct message to this person: the group is asked in words.
            4 if way(place) == Way::Aside && is_question_next(turn) => {
                if self.bug == Some(Bug::ToldBeforeAsked) {
                    return Event::AskedInPrivate;
                }
                self.oracle.sent(place, turn.last, segment);
                Event::Sent { webhook_free_at: None, at }
            }
            _ => self.arrived(place, turn, segment),
        }
    }

    /// DingTalk shows it.
    fn arrived(&mut self, place: Place, turn: &OpenTurn, segment: u32) -> Event {
        let at = self.clock();
        let asks = sending(turn).map_or(Asking::Nothing, |sending| sending.asks);
        let is_question = is_question_next(turn);
        if is_question {
            self.shown.push((place, turn.last));
            // Often at once, before it is on record that the question was asked.
            if self.rng.once_in(2) {
                self.press();
            }
        }
        match way(place) {
            Way::Aside if is_question => {
                self.oracle.asked_aside(place, turn.last);
                return Event::AskedInPrivate;
            }
            Way::Card if is_question => self.oracle.card_shown(place, turn.last, segment),
            Way::Aside if asks == Asking::InPrivate => {
                self.oracle.told_of_links(place, turn.last);
                self.oracle.sent(place, turn.last, segment);
            }
            Way::Card | Way::Links | Way::Aside => self.oracle.sent(place, turn.last, segment),
        }
        Event::Sent { webhook_free_at: None, at }
    }
}
