//! Ids that others made up and that we send back: in a path, in a header, in a record.
//!
//! One with a slash leads to another address of the server, one with a line feed ends a header, and one of two
//! megabytes fits no record. Anything but such a short plain word is unreadable.

const CHARS_MAX: usize = 200;

/// The id of a run, a conversation or another thing of a runtime, as a part of a path.
pub fn is_id(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    // A path leaves these out, and then leads to what lies above.
    let is_step = matches!(text, "." | "..");
    (1..=CHARS_MAX).contains(&text.len()) && text.bytes().all(is_plain) && !is_step
}

/// The id of an event in a stream, as a header's value.
pub fn is_event_id(text: &str) -> bool {
    (1..=CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_plain_words_are_ids() {
        let (most, over) = ("a".repeat(200), "a".repeat(201));
        for id in ["1", "run_1", "b0c3d5a2-11f0", "v1.2", "...", &most] {
            assert!(is_id(id) && is_event_id(id), "{id}");
        }
        for id in ["", "../admin?x=1#", "a/b", "a b", "a\n", "你", "..", ".", &over] {
            assert!(!is_id(id), "{id}");
        }
        for id in ["1700000000000-0", "a/b", "!~"] {
            assert!(is_event_id(id), "{id}");
        }
        for id in ["", "a b", "a\nx-api-key: 1", "\u{7f}", "你", &over] {
            assert!(!is_event_id(id), "{id}");
        }
    }
}
