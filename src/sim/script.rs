//! How the simulated experts behave: an echo in several deltas, and other things at a word.
//!
//! A question that begins with one of these words gets: `confirm` or 确认 a request for a decision,
//! `slow [seconds]` a slow answer, `long [characters]` a long one, `markdown` one with all that is rendered,
//! `fail` an error worth a retry, `refuse` one that is not, `hang` no end, `cut` an end without its mark.

use std::time::Duration;

/// An answer in the making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    pub deltas: Vec<String>,
    /// Before each delta.
    pub pause: Duration,
    pub end: End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Done,
    /// A person must decide.
    Interrupt {
        title: String,
        text: String,
    },
    /// An error worth another attempt.
    Fail,
    /// An error that would come again.
    Refuse,
    /// Nothing more comes, and no end either.
    Hang,
    /// The connection ends without the mark of the end.
    Cut,
}

/// What a person decided about an interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Confirm,
    Reject,
}

const DELTAS: usize = 4;
const PAUSE: Duration = Duration::from_millis(30);
const SLOW_DEFAULT_S: u64 = 5;
const SLOW_MAX_S: u64 = 600;
const LONG_DEFAULT: usize = 30_000;
const LONG_MAX: usize = 1_000_000;

/// The answer to a question.
pub fn answer(text: &str) -> Act {
    let mut words = text.split_whitespace();
    let word = words.next().unwrap_or_default().to_lowercase();
    let number = words.next().and_then(|word| word.parse::<u64>().ok());
    let echo = Act { deltas: pieces(&format!("You said: {text}")), pause: PAUSE, end: End::Done };
    match word.as_str() {
        word if word == "confirm" || word.starts_with("确认") => Act {
            end: End::Interrupt {
                title: "Please confirm · 请确认".to_owned(),
                text: text.to_owned(),
            },
            ..echo
        },
        "slow" => {
            let seconds = number.unwrap_or(SLOW_DEFAULT_S).min(SLOW_MAX_S);
            let parts = u32::try_from(echo.deltas.len().max(1)).unwrap_or(1);
            Act { pause: Duration::from_secs(seconds) / parts, ..echo }
        }
        "long" => {
            let asked = number.and_then(|n| usize::try_from(n).ok()).unwrap_or(LONG_DEFAULT);
            Act { deltas: pieces(&long(asked.min(LONG_MAX))), ..echo }
        }
        "markdown" => Act { deltas: pieces(MARKDOWN), ..echo },
        "fail" => Act { end: End::Fail, ..echo },
        "refuse" => Act { end: End::Refuse, ..echo },
        "hang" => Act { end: End::Hang, ..echo },
        "cut" => Act { end: End::Cut, ..echo },
        _ => echo,
    }
}

/// How it goes on after a decision.
pub fn decided(decision: Decision) -> Act {
    let text = match decision {
        Decision::Confirm => "Confirmed, and done. · 已确认。",
        Decision::Reject => "Rejected, nothing was done. · 已拒绝。",
    };
    Act { deltas: pieces(text), pause: PAUSE, end: End::Done }
}

/// Some pieces of about the same length, cut between characters.
fn pieces(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let size = characters.len().div_ceil(DELTAS).max(1);
    characters.chunks(size).map(|piece| piece.iter().collect()).collect()
}

/// Numbered lines, so that a missing or doubled part is seen.
fn long(characters: usize) -> String {
    let mut text = String::with_capacity(characters + 64);
    for line in 1.. {
        if text.len() >= characters {
            break;
        }
        text.push_str(&format!("Line {line} of a long answer, 第 {line} 行。\n\n"));
    }
    text
}

const MARKDOWN: &str = "# Heading\n\nSome **bold**, *italic* and `code`, a [link](https://www.dingtalk.com/).\n\n\
- one\n- two\n\n1. first\n2. second\n\n> quoted\n\n```\nlet x = 1;\n```\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_choose_the_end_and_everything_else_is_echoed_in_several_deltas() {
        for (text, end) in [
            ("hello", End::Done),
            ("", End::Done),
            ("fail please", End::Fail),
            ("Refuse", End::Refuse),
            ("hang", End::Hang),
            ("cut", End::Cut),
        ] {
            let act = answer(text);
            assert_eq!(act.end, end, "{text}");
            assert_eq!(act.deltas.concat(), format!("You said: {text}"));
            assert!(act.deltas.len() > 1, "{text}");
        }
        assert!(matches!(answer("确认付款").end, End::Interrupt { .. }));
        assert!(answer("long 1000").deltas.concat().len() >= 1000);
        assert_eq!(answer("slow 8").pause, Duration::from_secs(2));
    }
}
