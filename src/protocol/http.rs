//! What a plain HTTP answer says about trying again, for runtimes and for DingTalk alike.
//!
//! Any bytes are taken, and limits are applied here: no wait is longer than an hour, no excerpt longer
//! than a line.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::domain::time::Timestamp;
use crate::protocol::mask::mask;

/// Longer than this nobody is asked to wait by a header.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);
const EXCERPT_CHARS: usize = 300;
/// More of a response is not looked at for its excerpt.
const EXCERPT_READ_BYTES: usize = 4 * 1024;

/// The same request would be refused again: 4xx, but for those that speak of time or load.
pub fn is_permanent(status: u16) -> bool {
    (400..500).contains(&status) && !matches!(status, 408 | 409 | 425 | 429)
}

/// The header `Retry-After`: seconds or a date.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    let wait = if let Ok(seconds) = value.parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        http_date(value)?.since(now)
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// The time in a header, of whole seconds.
pub fn http_date(value: &str) -> Option<Timestamp> {
    let at = OffsetDateTime::parse(value, &Rfc2822).ok()?;
    Some(Timestamp(at.unix_timestamp().saturating_mul(1000)))
}

/// The beginning of a response, on one line, without control characters and without secrets, for operators.
pub fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(beginning(body, EXCERPT_READ_BYTES));
    let mut excerpt = String::new();
    let is_gap = |c: char| c.is_whitespace() || c.is_control();
    for word in text.split(is_gap).filter(|word| !word.is_empty()) {
        if !excerpt.is_empty() {
            excerpt.push(' ');
        }
        excerpt.push_str(word);
        if excerpt.len() > 4 * EXCERPT_CHARS {
            break;
        }
    }
    mask(&excerpt).chars().take(EXCERPT_CHARS).collect()
}

/// At most `max_bytes` of `body`, without half a character at the end.
fn beginning(body: &[u8], max_bytes: usize) -> &[u8] {
    let is_boundary = |at: &usize| body.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
    // No character is longer than four bytes.
    let end = (max_bytes.saturating_sub(3)..=max_bytes).rev().find(is_boundary);
    body.get(..end.unwrap_or(max_bytes)).unwrap_or(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let now = Timestamp(784_111_777_000); // Sun, 06 Nov 1994 08:49:37 GMT
        let table = [
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("99999999", Some(3600)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ];
        for (value, expected) in table {
            assert_eq!(retry_after(value, now), expected.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn an_excerpt_is_one_line_that_does_nothing_to_a_terminal() {
        let table = [
            (&b" a\r\n\tb "[..], "a b"),
            (b"\x1b[31mred\x07\0", "[31mred"),
            (b"{\"token\": \"abc\"}", "{\"token\": \"***\"}"),
            (b"\xff\xe4", "\u{fffd}\u{fffd}"),
            (b"", ""),
        ];
        for (body, expected) in table {
            assert_eq!(excerpt(body), expected, "{body:?}");
        }
    }

    #[test]
    fn an_excerpt_reads_no_more_than_it_may_and_cuts_at_a_character() {
        for len in 0..9 {
            let body = "你a".repeat(3);
            let kept = beginning(body.as_bytes(), len);
            assert!(std::str::from_utf8(kept).is_ok_and(|kept| kept.len() + 2 >= len), "{len}");
        }
        assert_eq!(beginning(&[0x80; 10], 5), [0x80; 5]);
        assert_eq!(beginning(b"abc", 5), b"abc");
    }

    #[test]
    fn only_refusals_that_would_repeat_are_permanent() {
        for status in [400, 401, 403, 404, 410, 413, 422, 451] {
            assert!(is_permanent(status), "{status}");
        }
        for status in [200, 302, 408, 409, 425, 429, 500, 502, 503, 504] {
            assert!(!is_permanent(status), "{status}");
        }
    }
}
