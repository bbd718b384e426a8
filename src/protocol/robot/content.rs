//! The parts of a message by what they hold: texts and media in the order they were written.
//!
//! What carries a download code is media and what carries a text is text, whatever its type is called; what
//! is left of a message that can be read leaves a marker. The same reading serves what a person writes and
//! what they quote: the two spell the same things differently, and each spelling is accepted in both places.
//! The robot's own mention is left out, other people's stay as `@name`.

use std::borrow::Cow;

use serde_json_borrow::Value;

use super::forwarded;
use crate::domain::inbound::{Media, MediaKind, Missing, Part};
use crate::protocol::loose;

/// The object that holds what was said: `text` for a text, `content` for everything else.
pub fn body<'a>(message: &'a Value<'a>, kind: &str) -> Option<Cow<'a, Value<'a>>> {
    source(message, kind).and_then(|name| loose::nested(message, name))
}

fn source<'a>(message: &Value<'_>, kind: &'a str) -> Option<&'a str> {
    let fields = if kind == "text" { ["text", "content", kind] } else { ["content", kind, "text"] };
    let is_there = |name: &&str| loose::field(message, name).is_some_and(|it| !it.is_null());
    fields.into_iter().find(is_there)
}

/// Empty where nothing of it can be handed on.
pub fn parts(message: &Value<'_>, kind: &str, robot: Option<&str>) -> Vec<Part> {
    let Some(body) = body(message, kind) else { return Vec::new() };
    let parts = match kind {
        "richText" => rich_text(&body, robot),
        "chatRecord" => forwarded::parts(&body),
        "interactiveCard" => card(&body).map(Part::Text).into_iter().collect(),
        "text" => text(&body, robot).into_iter().collect(),
        _ => item(Some(kind), &body, robot, MediaKind::File),
    };
    if !parts.is_empty() || kind != "text" {
        return parts;
    }
    // A text that looks like JSON and has no shape of DingTalk's is what a person wrote.
    let written = source(message, kind).and_then(|name| loose::said(message, name));
    written.map(|written| Part::Text(without_mention(&written, robot))).into_iter().collect()
}

fn text(body: &Value<'_>, robot: Option<&str>) -> Option<Part> {
    match said(body) {
        Some(said) => Some(Part::Text(without_mention(said, robot))),
        None => media(None, body, MediaKind::File),
    }
}

fn said<'a>(body: &'a Value<'a>) -> Option<&'a str> {
    let text = |name| loose::field(body, name).and_then(Value::as_str);
    body.as_str().or_else(|| text("content")).or_else(|| text("text"))
}

/// DingTalk takes the robot's mention out itself; if a client left the bare id, it goes too.
fn without_mention(text: &str, robot: Option<&str>) -> String {
    match robot {
        Some(robot) if text.contains('@') => text.replace(&format!("@{robot}"), ""),
        Some(_) | None => text.to_owned(),
    }
}

/// The texts of anything that is not known by its kind, the most telling first.
const TEXTS: [&str; 4] = ["text", "content", "markdown", "title"];

/// What is said in `value` and the file it carries; nothing if it holds neither. A file that tells nothing of
/// its kind is taken for `otherwise`.
pub(super) fn item(
    kind: Option<&str>,
    value: &Value<'_>,
    robot: Option<&str>,
    otherwise: MediaKind,
) -> Vec<Part> {
    let text = match value {
        Value::Str(text) => Some(text.as_ref()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            TEXTS.iter().find_map(|name| loose::field(value, name)?.as_str())
        }
    };
    let text = text.map(|text| Part::Text(without_mention(text, robot)));
    let media = media(kind, value, otherwise);
    let heard = match (&text, &media) {
        (None, None) => loose::text(value, "recognition").map(Part::Text),
        (_, _) => None,
    };
    [text, media, heard].into_iter().flatten().collect()
}

