//! Half an emoji in JSON: an escape such as `\ud83d` without its other half, which no parser takes.
//!
//! A writer that cuts a text at an index of UTF-16 makes such JSON. Guarantees that each half that stands alone
//! becomes U+FFFD, and that two halves in texts that are joined become whole again: they are kept as
//! noncharacters from [`parsed_in_pieces`] to [`joined`]. Every function is linear in its input, and JSON
//! that can be parsed as it is costs nothing.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

/// U+FDD0 to U+FDDF are never part of a text. Three of them spell the last three hex digits of a half.
const KEPT_FIRST: u32 = 0xfdd0;
const KEPT_LAST: u32 = 0xfddf;
/// The bytes of an escape such as `\ud83d`.
const ESCAPE_BYTES: usize = 6;
const REPLACEMENT: &[u8] = b"\\ufffd";

/// Parses JSON in which half an emoji may stand.
pub fn from_slice<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(json).or_else(|error| mended(json).ok_or(error))
}

/// As [`from_slice`], also if some bytes are no UTF-8.
pub fn from_foreign<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    from_slice(json).or_else(|error| match String::from_utf8_lossy(json) {
        Cow::Owned(text) => from_slice(text.as_bytes()),
        Cow::Borrowed(_) => Err(error),
    })
}

/// Parses with U+FFFD in place of each half; `None` if it holds no half, or if the rest cannot be parsed.
pub fn mended<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    let mended = replaced(json, |_, out| out.extend_from_slice(REPLACEMENT))?;
    serde_json::from_slice(&mended).ok()
}

/// As [`from_slice`], for a piece of a longer text: halves are kept for [`joined`].
pub fn parsed_in_pieces<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(json).or_else(|error| {
        let kept = replaced(json, keep).ok_or(error)?;
        serde_json::from_slice(&kept)
    })
}

/// The text of pieces that were put together: halves that met are a character, others U+FFFD.
pub fn joined(text: String) -> String {
    if !text.chars().any(is_kept) {
        return text;
    }
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(first) = rest.next() {
        let mut ahead = rest.clone();
        match half(first, ahead.next(), ahead.next()) {
            Some(half) => {
                units.push(half);
                rest = ahead;
            }
            None => units.extend_from_slice(first.encode_utf16(&mut [0; 2])),
        }
    }
    String::from_utf16_lossy(&units)
}

fn is_kept(c: char) -> bool {
    (KEPT_FIRST..=KEPT_LAST).contains(&u32::from(c))
}

/// The half that three noncharacters stand for.
fn half(first: char, second: Option<char>, third: Option<char>) -> Option<u16> {
    let digits = [first, second?, third?];
    if !digits.into_iter().all(is_kept) {
        return None;
    }
    let value = digits.into_iter().fold(0xd, |value, c| value << 4 | (u32::from(c) - KEPT_FIRST));
    u16::try_from(value).ok().filter(|unit| (0xd800..=0xdfff).contains(unit))
}

fn keep(unit: u16, out: &mut Vec<u8>) {
    for shift in [8, 4, 0] {
        let digit = u32::from(unit >> shift & 0xf);
        out.extend_from_slice(format!("\\u{:04x}", KEPT_FIRST + digit).as_bytes());
    }
}

/// `json` with `write` in place of each half that stands alone; `None` if there is none.
fn replaced(json: &[u8], write: impl Fn(u16, &mut Vec<u8>)) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut is_changed = false;
    let mut rest = json;
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
        let (before, escape) = rest.split_at(at);
        out.extend_from_slice(before);
        let unit = unit(escape);
        let next = escape.get(ESCAPE_BYTES..).and_then(self::unit);
        let taken = match (unit, next) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 2 * ESCAPE_BYTES,
            (Some(lone @ 0xd800..=0xdfff), _) => {
                is_changed = true;
                write(lone, &mut out);
                rest = escape.get(ESCAPE_BYTES..).unwrap_or_default();
                continue;
            }
            (Some(_), _) => ESCAPE_BYTES,
            // The escaped character, which may itself be a backslash.
            (None, _) => 2,
        };
        let (escape, after) = escape.split_at(taken.min(escape.len()));
        out.extend_from_slice(escape);
        rest = after;
    }
    out.extend_from_slice(rest);
    is_changed.then_some(out)
}

