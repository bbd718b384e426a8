//! A file as a callback runtime reads it: its bytes, an address to fetch it from, or why there is neither.
//!
//! Numbered as its marker in the text. Fetching it, and what is too large to go inline, is decided
//! before.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::rfc3339;
use crate::domain::attachment::kind_name;
use crate::domain::invocation::{Content, File, Unread};

/// One of `data`, `url` and `error` is there.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Attachment<'a> {
    number: u32,
    kind: &'static str,
    name: &'a str,
    content_type: Option<&'a str>,
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

pub(super) fn attachment(file: &File) -> Attachment<'_> {
    let plain = Attachment {
        number: file.number,
        kind: kind_name(file.kind),
        name: &file.name,
        content_type: file.content_type.as_deref(),
        size: file.size_bytes,
        data: None,
        url: None,
        expires_at: None,
        error: None,
    };
    match &file.content {
        Content::Inline(bytes) => Attachment { data: Some(STANDARD.encode(bytes)), ..plain },
        Content::Url { url, expires_at } => {
            Attachment { url: Some(url), expires_at: expires_at.map(rfc3339), ..plain }
        }
        Content::Unread(Unread::TooLarge) => Attachment { error: Some("too_large"), ..plain },
        Content::Unread(Unread::Unreadable) => Attachment { error: Some("unreadable"), ..plain },
        Content::Uploaded(_) | Content::Unfetched => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::inbound::MediaKind;
    use crate::domain::time::Timestamp;
    use serde_json::{Value, json};

    #[test]
    fn a_file_is_written_with_what_the_runtime_needs_to_read_it() {
        let url = |expires_at| Content::Url { url: "https://x/y".into(), expires_at };
        let table = [
            (Content::Inline(b"abc".to_vec()), json!({"data": "YWJj"})),
            (
                url(Some(Timestamp(0))),
                json!({"url": "https://x/y", "expiresAt": "1970-01-01T00:00:00Z"}),
            ),
            (url(None), json!({"url": "https://x/y"})),
            (Content::Unread(Unread::TooLarge), json!({"error": "too_large"})),
            (Content::Unread(Unread::Unreadable), json!({"error": "unreadable"})),
        ];
        for (content, more) in table {
            let file = File {
                number: 2,
                kind: MediaKind::Picture,
                name: "a.png".into(),
                content_type: Some("image/png".into()),
                size_bytes: Some(3),
                content,
            };
            let mut expected = json!({
                "number": 2, "kind": "picture", "name": "a.png", "contentType": "image/png", "size": 3
            });
            expected.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let found: Value = serde_json::to_value(attachment(&file)).unwrap();
            assert_eq!(found, expected);
        }
    }
}