fn rich_text(body: &Value<'_>, robot: Option<&str>) -> Vec<Part> {
    let items = match body {
        Value::Array(items) => items.clone(),
        Value::Str(text) => return vec![Part::Text(without_mention(text, robot))],
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            loose::items(body, "richText")
        }
    };
    let mut parts = Vec::new();
    for found in items.iter().filter(|item| !is_empty(item)) {
        let read = rich_item(found, robot);
        // A run of things that cannot be read is one gap.
        if read != [Part::Missing(Missing::Content)] || parts.last() != read.last() {
            parts.extend(read);
        }
    }
    parts
}

fn is_empty(item: &Value<'_>) -> bool {
    item.is_null() || item.as_object().is_some_and(serde_json_borrow::ObjectAsVec::is_empty)
}

fn rich_item(value: &Value<'_>, robot: Option<&str>) -> Vec<Part> {
    let kind = ["type", "msgType", "msgtype"].iter().find_map(|name| loose::said(value, name));
    if kind.as_deref() == Some("at") {
        let id = loose::text(value, "atUserId");
        if id.is_some() && id.as_deref() == robot {
            return Vec::new();
        }
        if let Some(name) = loose::text(value, "atName").or(id) {
            return vec![Part::Text(format!("@{name}"))];
        }
    }
    let parts = item(kind.as_deref(), value, robot, MediaKind::Picture);
    if parts.is_empty() { vec![Part::Missing(missing(kind.as_deref()))] } else { parts }
}

/// What stands where something of that kind was sent and cannot be handed on.
pub(super) fn missing(kind: Option<&str>) -> Missing {
    kind.and_then(media_kind).map_or(Missing::Content, Missing::Media)
}

/// The codes by which files are fetched, and what they are by the name of the code alone.
const CODES: [(&str, Option<MediaKind>); 4] = [
    ("downloadCode", None),
    ("pictureDownloadCode", Some(MediaKind::Picture)),
    ("videoDownloadCode", Some(MediaKind::Video)),
    ("fileDownloadCode", Some(MediaKind::File)),
];

fn media(kind: Option<&str>, body: &Value<'_>, otherwise: MediaKind) -> Option<Part> {
    let (code, by_code) =
        CODES.iter().find_map(|(name, kind)| Some((loose::text(body, name)?, *kind)))?;
    let name = loose::text(body, "fileName");
    let recognition = loose::text(body, "recognition");
    let kind = match kind.and_then(media_kind).or(by_code) {
        Some(kind) => kind,
        None if recognition.is_some() => MediaKind::Audio,
        None if name.is_some() => MediaKind::File,
        None => otherwise,
    };
    Some(Part::Media(Media { kind, code, name, recognition }))
}

/// The kind of file behind DingTalk's names for it.
fn media_kind(name: &str) -> Option<MediaKind> {
    let name = name.to_ascii_lowercase();
    let is = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if is(&["picture", "image", "photo"]) {
        Some(MediaKind::Picture)
    } else if is(&["audio", "voice"]) {
        Some(MediaKind::Audio)
    } else if is(&["video"]) {
        Some(MediaKind::Video)
    } else if is(&["file"]) {
        Some(MediaKind::File)
    } else {
        None
    }
}

/// What can be read of a card: the TEXT nodes of its tree, or the one parameter that holds its text.
fn card(body: &Value<'_>) -> Option<String> {
    if let Some(tree) = loose::nested(body, "cardContent") {
        return Some(tree_text(&tree)).filter(|text| !text.is_empty());
    }
    let data = loose::nested(body, "cardData")?;
    let params = loose::nested(&data, "cardParamMap")?;
    ["msgContent", "content", "markdown", "text"]
        .iter()
        .find_map(|field| loose::text(&params, field))
}

/// Without recursion: how deep the tree goes is up to the sender.
fn tree_text(tree: &Value<'_>) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut waiting = vec![tree];
    while let Some(node) = waiting.pop() {
        match node {
            Value::Array(nodes) => waiting.extend(nodes.iter().rev()),
            Value::Object(fields) => {
                if loose::field(node, "elementType").and_then(Value::as_str) == Some("TEXT") {
                    lines.extend(loose::text(node, "value"));
                }
                waiting.extend(fields.get("children"));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Str(_) => {}
        }
    }
    lines.join("\n")
}
