//! How an answer becomes messages: what each says, in which format, within which size.
//!
//! The same answer always gives the same segments, so that a pod that goes on after another sends what
//! the other would have sent. Nothing of the answer is lost but what a limit cuts, and a cut says so.
//! Sizes are those of the JSON that DingTalk counts, not of the bare text.

mod adapt;
mod fence;
mod inline;
mod split;

use super::answer::Answer;
use super::binding::Language;
use super::words::Word;

/// What DingTalk counts beside the text: the frame, the title, the number, the notice, the mention.
const RESERVE_BYTES: usize = 1000;
const TITLE_CHARS: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The JSON of one message's parameters may be this long.
    pub segment_max_bytes: usize,
    pub segments_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { segment_max_bytes: 15_000, segments_max: 40 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub format: Format,
    /// What a list of conversations shows of it; used by markdown only.
    pub title: String,
    pub text: String,
    /// The person to mention, where the route can.
    pub mention: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Markdown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segments {
    pub list: Vec<Segment>,
    /// The answer had more segments than allowed: the last one ends with a notice.
    pub is_cut: bool,
}

/// The messages of an answer; at least one, even for an empty text. The first carries the mention.
pub fn segments(
    answer: &str,
    limits: Limits,
    language: Language,
    mention: Option<&str>,
) -> Segments {
    // What no message could hold is not looked at.
    let read_max = limits.segment_max_bytes.saturating_mul(limits.segments_max.max(1));
    let read = answer.get(..answer.floor_char_boundary(read_max)).unwrap_or(answer);
    let text = read.replace("\r\n", "\n");
    let format = if adapt::is_markdown(&text) { Format::Markdown } else { Format::Text };
    let text = match format {
        Format::Text => text.trim_end().to_owned(),
        Format::Markdown => adapt::markdown(text.trim_end()),
    };
    let budget = limits.segment_max_bytes.saturating_sub(RESERVE_BYTES).max(64);
    let mut pieces = match format {
        Format::Text => split::text(&text, budget),
        Format::Markdown => split::markdown(&text, budget),
    };
    let is_cut = read.len() < answer.trim_end().len() || pieces.len() > limits.segments_max.max(1);
    if is_cut {
        pieces.truncate(limits.segments_max.max(1));
        if let Some(last) = pieces.last_mut() {
            last.push_str("\n\n");
            last.push_str(Word::AnswerCut.text(language));
        }
    }
    let total = pieces.len();
    let title = title(&text, language);
    let list = pieces
        .into_iter()
        .enumerate()
        .map(|(index, piece)| Segment {
            format,
            title: title.clone(),
            text: if total == 1 { piece } else { numbered(&piece, index + 1, total) },
            mention: mention.filter(|_| index == 0).map(ToOwned::to_owned),
        })
        .collect();
    Segments { list, is_cut }
}

/// How many messages an answer is: those of its text, and the question of its interrupt where there is
/// somebody to ask.
pub fn count(answer: &Answer, limits: Limits, can_ask: bool) -> u32 {
    let said = match answer.text.trim() {
        "" => 0,
        // Neither language nor mention makes more of them.
        _ => segments(&answer.text, limits, Language::ZhHans, None).list.len(),
    };
    let asked = usize::from(can_ask && answer.interrupt.is_some());
    u32::try_from(said + asked).unwrap_or(u32::MAX)
}

/// Brings `answer`, its question included, within `max_bytes`; tells whether anything had to be cut.
///
/// A tenth of the bytes is the question's at most, a hundredth its title's. Files within the text become
/// words before the cut.
pub fn cut_answer(answer: &mut Answer, max_bytes: usize, language: Language) -> bool {
    let asked = answer.interrupt.as_mut().map(|question| &mut question.text);
    for text in std::iter::once(&mut answer.text).chain(asked) {
        if let Some(shown) = inline::without_files(text, language) {
            *text = shown;
        }
    }
    let notice = format!("\n\n{}", Word::AnswerCut.text(language));
    let (mut left, mut is_cut) = (max_bytes, false);
    if let Some(question) = &mut answer.interrupt {
        is_cut |= cut(&mut question.title, max_bytes / 100, "…");
        is_cut |= cut(&mut question.text, max_bytes / 10, &notice);
        left = left.saturating_sub(question.title.len() + question.text.len());
    }
    is_cut | cut(&mut answer.text, left, &notice)
}

/// `text` within `max_bytes`, where it was longer with `ending` behind what is left of it.
fn cut(text: &mut String, max_bytes: usize, ending: &str) -> bool {
    if text.len() <= max_bytes {
        return false;
    }
    text.truncate(text.floor_char_boundary(max_bytes.saturating_sub(ending.len())));
    text.push_str(ending);
    true
}

/// `text` as DingTalk's markdown needs it, of at most `max_bytes` in JSON; a cut ends with a notice.
pub fn markdown(text: &str, max_bytes: usize, language: Language) -> String {
    let text = adapt::markdown(text.replace("\r\n", "\n").trim());
    if json_len(&text) <= max_bytes {
        return text;
    }
    let notice = Word::AnswerCut.text(language);
    let mut left = max_bytes.saturating_sub(notice.len() + 4);
    let fits = |char: &char| {
        let len = json_char_len(*char);
        left.checked_sub(len).map(|rest| left = rest).is_some()
    };
    let kept: String = text.chars().take_while(fits).collect();
    format!("{kept}\n\n{notice}")
}

fn numbered(piece: &str, number: usize, total: usize) -> String {
    format!("({number}/{total})\n\n{piece}")
}

/// The first words, bare of markup.
fn title(text: &str, language: Language) -> String {
    let line = text.lines().map(adapt::bare).find(|line| !line.is_empty()).unwrap_or_default();
    if line.is_empty() {
        return Word::AnswerTitle.text(language).to_owned();
    }
    line.chars().take(TITLE_CHARS).collect()
}

/// How many bytes `text` has inside a JSON string.
pub fn json_len(text: &str) -> usize {
    text.chars().map(json_char_len).sum()
}

fn json_char_len(char: char) -> usize {
    match char {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        _ => char.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::answer::Interrupt;
    use proptest::prelude::*;

    fn whole(answer: &str) -> Segments {
        segments(answer, Limits::default(), Language::En, None)
    }

    fn ink(text: &str) -> String {
        text.chars().filter(|char| !char.is_whitespace()).collect()
    }

    /// The text of all segments without their numbers.
    fn joined(segments: &Segments) -> String {
        let total = segments.list.len();
        let mut text = String::new();
        for (index, segment) in segments.list.iter().enumerate() {
            let number = format!("({}/{total})\n\n", index + 1);
            text.push_str(if total == 1 {
                &segment.text
            } else {
                segment.text.strip_prefix(&number).expect("numbered")
            });
            text.push('\n');
        }
        text
    }

    #[test]
    fn a_plain_answer_goes_out_as_it_is() {
        for answer in ["hello", "a\nb", "多行\n\n文本", "2 * 3 * 4 = 24", "a_b_c", "x < y > z", ""]
        {
            let found = whole(answer);
            assert_eq!(found.list.len(), 1, "{answer}");
            assert_eq!(found.list[0].format, Format::Text, "{answer}");
            assert_eq!(found.list[0].text, answer);
            assert!(!found.is_cut);
        }
    }

    #[test]
    fn a_title_is_the_first_words_without_markup() {
        let table = [
            ("## Weather in **Hangzhou**\n\nfine", "Weather in Hangzhou"),
            ("\n\n> quoted [link](https://x)", "quoted link"),
            ("```rust\nfn main() {}\n```", "fn main() {}"),
            (
                "# 一二三四五六七八九十一二三四五六七八九十一二",
                "一二三四五六七八九十一二三四五六七八九十",
            ),
            ("", "Reply"),
        ];
        for (answer, expected) in table {
            assert_eq!(whole(answer).list[0].title, expected, "{answer}");
        }
    }

    #[test]
    fn the_asker_is_mentioned_once() {
        let limits = Limits { segment_max_bytes: 1100, segments_max: 40 };
        let found = segments(&"word ".repeat(60), limits, Language::En, Some("staff1"));
        let mentions: Vec<_> = found.list.iter().map(|s| s.mention.is_some()).collect();
        assert!(mentions.len() > 1);
        assert!(mentions[0] && !mentions[1..].contains(&true));
    }

    #[test]
    fn a_fence_that_is_cut_is_closed_and_opened_again() {
        let code = "let x = 1;\n".repeat(60);
        let limits = Limits { segment_max_bytes: 1300, segments_max: 40 };
        let found = segments(&format!("```rust\n{code}```\n"), limits, Language::En, None);
        assert!(found.list.len() > 1);
        for segment in &found.list {
            assert_eq!(segment.text.matches("```").count(), 2, "{}", segment.text);
            assert_eq!(segment.text.matches("```rust\n").count(), 1, "{}", segment.text);
        }
        let lines = joined(&found).lines().filter(|line| *line == "let x = 1;").count();
        assert_eq!(lines, 60);
    }

    #[test]
    fn what_is_over_the_segments_is_cut_with_a_notice_in_the_right_language() {
        let limits = Limits { segment_max_bytes: 1100, segments_max: 3 };
        for (language, word) in [(Language::En, "too long"), (Language::ZhHans, "过长")] {
            let found = segments(&"word ".repeat(600), limits, language, None);
            assert_eq!(found.list.len(), 3);
            assert!(found.is_cut);
            assert!(found.list[2].text.contains(word));
            assert!(json_len(&found.list[2].text) <= 1100);
        }
    }

    #[test]
    fn an_answer_over_its_limit_is_cut_at_a_character() {
        let mut answer = Answer { text: "short".to_owned(), interrupt: None };
        assert!(!cut_answer(&mut answer, 5, Language::En));
        assert_eq!(answer.text, "short");
        answer.text = "你".repeat(100);
        assert!(cut_answer(&mut answer, 200, Language::ZhHans));
        assert!(answer.text.len() <= 200 && answer.text.ends_with("。）"), "{}", answer.text);
    }

    #[test]
    fn files_within_an_answer_and_its_question_become_words_before_it_is_cut() {
        let file = format!("![](data:image/png;base64,{})", "A".repeat(10_000));
        let question = Interrupt { title: String::new(), text: format!("ok? {file}") };
        let mut answer = Answer { text: format!("{file} done"), interrupt: Some(question) };
        assert!(!cut_answer(&mut answer, 5_000, Language::En));
        assert_eq!(answer.text, "[picture] done");
        assert_eq!(answer.interrupt.unwrap().text, "ok? [picture]");
    }

    #[test]
    fn a_question_over_its_limit_is_cut_and_leaves_room_for_the_answer() {
        let question = Interrupt { title: "字".repeat(400), text: "why? ".repeat(2000) };
        let mut answer = Answer { text: "word ".repeat(4000), interrupt: Some(question) };
        assert!(cut_answer(&mut answer, 10_000, Language::En));
        let question = answer.interrupt.unwrap();
        assert!(question.title.len() <= 100 && question.title.ends_with("字…"));
        assert!((900..=1000).contains(&question.text.len()) && question.text.contains("too long"));
        let whole = answer.text.len() + question.title.len() + question.text.len();
        assert!((9_900..=10_000).contains(&whole), "{whole}");
    }

    #[test]
    fn markdown_is_adapted_and_cut_within_its_json() {
        assert_eq!(markdown(" a\r\nb ", 100, Language::En), "a  \n  b");
        let quotes = "\"".repeat(500);
        let cut = markdown(&quotes, 200, Language::En);
        assert!(json_len(&cut) <= 200 && json_len(&cut) > 190, "{cut}");
        assert!(cut.starts_with("\"\"") && cut.contains("too long"), "{cut}");
    }

    proptest! {
        #[test]
        fn no_text_is_lost_and_every_segment_is_within_its_limit(
            answer in "([a-z你\"\\\\\u{1}]{0,30}[ \n]{0,2}){0,40}",
            size in 1100usize..1500,
        ) {
            let limits = Limits { segment_max_bytes: size, segments_max: 1000 };
            let found = segments(&answer, limits, Language::En, Some("staff"));
            prop_assert!(!found.is_cut);
            prop_assert_eq!(ink(&joined(&found)), ink(&answer));
            for segment in &found.list {
                prop_assert!(json_len(&segment.text) + json_len(&segment.title) + 300 <= size);
            }
        }

        #[test]
        fn no_line_of_markdown_is_lost(
            lines in proptest::collection::vec(
                prop_oneof![
                    Just("# heading"), Just("```"), Just("```py"), Just("- item"), Just("1. one"),
                    Just("| a | b |"), Just("|---|---|"), Just("words \"quoted\""), Just(""),
                    Just("> quote"), Just("    indented"), Just("**bold**"),
                ],
                0..60,
            ),
            size in 1100usize..1300,
        ) {
            let answer = format!("**b**\n{}", lines.join("\n"));
            let limits = Limits { segment_max_bytes: size, segments_max: 1000 };
            let found = segments(&answer, limits, Language::En, None);
            let text = joined(&found);
            let mut rest = text.lines().map(str::trim);
            for line in answer.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("```")) {
                prop_assert!(rest.any(|found| found == line), "{} is missing in {}", line, text);
            }
            for segment in &found.list {
                prop_assert!(json_len(&segment.text) + json_len(&segment.title) + 300 <= size);
                let mut is_open = false;
                for line in segment.text.lines() {
                    is_open = if is_open { line != "```" } else { line.starts_with("```") };
                }
                prop_assert!(!is_open, "a fence is left open in {}", segment.text);
            }
            let again = segments(&answer, limits, Language::En, None);
            prop_assert_eq!(found, again);
        }
    }
}
