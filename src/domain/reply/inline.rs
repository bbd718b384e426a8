//! Files that an answer carries within itself, as `data:` addresses: DingTalk shows pages of base64.
//!
//! Each becomes a word, with its title if it has one. Linear in the length of the text: what is looked at
//! around an address is bounded, and what an address takes up is read once.

use crate::domain::binding::Language;
use crate::domain::words::Word;

const SCHEME: &[u8] = b"data:";
/// An address of its own in the text may be an example, as long as it is no longer than this.
const BARE_BYTES_MAX: usize = 256;
/// Media type and parameters, before the comma.
const TYPE_BYTES_MAX: usize = 128;
/// The title of a picture or link. A longer one is text.
const TITLE_BYTES_MAX: usize = 200;
/// A line of base64 that goes on on the next line has this many characters there.
const WRAPPED_BYTES_MIN: usize = 40;

/// `text` with a word for each file within it; `None`: it holds no file.
pub(super) fn without_files(text: &str, language: Language) -> Option<String> {
    let mut out = String::new();
    // Up to here `text` is in `out`.
    let mut done = 0;
    let mut at = 0;
    while let Some(found) = find(text.as_bytes(), at) {
        at = found + SCHEME.len();
        let Some(file) = File::at(text, found, done) else { continue };
        out.push_str(text.get(done..file.start).unwrap_or_default());
        out.push_str(&file.word(language));
        (done, at) = (file.end, file.end);
    }
    if done == 0 {
        return None;
    }
    out.push_str(text.get(done..).unwrap_or_default());
    Some(out)
}

/// Where the next address may begin: not within a word such as `metadata:`.
fn find(text: &[u8], from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    let is_here = |(index, window): &(usize, &[u8])| {
        let before = (from + index).checked_sub(1).and_then(|before| text.get(before));
        window.eq_ignore_ascii_case(SCHEME) && !before.is_some_and(u8::is_ascii_alphanumeric)
    };
    rest.windows(SCHEME.len()).enumerate().find(is_here).map(|(index, _)| from + index)
}

/// A file in a text, with the Markdown around it.
struct File<'a> {
    start: usize,
    end: usize,
    title: &'a str,
    is_picture: bool,
}

impl<'a> File<'a> {
    /// What begins at `found`; nothing before `done` belongs to it.
    fn at(text: &'a str, found: usize, done: usize) -> Option<Self> {
        let bytes = text.as_bytes();
        let kind_at = found + SCHEME.len();
        let is_of_type = |byte: &u8| byte.is_ascii_alphanumeric() || b"/+.;=_-".contains(byte);
        let kind = run(bytes, kind_at, kind_at + TYPE_BYTES_MAX, is_of_type);
        if bytes.get(kind) != Some(&b',') {
            return None;
        }
        let kind_of = text.get(kind_at..kind).unwrap_or_default().to_ascii_lowercase();
        let end = data_end(bytes, kind + 1, kind_of.ends_with(";base64"));
        let is_picture = kind_of.starts_with("image/");
        if let Some(link) = Link::around(text, found, done) {
            let end = link_end(bytes, end);
            let is_picture = is_picture || link.is_picture;
            return Some(Self { start: link.start, end, title: link.title, is_picture });
        }
        let is_long = end - found > BARE_BYTES_MAX;
        is_long.then_some(Self { start: found, end, title: "", is_picture })
    }

    fn word(&self, language: Language) -> String {
        let word = if self.is_picture { Word::InlinePicture } else { Word::InlineFile };
        match (word.text(language), self.title.trim()) {
            (word, "") => format!("[{word}]"),
            (word, title) => format!("[{word}: {title}]"),
        }
    }
}

/// `![title](` or `[title](` before an address.
struct Link<'a> {
    start: usize,
    title: &'a str,
    is_picture: bool,
}

impl<'a> Link<'a> {
    fn around(text: &'a str, found: usize, done: usize) -> Option<Self> {
        let least = text.floor_char_boundary(found.saturating_sub(TITLE_BYTES_MAX)).max(done);
        let before = text.get(least..found)?;
        let before = before.trim_end_matches([' ', '<']).strip_suffix("](")?;
        let open = before.rfind('[')?;
        let title = before.get(open + 1..)?;
        let is_picture = before.get(..open)?.ends_with('!');
        Some(Self { start: least + open - usize::from(is_picture), title, is_picture })
    }
}

/// The end of the bytes from `from` that are `of` a kind, at most `to`.
fn run(bytes: &[u8], from: usize, to: usize, of: impl Fn(&u8) -> bool) -> usize {
    let part = bytes.get(from..to.min(bytes.len())).unwrap_or_default();
    from + part.iter().take_while(|byte| of(byte)).count()
}

