//! Forwarded chat records: the lines of others, each with who said it.
//!
//! The lines come as JSON in a string or as an array, under one of several names, and so do their fields.
//! The preview of the record is read only if there are no lines. What is no text leaves a marker: the code
//! of a file that others sent is not the robot's to fetch. Lines and their texts are bounded, and what is
//! over the bound is said to be missing.

use serde_json_borrow::Value;

use super::content;
use crate::domain::inbound::{MediaKind, Missing, Part};
use crate::protocol::loose;

const LINES_MAX: usize = 200;
const TEXT_MAX_BYTES: usize = 64 * 1024;

const LISTS: [&str; 4] = ["chatRecord", "records", "messages", "chatRecords"];
const NAMES: [&str; 6] = ["senderNick", "senderName", "sender", "nick", "nickName", "name"];
const BODIES: [&str; 4] = ["content", "message", "text", "msg"];

/// Empty if there is neither a line nor a preview.
pub(super) fn parts(body: &Value<'_>) -> Vec<Part> {
    let lists = LISTS.iter().map(|name| loose::items(body, name));
    let lines = lists.chain([items_of(body)]).find(|lines| !lines.is_empty());
    let lines = lines.unwrap_or_else(|| loose::items(body, "summary"));
    let mut writer = Writer::default();
    if lines.is_empty() {
        match loose::text(body, "summary").or_else(|| body.as_str().map(str::to_owned)) {
            Some(preview) => writer.text(&preview),
            None => return Vec::new(),
        }
    }
    for (index, line) in lines.iter().enumerate() {
        if index == LINES_MAX || writer.text_bytes > TEXT_MAX_BYTES {
            writer.missing(Missing::Rest(u32::try_from(lines.len() - index).unwrap_or(u32::MAX)));
            break;
        }
        writer.line(line);
    }
    writer.under(loose::text(body, "title"))
}

fn items_of<'a>(body: &Value<'a>) -> Vec<Value<'a>> {
    body.as_array().map(<[_]>::to_vec).unwrap_or_default()
}

/// Texts that follow each other are one part.
#[derive(Default)]
struct Writer {
    parts: Vec<Part>,
    text_bytes: usize,
}

impl Writer {
    fn line(&mut self, line: &Value<'_>) {
        if !self.parts.is_empty() {
            self.text("\n");
        }
        if let Some(text) = line.as_str() {
            return self.text(text);
        }
        if let Some(name) = name(line) {
            self.text(&format!("{name}: "));
        }
        let kind = ["msgType", "msgtype", "type"].iter().find_map(|name| loose::said(line, name));
        let said = said(line, kind.as_deref());
        if said.is_empty() {
            self.missing(content::missing(kind.as_deref()));
        }
        for part in said {
            match part {
                Part::Text(text) => self.text(&text),
                Part::Media(media) => self.missing(Missing::Media(media.kind)),
                Part::Missing(missing) => self.missing(missing),
            }
        }
    }

    fn text(&mut self, text: &str) {
        let left = TEXT_MAX_BYTES.saturating_sub(self.text_bytes);
        let kept = text.get(..text.floor_char_boundary(left)).unwrap_or_default();
        self.text_bytes += text.len();
        match self.parts.last_mut() {
            Some(Part::Text(before)) => before.push_str(kept),
            Some(Part::Media(_) | Part::Missing(_)) | None => {
                self.parts.push(Part::Text(kept.to_owned()));
            }
        }
        if kept.len() < text.len() {
            self.missing(Missing::Content);
        }
    }

    fn missing(&mut self, missing: Missing) {
        let missing = Part::Missing(missing);
        if self.parts.last() != Some(&missing) {
            self.parts.push(missing);
        }
    }

    fn under(self, title: Option<String>) -> Vec<Part> {
        let title = title.map(|title| Part::Text(format!("{title}\n")));
        title.into_iter().chain(self.parts).collect()
    }
}

fn name(line: &Value<'_>) -> Option<String> {
    let own = NAMES.iter().find_map(|name| loose::text(line, name));
    own.or_else(|| {
        let sender = loose::nested(line, "sender")?;
        NAMES.iter().find_map(|name| loose::text(&sender, name))
    })
}

fn said(line: &Value<'_>, kind: Option<&str>) -> Vec<Part> {
    let found = BODIES.iter().find_map(|name| {
        let body = loose::nested(line, name)?;
        let parts = match loose::field(&body, "richText") {
            Some(_) => content::parts(line, "richText", None),
            None => content::item(kind, &body, None, MediaKind::File),
        };
        // A text that looks like JSON is one.
        let written = || loose::said(line, name).map(|text| vec![Part::Text(text.into_owned())]);
        if parts.is_empty() { written() } else { Some(parts) }
    });
    found.unwrap_or_else(|| content::item(kind, line, None, MediaKind::File))
}
