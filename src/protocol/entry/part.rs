//! The wire form of a message's parts: texts, files and what is missing.
//!
//! A message and what it quotes share it. Variants are appended, never reordered.

use serde::{Deserialize, Serialize};

use crate::domain::inbound::{Media, MediaKind, Missing, Part};

#[derive(Serialize, Deserialize)]
pub(super) enum WirePart {
    Text(String),
    Picture(WireMedia),
    Audio(WireMedia),
    Video(WireMedia),
    File(WireMedia),
    Missing(WireMissing),
}

#[derive(Serialize, Deserialize)]
pub(in crate::protocol::entry) enum WireMissing {
    Content,
    Picture,
    Audio,
    Video,
    File,
    Rest(u32),
}

#[derive(Serialize, Deserialize)]
pub(in crate::protocol::entry) struct WireMedia {
    code: String,
    name: Option<String>,
    recognition: Option<String>,
}

impl From<Part> for WirePart {
    fn from(part: Part) -> Self {
        let media = match part {
            Part::Text(text) => return Self::Text(text),
            Part::Media(media) => media,
            Part::Missing(missing) => return Self::Missing(missing.into()),
        };
        let Media { kind, code, name, recognition } = media;
        let wire = WireMedia { code, name, recognition };
        match kind {
            MediaKind::Picture => Self::Picture(wire),
            MediaKind::Audio => Self::Audio(wire),
            MediaKind::Video => Self::Video(wire),
            MediaKind::File => Self::File(wire),
        }
    }
}

impl From<WirePart> for Part {
    fn from(wire: WirePart) -> Self {
        let (kind, media) = match wire {
            WirePart::Text(text) => return Self::Text(text),
            WirePart::Picture(media) => (MediaKind::Picture, media),
            WirePart::Audio(media) => (MediaKind::Audio, media),
            WirePart::Video(media) => (MediaKind::Video, media),
            WirePart::File(media) => (MediaKind::File, media),
            WirePart::Missing(missing) => return Self::Missing(missing.into()),
        };
        let WireMedia { code, name, recognition } = media;
        Self::Media(Media { kind, code, name, recognition })
    }
}

impl From<Missing> for WireMissing {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Content => Self::Content,
            Missing::Media(MediaKind::Picture) => Self::Picture,
            Missing::Media(MediaKind::Audio) => Self::Audio,
            Missing::Media(MediaKind::Video) => Self::Video,
            Missing::Media(MediaKind::File) => Self::File,
            Missing::Rest(count) => Self::Rest(count),
        }
    }
}

impl From<WireMissing> for Missing {
    fn from(wire: WireMissing) -> Self {
        match wire {
            WireMissing::Content => Self::Content,
            WireMissing::Picture => Self::Media(MediaKind::Picture),
            WireMissing::Audio => Self::Media(MediaKind::Audio),
            WireMissing::Video => Self::Media(MediaKind::Video),
            WireMissing::File => Self::Media(MediaKind::File),
            WireMissing::Rest(count) => Self::Rest(count),
        }
    }
}
