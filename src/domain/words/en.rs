//! English.
//!
//! The words as people read them, and how lengths of time are said. What is said when is decided
//! elsewhere. A new word is an arm here and in every other catalogue.

use std::time::Duration;

use super::{Word, hours};
use crate::domain::status::{Status, Work};

pub(super) fn text(word: Word) -> &'static str {
    match word {
        Word::Unbound => "No expert is connected to this robot yet. Please ask your administrator.",
        Word::ExpertAway => {
            "The expert is away at the moment. Your message is kept and will be answered."
        }
        Word::Failed => "Your question could not be answered. The administrator has been informed.",
        Word::Unsupported => "This kind of message is not supported yet. Please write text.",
        Word::Stopped => "Stopped.",
        Word::SessionNew => "A new session begins with your next message.",
        Word::SessionEnded => "The session has ended.",
        Word::ActionExpired => "This action is no longer valid.",
        Word::ActionForeign => "Only the person who asked may answer this.",
        Word::Queued => "Your message waits for the answer before it.",
        Word::Help => {
            "/new - new session\n/end - end the session\n/stop - stop the answer\n/status - status\n/help - this help"
        }
        Word::ConfirmTitle => "Please confirm",
        Word::Confirm => "Confirm",
        Word::Reject => "Reject",
        Word::End => "End session",
        Word::AskedInPrivate => "The buttons are in a direct message to the person who asked.",
        Word::AskedInWords => {
            "To answer, send me a message with your decision. /end ends the session."
        }
        Word::AskedInVain => {
            "This question's session has ended: it cannot be answered any more. Please ask again."
        }
        Word::Confirmed => "Confirmed",
        Word::Rejected => "Rejected",
        Word::AnsweredOtherwise => "Answered by a message",
        Word::QuestionStopped => "Stopped",
        Word::QuestionEnded => "Session ended",
        Word::QuestionExpired => "Expired",
        Word::FileTooLarge => "The file is too large to be read. Please send a smaller one.",
        Word::PageAskEnd => "End this session?",
        Word::PageAskConfirm => "Confirm?",
        Word::PageAskReject => "Reject?",
        Word::PageConfirmed => "Confirmed. The answer comes in DingTalk.",
        Word::PageRejected => "Rejected. The answer comes in DingTalk.",
        Word::PageWrong => "This link is not valid.",
        Word::PageOver => "This link has expired or was used.",
        Word::PageNotNow => "This cannot be done right now. Please try again.",
        Word::AnswerCut => "(The answer is too long; the rest is not shown.)",
        Word::AnswerTitle => "Reply",
        Word::InlinePicture => "picture",
        Word::InlineFile => "attachment",
        Word::MarkPicture => "picture {n}",
        Word::MarkVoice => "voice {n}",
        Word::MarkVideo => "video {n}",
        Word::MarkFile => "file {n}",
        Word::MarkTooLarge => "too large",
        Word::MarkUnreadable => "could not be read",
        Word::MarkContent => "content",
        Word::MarkQuote => "quoted message",
        Word::MarkLeftOut => "[{n} more not passed on: too many]",
    }
}

pub(super) fn chosen(action: &str) -> String {
    format!("Chosen: {action}")
}

pub(super) fn asked_in(group: &str) -> String {
    format!("Asked in the group {group}:")
}

pub(super) fn status(status: &Status) -> String {
    let expert = status.expert.as_ref().map_or("none", |expert| expert.as_str());
    let session = match &status.session {
        None => "none".to_owned(),
        Some(open) => {
            let age = open.age.map(|age| format!(" for {}", long(age))).unwrap_or_default();
            format!("open{age}, ends after another {} of silence", long(open.ends_after))
        }
    };
    let work = match status.work {
        Work::Idle => "",
        Work::Answering => "Now: answering\n",
        Work::Waiting => "Now: waiting for the expert\n",
    };
    let waiting = status.waiting;
    format!("Expert: {expert}\nSession: {session}\n{work}Waiting messages: {waiting}")
}

fn long(duration: Duration) -> String {
    match hours(duration) {
        (0, 0) => "less than a minute".to_owned(),
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}
