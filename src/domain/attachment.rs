//! What messages hand to an expert: their text, with a marker where a file stood, and the files.
//!
//! The files of a turn are numbered from 1 in reading order across its messages, what a message quotes
//! before what it says; the same number stands in the text, so that the order stays visible. A file that
//! could not be had keeps its marker, which then says why: nothing is dropped in silence. A voice message
//! that DingTalk understood is its words and no file.

use std::collections::BTreeMap;

use super::binding::Language;
use super::id::MsgId;
use super::inbound::{Media, MediaKind, Message, Missing, Part};
use super::invocation::{Asked, Content, File, Quoted, Unread};
use super::time::Timestamp;
use super::words::Word;

/// Longer names are cut, their extension kept.
const NAME_MAX_CHARS: usize = 120;
const EXTENSION_MAX_CHARS: usize = 10;

/// A message of the turn, and when the broker stored it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoken {
    pub message: Message,
    pub at: Timestamp,
}

/// A file to be fetched for the expert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// From 1, in reading order.
    pub number: u32,
    pub media: &'a Media,
    pub robot_code: Option<&'a str>,
}

/// Where an expert reads what a message quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quoting {
    /// In the text, before what is said: for experts that are given the text alone.
    Before,
    /// Beside the message, and nowhere else.
    Apart,
}

/// The turn as the expert reads it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Composed {
    pub text: String,
    pub messages: Vec<Asked>,
}

/// Every file of the turn, numbered.
pub fn wanted(spoken: &[Spoken]) -> Vec<Wanted<'_>> {
    let mut list = Vec::new();
    let mut number = 0;
    for Spoken { message, .. } in spoken {
        let quoted = message.quote.iter().flat_map(|quote| &quote.parts);
        for part in quoted.chain(&message.parts) {
            let Part::Media(media) = part else { continue };
            if is_file(media) {
                number += 1;
                let robot_code = message.robot_code.as_deref();
                list.push(Wanted { number, media, robot_code });
            }
        }
    }
    list
}

/// The texts of the turn with the files that were had, by number. A file that is not among them was one
/// too many.
pub fn compose(
    spoken: &[Spoken],
    files: BTreeMap<u32, File>,
    quoting: Quoting,
    language: Language,
) -> Composed {
    let mut writer = Writer { next: 1, files, language };
    let mut composed = Composed::default();
    for Spoken { message, at } in spoken {
        let quoted = message.quote.as_ref().map(|quote| {
            let (mut text, files) = writer.write(&quote.parts);
            if text.is_empty() && files.is_empty() {
                text = writer.unread(Word::MarkQuote);
            }
            Quoted { msg_id: quote.msg_id.clone(), text, files }
        });
        let (text, files) = writer.write(&message.parts);
        let block = match (quoting, &quoted) {
            (Quoting::Before, Some(quoted)) => quote_block(&quoted.text),
            (Quoting::Apart, _) | (_, None) => String::new(),
        };
        for piece in [&block, &text] {
            if !composed.text.is_empty() && !piece.is_empty() {
                composed.text.push('\n');
            }
            composed.text.push_str(piece);
        }
        let (msg_id, kind): (MsgId, String) = (message.msg_id.clone(), message.kind.clone());
        composed.messages.push(Asked { msg_id, at: *at, kind, text, files, quoted });
    }
    composed.text.truncate(composed.text.trim_end().len());
    composed
}

/// Nothing is left to ask: all that was sent is files over the limit.
pub fn is_only_too_large(spoken: &[Spoken], files: &BTreeMap<u32, File>) -> bool {
    let is_said = |part: &Part| match part {
        Part::Text(text) => !text.trim().is_empty(),
        Part::Media(media) => !is_file(media),
        Part::Missing(_) => false,
    };
    let quoted =
        |message: &Message| message.quote.iter().flat_map(|quote| &quote.parts).any(is_said);
    let is_silent = !spoken
        .iter()
        .any(|spoken| spoken.message.parts.iter().any(is_said) || quoted(&spoken.message));
    let is_too_large = |file: &File| file.content == Content::Unread(Unread::TooLarge);
    is_silent && !files.is_empty() && files.values().all(is_too_large)
}

/// A name for a file: the one it was sent with, made harmless, or one of its own. `extension` is what
/// its bytes say.
pub fn name(given: Option<&str>, kind: MediaKind, number: u32, extension: Option<&str>) -> String {
    let mut name = given.map(harmless).unwrap_or_default();
    if name.is_empty() {
        name = format!("{}-{number}", kind_name(kind));
    }
    let has_extension = name.rsplit_once('.').is_some_and(|(stem, end)| {
        let is_short = (1..=EXTENSION_MAX_CHARS).contains(&end.len());
        !stem.is_empty() && is_short && end.chars().all(|c| c.is_ascii_alphanumeric())
    });
    match extension {
        Some(extension) if !has_extension => format!("{name}.{extension}"),
        Some(_) | None => name,
    }
}

