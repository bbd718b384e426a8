//! Commands that a person gives by a message of their own.
//!
//! Only a whole message is a command: a word inside a sentence never is.

use super::entry::{Control, ControlKind, Entry, Query, QueryKind};
use super::inbound::{Message, Part, PlaceKind};

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

    /// The command that `message` is; a file beside the word makes it an ordinary message. In a group a
    /// client may leave the mention of the robot in front of the word.
    pub fn of(message: &Message) -> Option<Self> {
        if !message.parts.iter().all(|part| matches!(part, Part::Text(_))) {
            return None;
        }
        let text = message.text();
        let is_group = message.place.kind == PlaceKind::Group;
        Self::parse(if is_group { without_mention(&text) } else { &text })
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

/// What follows one leading `@name`: no message tells the robot's name. `text` is trimmed.
fn without_mention(text: &str) -> &str {
    let Some(named) = text.strip_prefix(['@', '＠']) else { return text };
    let is_gap = |c: char| c.is_whitespace();
    named.split_once(is_gap).map_or(text, |(name, rest)| if name.is_empty() { text } else { rest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::MsgId;
    use crate::domain::inbound::{Media, MediaKind, Missing, Place, Sender};

    fn message(kind: PlaceKind, parts: Vec<Part>) -> Message {
        Message {
            msg_id: MsgId::parse("m==").unwrap(),
            place: Place { id: "cid".into(), kind, title: None },
            sender: Sender { id: "s".into(), staff_id: None, name: String::new(), corp_id: None },
            robot_code: None,
            created_at: None,
            kind: "text".into(),
            parts,
            quote: None,
            webhook: None,
        }
    }

    #[test]
    fn a_mention_that_a_client_left_in_front_is_no_part_of_a_command() {
        use PlaceKind::{Group, Private};
        let cases = [
            (Group, "@Robot /new", Some(Command::New)),
            (Group, " @Robot\u{2005}/new", Some(Command::New)),
            (Group, "＠小助手\u{3000}停止", Some(Command::Stop)),
            (Group, "@Robot\n /end ", Some(Command::End)),
            (Group, "/new", Some(Command::New)),
            (Group, "@Robot", None),
            (Group, "@ /new", None),
            (Group, "@Robot/new", None),
            (Group, "@Robot @Tom /new", None),
            (Group, "@Robot please /new", None),
            (Private, "@Robot /new", None),
        ];
        for (kind, text, command) in cases {
            let message = message(kind, vec![Part::Text(text.into())]);
            assert_eq!(Command::of(&message), command, "{text:?}");
        }
    }

    #[test]
    fn what_stands_beside_the_word_makes_it_an_ordinary_message() {
        let (kind, code) = (MediaKind::Picture, "c".into());
        let media = Part::Media(Media { kind, code, name: None, recognition: None });
        for beside in [media, Part::Missing(Missing::Content)] {
            let parts = vec![Part::Text("/new".into()), beside];
            assert_eq!(Command::of(&message(PlaceKind::Private, parts)), None);
        }
    }

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
