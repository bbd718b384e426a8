//! English.

use super::Word;

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
        Word::Help => {
            "/new - new session\n/end - end the session\n/stop - stop the answer\n/status - status\n/help - this help"
        }
        Word::ConfirmTitle => "Please confirm",
        Word::Confirm => "Confirm",
        Word::Reject => "Reject",
        Word::End => "End session",
        Word::FileTooLarge => "The file is too large to be read. Please send a smaller one.",
        Word::MarkPicture => "picture {n}",
        Word::MarkVoice => "voice {n}",
        Word::MarkVideo => "video {n}",
        Word::MarkFile => "file {n}",
        Word::MarkTooLarge => "too large",
        Word::MarkUnreadable => "could not be read",
        Word::MarkLeftOut => "[{n} more not passed on: too many]",
    }
}
