//! Commands that a person gives by a message of their own.
//!
//! Only a whole message is a command: a word inside a sentence never is.

use super::entry::{Control, ControlKind, Entry, Query, QueryKind};
use super::inbound::Message;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Stop,
    New,
    End,
    Status,
    Help,
}

impl Command {
    /// In any case, in English or Chinese; the Chinese word also behind a slash.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let behind_slash = text.strip_prefix(['/', '／']);
        match behind_slash.unwrap_or(text) {
            "新会话" => return Some(Self::New),
            "结束会话" => return Some(Self::End),
            "停止" => return Some(Self::Stop),
            "状态" => return Some(Self::Status),
            "帮助" => return Some(Self::Help),
            _ => {}
        }
        match behind_slash?.to_ascii_lowercase().as_str() {
            "new" => Some(Self::New),
            "end" => Some(Self::End),
            "stop" => Some(Self::Stop),
            "status" => Some(Self::Status),
            "help" => Some(Self::Help),
            _ => None,
        }
    }

    /// The command that `message` is; a file beside the word makes it an ordinary message.
    pub fn of(message: &Message) -> Option<Self> {
        if message.media().next().is_some() {
            return None;
        }
        Self::parse(&message.text())
    }

    /// What the log keeps of the command that `message` gave: some end unfinished turns, the others are
    /// only answered.
    pub fn entry(self, message: &Message) -> Entry {
        let origin = message.origin();
        let control = |kind, origin| Entry::Control(Control { kind, origin: Some(origin) });
        match self {
            Self::Stop => control(ControlKind::Stop, origin),
            Self::New => control(ControlKind::New, origin),
            Self::End => control(ControlKind::End, origin),
            Self::Status => Entry::Query(Query { kind: QueryKind::Status, origin }),
            Self::Help => Entry::Query(Query { kind: QueryKind::Help, origin }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_message_is_a_command() {
        let cases = [
            ("/new", Some(Command::New)),
            (" /New\n", Some(Command::New)),
            ("新会话", Some(Command::New)),
            ("/END", Some(Command::End)),
            ("结束会话", Some(Command::End)),
            ("/stop", Some(Command::Stop)),
            ("／停止", Some(Command::Stop)),
            ("/status", Some(Command::Status)),
            ("状态", Some(Command::Status)),
            ("/help", Some(Command::Help)),
            ("/帮助", Some(Command::Help)),
            ("help", None),
            ("/new session", None),
            ("请停止", None),
            ("//new", None),
            ("/", None),
            ("", None),
        ];
        for (text, command) in cases {
            assert_eq!(Command::parse(text), command, "{text}");
        }
    }
}
