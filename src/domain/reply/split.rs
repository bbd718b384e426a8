//! Cutting a text into pieces of a limited JSON size, at the best place there is.
//!
//! The order of preference: between paragraphs, between lines, after a space, between characters. A
//! code fence is one paragraph; where it must be cut, the piece closes it and the next opens it again.

use super::fence::Fence;
use super::{json_char_len, json_len};

/// Plain text: fences mean nothing in it.
pub(super) fn text(text: &str, budget: usize) -> Vec<String> {
    let mut pieces = Pieces::new(budget);
    for paragraph in paragraphs(text, |_| None) {
        pieces.add_paragraph(&paragraph.lines);
    }
    pieces.finish()
}

/// Markdown whose fences are all closed and not indented.
pub(super) fn markdown(text: &str, budget: usize) -> Vec<String> {
    let mut pieces = Pieces::new(budget);
    for paragraph in paragraphs(text, Fence::opened_by) {
        match paragraph.fence {
            Some(fence) => pieces.add_fence(fence, &paragraph.lines),
            None => pieces.add_paragraph(&paragraph.lines),
        }
    }
    pieces.finish()
}

/// Lines that belong together.
#[derive(Default)]
struct Paragraph<'a> {
    /// The lines are a fence of code, its first and last line included.
    fence: Option<Fence>,
    lines: Vec<&'a str>,
}

/// Runs of lines without an empty line between them, but for those inside a fence. Empty lines are
/// paragraphs of their own.
fn paragraphs(text: &str, opens: impl Fn(&str) -> Option<Fence>) -> Vec<Paragraph<'_>> {
    let mut found: Vec<Paragraph<'_>> = Vec::new();
    let mut current = Paragraph::default();
    for line in text.split('\n') {
        if let Some(fence) = current.fence {
            current.lines.push(line);
            if fence.is_closed_by(line) {
                found.push(std::mem::take(&mut current));
            }
        } else if let Some(fence) = opens(line) {
            found.push(std::mem::take(&mut current));
            current = Paragraph { fence: Some(fence), lines: vec![line] };
        } else if line.trim().is_empty() {
            found.push(std::mem::take(&mut current));
            found.push(Paragraph { fence: None, lines: vec![line] });
        } else {
            current.lines.push(line);
        }
    }
    found.push(current);
    found.retain(|paragraph| !paragraph.lines.is_empty());
    found
}

/// A piece that is being filled, and its size in JSON: measured once for each part, because a piece
/// that is measured again for each line costs the square of its length.
struct Piece {
    text: String,
    size: usize,
}

impl Piece {
    fn new(text: String) -> Self {
        Self { size: json_len(&text), text }
    }
}

struct Pieces {
    budget: usize,
    done: Vec<String>,
    current: Option<Piece>,
}

impl Pieces {
    fn new(budget: usize) -> Self {
        Self { budget, done: Vec::new(), current: None }
    }

    fn finish(mut self) -> Vec<String> {
        self.flush();
        if self.done.is_empty() {
            self.done.push(String::new());
        }
        self.done
    }

    /// Ends the current piece; empty lines at its rim carry nothing.
    fn flush(&mut self) {
        if let Some(piece) = self.current.take() {
            let piece = piece.text.trim_matches('\n').trim_end();
            if !piece.is_empty() {
                self.done.push(piece.to_owned());
            }
        }
    }

    /// Adds a part on a line of its own if the current piece has room for it.
    fn try_add(&mut self, part: &str) -> bool {
        let size = json_len(part);
        match &mut self.current {
            Some(piece) if piece.size + 2 + size <= self.budget => {
                piece.text.push('\n');
                piece.text.push_str(part);
                piece.size += 2 + size;
                true
            }
            Some(_) => false,
            None if size <= self.budget => {
                self.current = Some(Piece { text: part.to_owned(), size });
                true
            }
            None => false,
        }
    }

    fn add_paragraph(&mut self, lines: &[&str]) {
        let whole = lines.join("\n");
        if self.try_add(&whole) {
            return;
        }
        self.flush();
        if self.try_add(&whole) {
            return;
        }
        for line in lines {
            for part in parts(line, self.budget) {
                if !self.try_add(&part) {
                    self.flush();
                    self.current = Some(Piece::new(part));
                }
            }
        }
    }

    fn add_fence(&mut self, fence: Fence, lines: &[&str]) {
        let whole = lines.join("\n");
        if self.try_add(&whole) {
            return;
        }
        self.flush();
        if self.try_add(&whole) {
            return;
        }
        let Some((opening, rest)) = lines.split_first() else { return };
        // An absurdly long opening line is no language; it must leave room for the code.
        let end = fence.end();
        let opening = if json_len(opening) * 4 > self.budget { &end } else { *opening };
        let code = match rest.split_last() {
            Some((_, code)) => code,
            None => rest,
        };
        let frame = json_len(opening) + json_len(&end) + 4;
        let mut inside = Self::new(self.budget.saturating_sub(frame).max(8));
        for line in code {
            for part in parts(line, inside.budget) {
                if !inside.try_add(&part) {
                    inside.done.extend(inside.current.take().map(|piece| piece.text));
                    inside.current = Some(Piece::new(part));
                }
            }
        }
        inside.done.extend(inside.current.take().map(|piece| piece.text));
        for code in inside.done {
            self.flush();
            self.current = Some(Piece::new(format!("{opening}\n{code}\n{end}")));
        }
    }
}

/// A line in parts that fit, cut after a space where one is near the end.
fn parts(line: &str, budget: usize) -> Vec<String> {
    let mut parts = Vec::new();
    let mut current = String::new();
    let mut size = 0;
    for char in line.chars() {
        let cost = json_char_len(char);
        if size + cost > budget {
            let at = current.rfind(' ').map(|space| space + 1).filter(|at| *at * 2 > current.len());
            let rest = at.map(|at| current.split_off(at)).unwrap_or_default();
            parts.push(std::mem::replace(&mut current, rest));
            size = json_len(&current);
        }
        current.push(char);
        size += cost;
    }
    parts.push(current);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_place_to_cut_is_found() {
        let table: [(&str, usize, &[&str]); 6] = [
            ("aaaa\n\nbbbb\n\ncccc", 12, &["aaaa\n\nbbbb", "cccc"][..]),
            ("aaaa\nbbbb\ncccc", 10, &["aaaa\nbbbb", "cccc"]),
            ("aaaa bbbb cccc", 10, &["aaaa bbbb", "cccc"]),
            ("aaaaaaaaaaaa", 8, &["aaaaaaaa", "aaaa"]),
            ("你你你", 7, &["你你", "你"]),
            ("", 8, &[""]),
        ];
        for (input, budget, expected) in table {
            assert_eq!(text(input, budget), expected, "{input}");
        }
    }

    #[test]
    fn fences_stay_whole_where_they_can() {
        let input = "words\n\n```\na\n\nb\n```\nmore";
        assert_eq!(markdown(input, 100), [input]);
        assert_eq!(markdown(input, 20), ["words", "```\na\n\nb\n```", "more"]);
    }

    #[test]
    fn a_longer_fence_that_is_cut_keeps_its_length() {
        let input = "````\n```\naaaaaaaaaa\n```\nbbbbbbbbbb\n````";
        let cut = ["````\n```\naaaaaaaaaa\n```\n````", "````\nbbbbbbbbbb\n````"];
        assert_eq!(markdown(input, 42), cut);
    }
}
