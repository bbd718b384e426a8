//! Markdown as DingTalk renders it.
//!
//! DingTalk joins lines that a single line feed separates, needs an empty line before tables and
//! lists, and shows indented fences as text. Only white space is added, and fences are closed.

use super::fence::Fence;

/// Whether any of `text` would look better rendered.
pub(super) fn is_markdown(text: &str) -> bool {
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let is_table = line.contains('|') && lines.peek().is_some_and(|next| is_table_rule(next));
        let is_fence = Fence::opened_by(line).is_some();
        if is_fence || is_heading(line) || is_quote(line) || is_table || has_inline(line) {
            return true;
        }
    }
    false
}

/// `text` with line breaks, tables, lists and fences written as DingTalk needs them.
pub(super) fn markdown(text: &str) -> String {
    let mut adapted = String::with_capacity(text.len() + text.len() / 8);
    // Inside a fence: it, and how far its opening line was indented.
    let mut inside: Option<(Fence, usize)> = None;
    let mut before = Kind::Empty;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some((fence, indent)) = inside {
            let line = without_indent(line, indent);
            if fence.is_closed_by(line) {
                inside = None;
            }
            adapted.push_str(line);
            adapted.push('\n');
            continue;
        }
        let kind = kind_of(line, before, lines.peek().copied());
        adapted.push_str(break_between(before, kind, adapted.is_empty()));
        if let Kind::Fence(fence) = kind {
            inside = Some((fence, line.len() - line.trim_start().len()));
            adapted.push_str(line.trim_start());
            adapted.push('\n');
            // What follows the fence stands on its own already.
            before = kind;
        } else {
            adapted.push_str(line.trim_end());
            before = kind;
        }
    }
    if let Some((fence, _)) = inside {
        adapted.push_str(&fence.end());
    }
    adapted.truncate(adapted.trim_end().len());
    adapted
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Empty,
    Plain,
    /// Headings and quotes: each line stands for itself.
    Block,
    Item,
    Table,
    Fence(Fence),
}

fn kind_of(line: &str, before: Kind, next: Option<&str>) -> Kind {
    if line.trim().is_empty() {
        Kind::Empty
    } else if let Some(fence) = Fence::opened_by(line) {
        Kind::Fence(fence)
    } else if line.contains('|') && (before == Kind::Table || next.is_some_and(is_table_rule)) {
        Kind::Table
    } else if is_heading(line) || is_quote(line) {
        Kind::Block
    } else if is_item(line) {
        Kind::Item
    } else {
        Kind::Plain
    }
}

/// What separates a line from the one before it.
fn break_between(before: Kind, kind: Kind, is_first: bool) -> &'static str {
    if is_first {
        return "";
    }
    match (before, kind) {
        // The fence has ended its own line.
        (Kind::Fence(_), _) => "",
        (Kind::Plain, Kind::Plain) => "  \n  ",
        (Kind::Plain | Kind::Block, Kind::Item) => "\n\n",
        (Kind::Plain | Kind::Block | Kind::Item, Kind::Table) => "\n\n",
        (Kind::Table, Kind::Plain | Kind::Block | Kind::Item) => "\n\n",
        (_, _) => "\n",
    }
}

fn is_heading(line: &str) -> bool {
    let rest = line.trim_start_matches('#');
    (1..=6).contains(&(line.len() - rest.len())) && rest.starts_with(' ')
}

fn is_quote(line: &str) -> bool {
    line.starts_with("> ")
}

fn is_item(line: &str) -> bool {
    let line = line.trim_start();
    let digits = line.len() - line.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let is_numbered = (1..=9).contains(&digits)
        && line.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with(". ");
    is_numbered || ["- ", "* ", "+ "].iter().any(|mark| line.starts_with(mark))
}

/// The line below a table's head, e.g. `|---|:-:|`.
fn is_table_rule(line: &str) -> bool {
    let line = line.trim();
    line.contains('-')
        && line.contains('|')
        && line.chars().all(|char| matches!(char, '|' | '-' | ':' | ' '))
}

/// Bold text, code, a link or a picture.
fn has_inline(line: &str) -> bool {
    let has_pair = |mark: &str| {
        line.split(mark).skip(1).any(|inside| !inside.is_empty() && !inside.starts_with(' '))
            && line.matches(mark).count() > 1
    };
    let has_link = line
        .split_once("](")
        .is_some_and(|(text, address)| text.contains('[') && address.contains(')'));
    has_pair("**") || has_pair("`") || has_link
}

fn without_indent(line: &str, indent: usize) -> &str {
    let own = line.len() - line.trim_start_matches([' ', '\t']).len();
    line.get(own.min(indent)..).unwrap_or(line)
}

/// A line without its markup, for titles.
pub(super) fn bare(line: &str) -> String {
    if Fence::opened_by(line).is_some() {
        return String::new();
    }
    let line = line.trim_start_matches(['#', '>', ' ', '-', '*', '+', '|']);
    let has_picture = line.contains("![");
    let mut bare = String::new();
    let mut is_address = false;
    let mut previous = ' ';
    for char in line.chars() {
        match char {
            '(' if previous == ']' => is_address = true,
            ')' if is_address => is_address = false,
            _ if is_address => {}
            '*' | '`' | '[' | ']' | '!' if char != '!' || has_picture => {}
            _ if char.is_control() => {}
            _ => bare.push(char),
        }
        previous = char;
    }
    bare.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_told_from_plain_text() {
        let marked = [
            "# a",
            "a\n> b",
            "**a**",
            "a `b` c",
            "[a](https://b)",
            "![](x)",
            "```\na\n```",
            "a|b\n-|-\n1|2",
            "  ```\n  x\n  ```",
        ];
        let plain = ["a", "#a", "#", "2 ** 3", "a > b", "- item", "1. one", "a|b", "[x] (y)", "`"];
        for text in marked {
            assert!(is_markdown(text), "{text}");
        }
        for text in plain {
            assert!(!is_markdown(text), "{text}");
        }
    }

    #[test]
    fn line_breaks_tables_lists_and_fences_are_written_as_dingtalk_needs_them() {
        let table = [
            ("a\nb", "a  \n  b"),
            ("a\n\nb", "a\n\nb"),
            ("# h\na", "# h\na"),
            ("a\n1. x\n2. y", "a\n\n1. x\n2. y"),
            ("a\n- x\n  - y\nz", "a\n\n- x\n  - y\nz"),
            ("a\n|h|i|\n|-|-|\n|1|2|\nb", "a\n\n|h|i|\n|-|-|\n|1|2|\n\nb"),
            ("```\na\nb\n```\nc", "```\na\nb\n```\nc"),
            ("- x\n  ```py\n  a\n    b\n  ```\nc", "- x\n```py\na\n  b\n```\nc"),
            ("a\n```\nopen", "a\n```\nopen\n```"),
            ("````md\n```js\n1\n```\nx\n````\nb\nc", "````md\n```js\n1\n```\nx\n````\nb  \n  c"),
            ("```\na\n`````\nb\nc", "```\na\n`````\nb  \n  c"),
            ("````\n```\nopen", "````\n```\nopen\n````"),
            ("```a``` b\nc", "```a``` b  \n  c"),
        ];
        for (text, expected) in table {
            assert_eq!(markdown(text), expected, "{text}");
        }
    }
}
