//! Every word the service says of its own accord, in each language: one catalogue file a language.
//!
//! The catalogues have no fallback: a word that lacks a language does not compile. Nothing a person
//! wrote is part of a word.

mod en;
mod zh_hans;

use std::time::Duration;

use super::binding::Language;
use super::entry::ActionKind;
use super::status::Status;

const CHOSEN_CHARS_MAX: usize = 60;
const GROUP_CHARS_MAX: usize = 60;

/// What there is to say. Texts are plain; names of people never appear in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    Unbound,
    ExpertAway,
    Failed,
    Unsupported,
    Stopped,
    SessionNew,
    SessionEnded,
    ActionExpired,
    ActionForeign,
    Queued,
    Help,
    ConfirmTitle,
    Confirm,
    Reject,
    End,
    /// What a group reads in place of buttons that not all of it may press.
    AskedInPrivate,
    /// Where nobody can be given buttons.
    AskedInWords,
    /// Where no answer would reach whoever asks.
    AskedInVain,
    /// What a closed question says of its end.
    Confirmed,
    Rejected,
    AnsweredOtherwise,
    QuestionStopped,
    QuestionEnded,
    QuestionExpired,
    FileTooLarge,
    /// What the page behind a link asks, and what came of it.
    PageAskEnd,
    PageAskConfirm,
    PageAskReject,
    PageConfirmed,
    PageRejected,
    PageWrong,
    PageOver,
    PageNotNow,
    /// At the end of an answer that is longer than may be sent.
    AnswerCut,
    /// What a list of conversations shows of an answer that has no words.
    AnswerTitle,
    /// What a person reads in place of a file that an answer carries within its text.
    InlinePicture,
    InlineFile,
    /// Where a picture stood in a text for the expert; `{n}` is its number.
    MarkPicture,
    MarkVoice,
    MarkVideo,
    MarkFile,
    MarkTooLarge,
    MarkUnreadable,
    MarkLeftOut,
    /// What cannot be read and is no file; what is quoted.
    MarkContent,
    MarkQuote,
}

impl Word {
    pub const ALL: [Self; 46] = [
        Self::Unbound,
        Self::ExpertAway,
        Self::Failed,
        Self::Unsupported,
        Self::Stopped,
        Self::SessionNew,
        Self::SessionEnded,
        Self::ActionExpired,
        Self::ActionForeign,
        Self::Queued,
        Self::Help,
        Self::ConfirmTitle,
        Self::Confirm,
        Self::Reject,
        Self::End,
        Self::AskedInPrivate,
        Self::AskedInWords,
        Self::AskedInVain,
        Self::Confirmed,
        Self::Rejected,
        Self::AnsweredOtherwise,
        Self::QuestionStopped,
        Self::QuestionEnded,
        Self::QuestionExpired,
        Self::FileTooLarge,
        Self::PageAskEnd,
        Self::PageAskConfirm,
        Self::PageAskReject,
        Self::PageConfirmed,
        Self::PageRejected,
        Self::PageWrong,
        Self::PageOver,
        Self::PageNotNow,
        Self::AnswerCut,
        Self::AnswerTitle,
        Self::InlinePicture,
        Self::InlineFile,
        Self::MarkPicture,
        Self::MarkVoice,
        Self::MarkVideo,
        Self::MarkFile,
        Self::MarkTooLarge,
        Self::MarkUnreadable,
        Self::MarkLeftOut,
        Self::MarkContent,
        Self::MarkQuote,
    ];

    pub fn text(self, language: Language) -> &'static str {
        match language {
            Language::En => en::text(self),
            Language::ZhHans => zh_hans::text(self),
        }
    }
}

/// The answer to `/status`.
pub fn status(language: Language, status: &Status) -> String {
    match language {
        Language::En => en::status(status),
        Language::ZhHans => zh_hans::status(status),
    }
}

/// What a question says that was closed by a press.
pub fn pressed(language: Language, action: &ActionKind) -> String {
    let word = match action {
        ActionKind::Confirm => Word::Confirmed,
        ActionKind::Reject => Word::Rejected,
        ActionKind::End => Word::QuestionEnded,
        // Only the expert knows what it means.
        ActionKind::Custom(name) => {
            let name: String = name.chars().take(CHOSEN_CHARS_MAX).collect();
            return match language {
                Language::En => en::chosen(&name),
                Language::ZhHans => zh_hans::chosen(&name),
            };
        }
    };
    word.text(language).to_owned()
}

/// Where a question comes from that its asker reads in a direct message.
pub fn asked_in(language: Language, group: &str) -> String {
    let words: Vec<_> = group.split_whitespace().collect();
    let is_plain = |c: &char| !matches!(c, '[' | ']' | '(' | ')' | '<' | '>' | '`' | '*' | '!');
    let group = words.join(" ").chars().filter(is_plain).take(GROUP_CHARS_MAX).collect::<String>();
    match language {
        Language::En => en::asked_in(&group),
        Language::ZhHans => zh_hans::asked_in(&group),
    }
}

/// Whole hours, and the minutes beyond them.
fn hours(duration: Duration) -> (u64, u64) {
    let minutes = duration.as_secs() / 60;
    (minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_said_differently_in_each_language() {
        for word in Word::ALL {
            let (en, zh) = (word.text(Language::En), word.text(Language::ZhHans));
            assert!(en.is_ascii() && !en.is_empty(), "{word:?}");
            assert!(!zh.is_ascii(), "{word:?}");
        }
    }
}