/// The word for a kind of file where machines read it.
pub fn kind_name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Picture => "picture",
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
        MediaKind::File => "file",
    }
}

/// No part of a path, nothing that ends a line or a marker.
fn harmless(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain: String = last
        .chars()
        .map(|c| if c.is_control() || "[]<>:\"|?*".contains(c) { '_' } else { c })
        .collect();
    let plain = plain.trim().trim_start_matches('.');
    if plain.chars().count() <= NAME_MAX_CHARS {
        return plain.to_owned();
    }
    let end = plain.rsplit_once('.').map(|(_, end)| end);
    let end = end.filter(|end| end.chars().count() <= EXTENSION_MAX_CHARS);
    let kept: String = plain.chars().take(NAME_MAX_CHARS - EXTENSION_MAX_CHARS - 1).collect();
    match end {
        Some(end) => format!("{kept}.{end}"),
        None => kept,
    }
}

fn is_file(media: &Media) -> bool {
    words_of(media).is_none()
}

/// What DingTalk heard in a voice message.
fn words_of(media: &Media) -> Option<&str> {
    let words = media.recognition.as_deref().filter(|words| !words.trim().is_empty());
    words.filter(|_| media.kind == MediaKind::Audio)
}

/// Every line marked; an empty line parts it from what follows.
fn quote_block(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let lines: Vec<_> = text.lines().map(|line| format!("> {line}")).collect();
    format!("{}\n", lines.join("\n"))
}

struct Writer {
    next: u32,
    files: BTreeMap<u32, File>,
    language: Language,
}

impl Writer {
    /// The text of `parts`, and their files.
    fn write(&mut self, parts: &[Part]) -> (String, Vec<File>) {
        let (mut text, mut files) = (String::new(), Vec::new());
        let mut left_out = 0_u32;
        for part in parts {
            let media = match part {
                Part::Text(said) => {
                    text.push_str(said);
                    continue;
                }
                Part::Media(media) => media,
                Part::Missing(missing) => {
                    text.push_str(&self.missing(*missing));
                    continue;
                }
            };
            if let Some(words) = words_of(media) {
                text.push_str(words);
                continue;
            }
            let number = self.next;
            self.next += 1;
            match self.files.remove(&number) {
                Some(file) => {
                    text.push_str(&self.marker(&file, media.name.is_some()));
                    files.push(file);
                }
                None => left_out += 1,
            }
        }
        if left_out > 0 {
            text.push('\n');
            text.push_str(&self.left_out(left_out));
        }
        (text.trim().to_owned(), files)
    }

    fn left_out(&self, count: u32) -> String {
        Word::MarkLeftOut.text(self.language).replace("{n}", &count.to_string())
    }

    /// Where something stood that nothing is known of but its kind, e.g. `[picture (could not be read)]`.
    fn missing(&self, missing: Missing) -> String {
        match missing {
            Missing::Media(kind) => self.unread(media_word(kind)),
            Missing::Content => self.unread(Word::MarkContent),
            Missing::Rest(count) => self.left_out(count),
        }
    }

    fn unread(&self, what: Word) -> String {
        let label = what.text(self.language).replace("{n}", "");
        format!("[{} ({})]", label.trim(), Word::MarkUnreadable.text(self.language))
    }

    /// Where a file stood, e.g. `[picture 1]` or `[file 2 plan.pdf (too large)]`.
    fn marker(&self, file: &File, is_named: bool) -> String {
        let word = media_word(file.kind);
        let mut more = String::new();
        if is_named {
            more = format!(" {}", file.name);
        }
        let why = match file.content {
            Content::Unread(Unread::TooLarge) => Some(Word::MarkTooLarge),
            Content::Unread(Unread::Unreadable) => Some(Word::MarkUnreadable),
            Content::Inline(_)
            | Content::Url { .. }
            | Content::Uploaded(_)
            | Content::Unfetched => None,
        };
        if let Some(why) = why {
            more = format!("{more} ({})", why.text(self.language));
        }
        let label = word.text(self.language).replace("{n}", &file.number.to_string());
        format!("[{label}{more}]")
    }
}

fn media_word(kind: MediaKind) -> Word {
    match kind {
        MediaKind::Picture => Word::MarkPicture,
        MediaKind::Audio => Word::MarkVoice,
        MediaKind::Video => Word::MarkVideo,
        MediaKind::File => Word::MarkFile,
    }
}

#[cfg(test)]
mod tests;