fn is_base64(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/=_-%".contains(byte)
}

/// Where the data of an address ends. Base64 may be wrapped into lines.
fn data_end(bytes: &[u8], from: usize, is_of_base64: bool) -> usize {
    if !is_of_base64 {
        let is_data = |byte: &u8| byte.is_ascii_graphic() && !b"\"'<>()[]`".contains(byte);
        return run(bytes, from, bytes.len(), is_data);
    }
    let mut end = run(bytes, from, bytes.len(), is_base64);
    loop {
        let next = run(bytes, end, end + 2, |byte| b"\r\n".contains(byte));
        let wrapped = run(bytes, next, next + WRAPPED_BYTES_MIN, is_base64);
        if next == end || wrapped - next < WRAPPED_BYTES_MIN {
            return end;
        }
        end = run(bytes, wrapped, bytes.len(), is_base64);
    }
}

/// Behind the bracket that closes a link. The last line of wrapped base64 may be short.
fn link_end(bytes: &[u8], end: usize) -> usize {
    let mut at = run(bytes, end, end + 2, |byte| b"\r\n".contains(byte));
    at = run(bytes, at, at + 2 * WRAPPED_BYTES_MIN, is_base64);
    at = run(bytes, at, at + 4, |byte| b" >\r\n".contains(byte));
    if let Some(quote @ (b'"' | b'\'')) = bytes.get(at).copied() {
        at = run(bytes, at + 1, at + TITLE_BYTES_MAX, |byte| *byte != quote && *byte != b'\n') + 1;
        at = run(bytes, at, at + 4, |byte| *byte == b' ');
    }
    if bytes.get(at) == Some(&b')') { at + 1 } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn shown(text: &str) -> String {
        without_files(text, Language::En).unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn a_file_within_an_answer_becomes_a_word() {
        let data = "A1b2".repeat(100);
        let lines = [data.as_str(); 3].join("\n");
        let table = [
            (format!("a ![x](data:image/png;base64,{data}) b"), "a [picture: x] b"),
            (format!("![](data:image/png;base64,{data})"), "[picture]"),
            ("![](data:image/png;base64,AAAA)".to_owned(), "[picture]"),
            (format!("![图](DATA:image/PNG;base64,{data} \"t\") b"), "[picture: 图] b"),
            (format!("![x](<data:image/png;base64,{data}>)"), "[picture: x]"),
            (format!("![x](data:image/png;base64,{lines}\nAAA=)\n\nnext"), "[picture: x]\n\nnext"),
            (format!("[report](data:application/pdf;base64,{data})"), "[attachment: report]"),
            (format!("see data:image/png;base64,{data}, ok"), "see [picture], ok"),
            (format!("see data:text/plain;base64,{lines} ok"), "see [attachment] ok"),
            (format!("<img src=\"data:image/gif;base64,{data}\">"), "<img src=\"[picture]\">"),
            (format!("![x](data:image/png;base64,{data}"), "[picture: x]"),
            (format!("![x](data:image/svg+xml,%3Csvg%20{data}%3E)"), "[picture: x]"),
            (
                format!("![a](data:image/png;base64,{data})![b](data:image/png;base64,{data})"),
                "[picture: a][picture: b]",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(shown(&text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_file_stays() {
        for text in [
            "",
            "data: 1, 2, 3",
            "metadata:image/png;base64,AAAA",
            "write `data:image/png;base64,AAAA` there",
            "![x](https://example.org/data:1)",
            "data:data:data:",
            "数据 data:，没有",
        ] {
            assert_eq!(without_files(text, Language::ZhHans), None, "{text}");
        }
        let picture = "![](data:image/png;base64,AAAA)";
        assert_eq!(without_files(picture, Language::ZhHans).as_deref(), Some("[图片]"));
    }

    #[test]
    fn any_text_is_read_in_linear_time() {
        for part in [
            "data:",
            "data:,",
            "![",
            "](data:",
            "![](data:,",
            "data:image/png;base64,A\n",
            "[",
            "data:image/png;base64,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
        ] {
            let timed = |bytes: usize| {
                let text = part.repeat(bytes / part.len());
                let best = (0..3).map(|_| {
                    let began = now();
                    std::hint::black_box(without_files(&text, Language::En));
                    began.elapsed()
                });
                best.min().unwrap_or_default().max(Duration::from_millis(1))
            };
            let (small, large) = (timed(256 << 10), timed(1 << 20));
            assert!(large <= 8 * small, "{part:?}: {small:?}, then {large:?}");
        }
    }

    #[expect(clippy::disallowed_methods, reason = "measures this thread's work")]
    fn now() -> Instant {
        Instant::now()
    }
}