/// The unit of UTF-16 that an escape at the beginning of `json` stands for.
fn unit(json: &[u8]) -> Option<u16> {
    let digits = json.strip_prefix(b"\\u")?.get(..4)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn each_half_that_stands_alone_is_replaced_and_nothing_else() {
        let table = [
            (r#""a\ud83d""#, Some("a\u{fffd}")),
            (r#""\ud83dx\ude00""#, Some("\u{fffd}x\u{fffd}")),
            (r#""\ud83d\ud83d\ude00""#, Some("\u{fffd}😀")),
            (r#""\ude00\ud83d""#, Some("\u{fffd}\u{fffd}")),
            (r#""\uD83D\uDE00\uD83D""#, Some("😀\u{fffd}")),
            (r#""\\ud83d\ud83d""#, Some("\\ud83d\u{fffd}")),
            (r#""\\\ud83d\n""#, Some("\\\u{fffd}\n")),
            (r#""\\ud83d""#, Some("\\ud83d")),
            (r#""\ud83d"#, None),
            (r#""\ud83""#, None),
            ("\"\\", None),
            (r#""\ud83d" x"#, None),
        ];
        for (json, expected) in table {
            let read = from_slice::<String>(json.as_bytes()).ok();
            assert_eq!(read.as_deref(), expected, "{json}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_in_what_is_foreign() {
        let json = b"{\"text\":\"a\xff\\ud83d\"}";
        assert!(from_slice::<Value>(json).is_err());
        assert_eq!(from_foreign::<Value>(json).unwrap()["text"], "a\u{fffd}\u{fffd}");
        assert!(from_foreign::<Value>(b"\xff").is_err());
    }

    #[test]
    fn halves_that_meet_become_whole() {
        let table: [(&[&str], &str); 6] = [
            (&[r#""a\ud83d""#, r#""\ude00b""#], "a😀b"),
            (&[r#""a\ud83d""#, r#""b\ude00""#], "a\u{fffd}b\u{fffd}"),
            (&[r#""\ud83d""#, r#""\ud83d""#, r#""\ude00""#], "\u{fffd}😀"),
            (&[r#""\ud83d""#], "\u{fffd}"),
            (&[r#""x\ud83d\ude00""#, r#""\ude00""#], "x😀\u{fffd}"),
            (&[r#""plain""#, r#"" text""#], "plain text"),
        ];
        for (pieces, expected) in table {
            let pieces: String = pieces
                .iter()
                .map(|it| parsed_in_pieces::<String>(it.as_bytes()).unwrap())
                .collect();
            assert_eq!(joined(pieces), expected);
        }
    }

    proptest! {
        #[test]
        fn what_can_be_parsed_is_left_alone(text: String) {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(mended::<String>(json.as_bytes()), None);
            prop_assert_eq!(from_slice::<String>(json.as_bytes()).unwrap(), text);
        }

        #[test]
        fn any_units_are_read_as_their_text(units: Vec<u16>, cut: prop::sample::Index) {
            let escaped = |units: &[u16]| {
                let text: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
                format!("\"{text}\"").into_bytes()
            };
            let expected = String::from_utf16_lossy(&units);
            let read = from_slice::<String>(&escaped(&units)).unwrap();
            prop_assert_eq!(read.as_str(), expected.as_str());
            prop_assume!(!expected.chars().any(is_kept));
            let (first, second) = units.split_at(cut.index(units.len() + 1));
            let pieces = [first, second].map(|it| parsed_in_pieces::<String>(&escaped(it)).unwrap());
            prop_assert_eq!(joined(pieces.concat()), expected);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            from_foreign::<Value>(&bytes).ok();
            parsed_in_pieces::<Value>(&bytes).ok();
            joined(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}
