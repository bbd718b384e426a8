//! The parts of a message by its kind: texts and media in the order they were written.
//!
//! The same reading serves what a person writes and what they quote: the two spell the same things
//! differently, and each spelling is accepted in both places. The robot's own mention is left out,
//! other people's stay as `@name`.

use std::borrow::Cow;

use serde_json_borrow::Value;

use crate::domain::inbound::{Media, MediaKind, Part};
use crate::protocol::loose;

/// The object that holds what was said: `text` for a text, `content` for everything else.
pub fn body<'a>(message: &'a Value<'a>, kind: &str) -> Option<Cow<'a, Value<'a>>> {
    let fields = if kind == "text" { ["text", "content"] } else { ["content", kind] };
    fields.iter().find_map(|field| loose::nested(message, field))
}

/// Empty where the kind is unknown or holds nothing that can be handed on.
pub fn parts(kind: &str, body: Option<&Value<'_>>, robot: Option<&str>) -> Vec<Part> {
    let Some(body) = body else { return Vec::new() };
    match kind {
        "text" => said(body).map(|said| Part::Text(without_mention(said, robot))),
        "markdown" => {
            loose::text(body, "text").or_else(|| said(body).map(str::to_owned)).map(Part::Text)
        }
        "chatRecord" => loose::text(body, "summary").map(Part::Text),
        "richText" => return rich_text(body, robot),
        "picture" => media(MediaKind::Picture, body),
        "audio" => media(MediaKind::Audio, body)
            .or_else(|| loose::text(body, "recognition").map(Part::Text)),
        "video" => media(MediaKind::Video, body),
        "file" => media(MediaKind::File, body),
        "interactiveCard" => card(body).map(Part::Text),
        _ => None,
    }
    .into_iter()
    .collect()
}

fn said<'a>(body: &'a Value<'a>) -> Option<&'a str> {
    let text = |name| loose::field(body, name).and_then(Value::as_str);
    body.as_str().or_else(|| text("content")).or_else(|| text("text"))
}

/// DingTalk takes the robot's mention out itself; where a client left the bare id, it goes too.
fn without_mention(text: &str, robot: Option<&str>) -> String {
    match robot {
        Some(robot) if text.contains('@') => text.replace(&format!("@{robot}"), ""),
        Some(_) | None => text.to_owned(),
    }
}

fn rich_text(body: &Value<'_>, robot: Option<&str>) -> Vec<Part> {
    let items = match body {
        Value::Array(items) => items.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Str(_) | Value::Object(_) => {
            loose::items(body, "richText")
        }
    };
    items.iter().filter_map(|item| rich_item(item, robot)).collect()
}

fn rich_item(item: &Value<'_>, robot: Option<&str>) -> Option<Part> {
    let kind = ["type", "msgType"].iter().find_map(|name| loose::said(item, name));
    match kind.as_deref().unwrap_or("text") {
        "text" => {
            let said =
                ["text", "content"].iter().find_map(|name| loose::field(item, name)?.as_str())?;
            Some(Part::Text(without_mention(said, robot)))
        }
        "picture" => media(MediaKind::Picture, item),
        "at" => {
            let id = loose::text(item, "atUserId");
            if id.is_some() && id.as_deref() == robot {
                return None;
            }
            loose::text(item, "atName").or(id).map(|name| Part::Text(format!("@{name}")))
        }
        _ => None,
    }
}

fn media(kind: MediaKind, body: &Value<'_>) -> Option<Part> {
    let code = ["downloadCode", "pictureDownloadCode"]
        .iter()
        .find_map(|field| loose::text(body, field))?;
    Some(Part::Media(Media {
        kind,
        code,
        name: loose::text(body, "fileName"),
        recognition: loose::text(body, "recognition"),
    }))
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
