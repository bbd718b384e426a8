//! What is media, text or missing, whatever its type is called, and the lines of forwarded records.
//!
//! One line is one item as a peer's users sent it.

use serde_json::{Value, json};

use super::{ROBOT, absent, media, message, private, said};
use crate::domain::inbound::{Media, MediaKind, Missing, Part, text_of};

#[test]
fn what_carries_a_code_is_media_and_what_carries_a_text_is_text() {
    use MediaKind::{Audio, File, Picture, Video};
    let one =
        |kind: &str, content: Value| json!({"msgtype": kind, "text": null, "content": content});
    let rich =
        |item: Value| one("richText", json!({"richText": [{"text": "a"}, item, {"text": "b"}]}));
    let of = |kind| Part::Media(media(kind, "c"));
    let named = |kind| Part::Media(Media { name: Some("n.pdf".into()), ..media(kind, "c") });
    let heard = Part::Media(Media { recognition: Some("heard".into()), ..media(Audio, "c") });
    let code = || json!({"downloadCode": "c"});
    let alone = [
        (one("voice", json!({"downloadCode": "c", "recognition": "heard"})), heard.clone()),
        (one("tomorrow", json!({"downloadCode": "c", "recognition": "heard"})), heard),
        (one("image", code()), of(Picture)),
        (one("shortVideo", code()), of(Video)),
        (one("tomorrow", code()), of(File)),
        (one("tomorrow", json!({"pictureDownloadCode": "c"})), of(Picture)),
        (one("tomorrow", json!({"text": "x"})), said("x")),
        (one("emoji", json!({"content": "x"})), said("x")),
        (one("text", code()), of(File)),
        (json!({"msgtype": "emoji", "text": {"content": "x"}}), said("x")),
    ];
    for (changes, part) in alone {
        assert_eq!(message(&private(&changes)).parts, [part], "{changes}");
    }
    let items = [
        (json!({"pictureDownloadCode": "c"}), vec![of(Picture)]),
        (json!({"downloadCode": "c"}), vec![of(Picture)]),
        (json!({"downloadCode": "c", "fileName": "n.pdf"}), vec![named(File)]),
        (json!({"type": "file", "downloadCode": "c", "fileName": "n.pdf"}), vec![named(File)]),
        (
            json!({"type": "picture", "downloadCode": "c", "fileName": "n.pdf"}),
            vec![named(Picture)],
        ),
        (json!({"type": "voice", "downloadCode": "c"}), vec![of(Audio)]),
        (json!({"type": "x", "text": "t", "downloadCode": "c"}), vec![said("t"), of(Picture)]),
        (json!({"msgType": "emoji", "content": "😀"}), vec![said("😀")]),
        (json!({"type": "picture", "picUrl": "?"}), vec![Part::Missing(Missing::Media(Picture))]),
        (json!({"type": "location", "at": 1}), vec![absent()]),
        (json!({"type": "at"}), vec![absent()]),
        (json!({"type": "at", "atUserId": ROBOT}), vec![]),
        (json!({}), vec![]),
    ];
    for (item, parts) in items {
        let expected: Vec<_> = [said("a")].into_iter().chain(parts).chain([said("b")]).collect();
        assert_eq!(message(&private(&rich(item.clone()))).parts, expected, "{item}");
    }
    let unread = message(&private(&one("richText", json!({"richText": [{"type": "location"}]}))));
    assert!(unread.is_unsupported(), "who sent it is told");
}

#[test]
fn forwarded_records_give_their_lines_with_who_said_them() {
    let record = |content: Value| {
        private(&json!({"msgtype": "chatRecord", "text": null, "content": content}))
    };
    let lines = json!([
        {"senderNick": "甲", "msgType": "text", "content": "一"},
        {"senderName": "乙", "content": {"text": "二"}},
        {"sender": "丙", "message": "三"},
        {"sender": {"name": "丁"}, "content": "{\"content\":\"四\"}"},
        {"content": "{\"like\":\"JSON\"}"},
        {"senderNick": "戊", "content": {"richText": [{"text": "五"}, {"type": "picture", "downloadCode": "c"}]}},
        {"senderNick": "己", "msgType": "voice", "content": {"downloadCode": "c"}},
        {"senderNick": "庚", "msgType": "location", "content": {"at": 1}},
        "辛: 六",
    ]);
    let expected = vec![
        said("甲: 一\n乙: 二\n丙: 三\n丁: 四\n{\"like\":\"JSON\"}\n戊: 五"),
        Part::Missing(Missing::Media(MediaKind::Picture)),
        said("\n己: "),
        Part::Missing(Missing::Media(MediaKind::Audio)),
        said("\n庚: "),
        absent(),
        said("\n辛: 六"),
    ];
    for name in ["chatRecord", "records", "messages"] {
        for list in [lines.clone(), json!(lines.to_string())] {
            let content = json!({"summary": "preview", name: list});
            assert_eq!(message(&record(content)).parts, expected, "{name}");
        }
    }
    let read = [
        (
            json!({"title": "t", "records": [{"nick": "a", "text": "x"}]}),
            vec![said("t\n"), said("a: x")],
        ),
        (json!({"summary": "[\"a:x\", \"b:y\"]"}), vec![said("a:x\nb:y")]),
        (json!({"summary": "a:x\nb:y", "records": []}), vec![said("a:x\nb:y")]),
        (json!({"title": "t"}), vec![]),
        (json!("a:x"), vec![said("a:x")]),
    ];
    for (content, parts) in read {
        assert_eq!(message(&record(content.clone())).parts, parts, "{content}");
    }
}

#[test]
fn a_forwarded_record_is_bounded_and_says_what_is_missing() {
    let record = |lines: Vec<Value>| {
        let content = json!({"records": lines});
        message(&private(&json!({"msgtype": "chatRecord", "text": null, "content": content}))).parts
    };
    let line = |text: &str| json!({"nick": "a", "text": text});
    let parts = record(vec![line("x"); 1000]);
    assert_eq!(parts.last(), Some(&Part::Missing(Missing::Rest(800))));
    assert_eq!(text_of(&parts).lines().count(), 200);
    let parts = record(vec![line(&"长".repeat(60_000)), line("y"), line("z")]);
    assert!(text_of(&parts).len() <= 64 * 1024);
    assert!(parts.ends_with(&[absent(), Part::Missing(Missing::Rest(2))]), "{:?}", parts.len());
}
