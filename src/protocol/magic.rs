//! What a file is, by its first bytes: what its sender or its store call it is not believed.
//!
//! A name decides only between kinds that begin alike: the old Office formats, and plain texts.

/// Enough of a file to know it by; Office files of today name themselves a few kilobytes in.
pub const HEAD_BYTES: usize = 8 * 1024;

const OLE: &[u8] = &[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1];

/// It also begins like a script, which is why it is looked for first.
const AMR: &[u8] = b"#!AMR";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Magic {
    pub content_type: &'static str,
    /// What a file of this kind is called; `None` where that is not known.
    pub extension: Option<&'static str>,
}

/// `head` is the beginning of the file, `name` what it was sent as.
pub fn sniff(head: &[u8], name: Option<&str>) -> Magic {
    let end = name.and_then(|name| name.rsplit_once('.')).map(|(_, end)| end.to_ascii_lowercase());
    if head.starts_with(OLE) {
        return ole(end.as_deref());
    }
    if head.starts_with(AMR) {
        return Magic { content_type: "audio/amr", extension: Some("amr") };
    }
    if let Some(found) = infer::get(head) {
        let extension = Some(found.extension()).filter(|extension| !extension.is_empty());
        return Magic { content_type: found.mime_type(), extension };
    }
    if is_text(head) {
        return text(end.as_deref());
    }
    Magic { content_type: "application/octet-stream", extension: None }
}

fn ole(end: Option<&str>) -> Magic {
    let (content_type, extension) = match end {
        Some("doc") => ("application/msword", Some("doc")),
        Some("xls") => ("application/vnd.ms-excel", Some("xls")),
        Some("ppt") => ("application/vnd.ms-powerpoint", Some("ppt")),
        Some(_) | None => ("application/x-ole-storage", None),
    };
    Magic { content_type, extension }
}

fn text(end: Option<&str>) -> Magic {
    let (content_type, extension) = match end {
        Some("csv") => ("text/csv", "csv"),
        Some("md" | "markdown") => ("text/markdown", "md"),
        Some("json") => ("application/json", "json"),
        Some(_) | None => ("text/plain", "txt"),
    };
    Magic { content_type, extension: Some(extension) }
}

/// UTF-8 without control characters; a character that the end cuts in two is no fault.
fn is_text(head: &[u8]) -> bool {
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            let upto = head.get(..error.valid_up_to()).unwrap_or_default();
            std::str::from_utf8(upto).unwrap_or_default()
        }
        Err(_) => return false,
    };
    let is_plain = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\u{c}');
    !valid.is_empty() && valid.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A zip whose first entry is called `name`, as Office writes it.
    fn zip(name: &str) -> Vec<u8> {
        let mut bytes = b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0".to_vec();
        bytes.extend([0; 12]);
        bytes.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        bytes.extend([0, 0]);
        bytes.extend(name.as_bytes());
        bytes.extend([0; 64]);
        bytes
    }

    #[test]
    fn the_bytes_say_what_a_file_is() {
        let mp4 = b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41".as_slice();
        type Case = (&'static [u8], Option<&'static str>, &'static str, Option<&'static str>);
        let table: [Case; 24] = [
            (b"\x89PNG\r\n\x1a\n\0\0", None, "image/png", Some("png")),
            (b"\xff\xd8\xff\xe0\0\x10JFIF", Some("a.png"), "image/jpeg", Some("jpg")),
            (b"GIF89a\x01\0", None, "image/gif", Some("gif")),
            (b"RIFF\x24\0\0\0WEBPVP8 ", None, "image/webp", Some("webp")),
            (b"BM\x36\0\0\0\0\0", None, "image/bmp", Some("bmp")),
            (b"%PDF-1.7\n", Some("a.exe"), "application/pdf", Some("pdf")),
            (b"PK\x03\x04\x14\0\0\0", None, "application/zip", Some("zip")),
            (mp4, None, "video/mp4", Some("mp4")),
            (b"#!AMR\n<\x91", None, "audio/amr", Some("amr")),
            (b"OggS\0\x02\0\0", None, "audio/ogg", Some("ogg")),
            (b"ID3\x03\0\0\0\0", None, "audio/mpeg", Some("mp3")),
            (b"RIFF\x24\x08\0\0WAVEfmt ", None, "audio/x-wav", Some("wav")),
            (b"Rar!\x1a\x07\0\0", None, "application/vnd.rar", Some("rar")),
            (b"\x1f\x8b\x08\0", None, "application/gzip", Some("gz")),
            (OLE, Some("a.DOC"), "application/msword", Some("doc")),
            (OLE, Some("a.xls"), "application/vnd.ms-excel", Some("xls")),
            (OLE, None, "application/x-ole-storage", None),
            ("你好\n".as_bytes(), None, "text/plain", Some("txt")),
            (&"你".as_bytes()[..2], None, "application/octet-stream", None),
            (&"a你".as_bytes()[..3], None, "text/plain", Some("txt")),
            (b"a,b\r\n1,2", Some("t.csv"), "text/csv", Some("csv")),
            (b"{\"a\":1}", Some("t.json"), "application/json", Some("json")),
            (b"a\0b", Some("t.txt"), "application/octet-stream", None),
            (b"", Some("t.txt"), "application/octet-stream", None),
        ];
        for (head, name, content_type, extension) in table {
            let found = sniff(head, name);
            assert_eq!(found, Magic { content_type, extension }, "{head:?}");
        }
    }

    #[test]
    fn office_files_are_known_from_other_archives() {
        for (entry, extension) in
            [("word/document.xml", "docx"), ("xl/workbook.xml", "xlsx"), ("ppt/a.xml", "pptx")]
        {
            assert_eq!(sniff(&zip(entry), None).extension, Some(extension));
        }
        assert_eq!(sniff(&zip("readme.md"), None).extension, Some("zip"));
    }
}
