//! Order, numbers, markers and names, by tables.
//!
//! What a person sent must be found again in what the expert reads, whatever could not be had.

use super::*;
use crate::domain::inbound::{Place, PlaceKind, Quote, Sender};

fn said(text: &str) -> Part {
    Part::Text(text.into())
}

fn sent(kind: MediaKind, name: Option<&str>) -> Part {
    let name = name.map(Into::into);
    Part::Media(Media { kind, code: "code".into(), name, recognition: None })
}

fn absent(missing: Missing) -> Part {
    Part::Missing(missing)
}

fn voice(words: &str) -> Part {
    let recognition = Some(words.into());
    Part::Media(Media { kind: MediaKind::Audio, code: "code".into(), name: None, recognition })
}

fn spoken(parts: Vec<Part>, quoted: Option<Vec<Part>>) -> Spoken {
    let quote = quoted.map(|parts| Quote { msg_id: Some("q==".into()), parts });
    let message = Message {
        msg_id: MsgId::parse("m==").unwrap(),
        place: Place { id: "cid".into(), kind: PlaceKind::Private, title: None },
        sender: Sender { id: "s".into(), staff_id: None, name: "Ann".into(), corp_id: None },
        robot_code: Some("robot".into()),
        created_at: None,
        kind: "richText".into(),
        parts,
        quote,
        webhook: None,
    };
    Spoken { message, at: Timestamp(1) }
}

fn had(list: &[Spoken], content: &[Content]) -> BTreeMap<u32, File> {
    let pairs = wanted(list).into_iter().zip(content);
    pairs
        .map(|(wanted, content)| {
            let (number, kind) = (wanted.number, wanted.media.kind);
            let name = name(wanted.media.name.as_deref(), kind, number, None);
            let content = content.clone();
            (number, File { number, kind, name, content_type: None, size_bytes: None, content })
        })
        .collect()
}

#[test]
fn texts_files_and_quotes_read_in_the_order_they_were_written() {
    use MediaKind::{Audio, File as Document, Picture, Video};
    let fine = || Content::Unfetched;
    let (large, broken) = (Content::Unread(Unread::TooLarge), Content::Unread(Unread::Unreadable));
    let table = [
        (vec![spoken(vec![said(" hi ")], None)], vec![], "hi", "hi"),
        (
            vec![spoken(
                vec![said("a"), sent(Picture, None), said("b"), sent(Picture, None)],
                None,
            )],
            vec![fine(), fine()],
            "a[picture 1]b[picture 2]",
            "a[图片1]b[图片2]",
        ),
        (
            vec![
                spoken(vec![sent(Picture, None)], None),
                spoken(vec![sent(Document, Some("plan.pdf"))], None),
                spoken(vec![sent(Video, None)], None),
            ],
            vec![fine(), large, broken],
            "[picture 1]\n[file 2 plan.pdf (too large)]\n[video 3 (could not be read)]",
            "[图片1]\n[文件2 plan.pdf (超过大小上限)]\n[视频3 (无法读取)]",
        ),
        (vec![spoken(vec![voice("heard")], None)], vec![], "heard", "heard"),
        (vec![spoken(vec![sent(Audio, None)], None)], vec![fine()], "[voice 1]", "[语音1]"),
        (
            vec![spoken(vec![said("sum up")], Some(vec![said("one\ntwo"), sent(Picture, None)]))],
            vec![fine()],
            "> one\n> two[picture 1]\n\nsum up",
            "> one\n> two[图片1]\n\nsum up",
        ),
        (
            vec![spoken(vec![said("what?")], Some(vec![]))],
            vec![],
            "> [quoted message (could not be read)]\n\nwhat?",
            "> [引用的消息 (无法读取)]\n\nwhat?",
        ),
        (
            vec![spoken(vec![said("see"), absent(Missing::Content), said("!")], None)],
            vec![],
            "see[content (could not be read)]!",
            "see[内容 (无法读取)]!",
        ),
        (
            vec![spoken(
                vec![said("Tom: "), absent(Missing::Media(Picture)), absent(Missing::Rest(3))],
                Some(vec![absent(Missing::Media(Document))]),
            )],
            vec![],
            "> [file (could not be read)]\n\nTom: [picture (could not be read)][3 more not passed on: too many]",
            "> [文件 (无法读取)]\n\nTom: [图片 (无法读取)][另有3个未传送：数量过多]",
        ),
        (
            vec![spoken(vec![said("see"), sent(Picture, None), sent(Picture, None)], None)],
            vec![fine()],
            "see[picture 1]\n[1 more not passed on: too many]",
            "see[图片1]\n[另有1个未传送：数量过多]",
        ),
    ];
    for (list, contents, en, zh) in table {
        let of = |quoting, language| compose(&list, had(&list, &contents), quoting, language);
        let composed = of(Quoting::Before, Language::En);
        assert_eq!(composed.text, en);
        assert_eq!(of(Quoting::Before, Language::ZhHans).text, zh);
        assert_eq!(composed.messages.len(), list.len());
        let apart = of(Quoting::Apart, Language::En);
        assert!(!apart.text.starts_with('>'), "{}", apart.text);
        assert_eq!(apart.messages, composed.messages, "what is quoted stands with its message");
    }
}

#[test]
fn files_and_quotes_stand_with_their_message_under_the_number_of_the_text() {
    let list = [
        spoken(vec![sent(MediaKind::Picture, None)], None),
        spoken(
            vec![said("x"), sent(MediaKind::File, None)],
            Some(vec![said("q"), sent(MediaKind::Video, None)]),
        ),
    ];
    let contents = [Content::Unfetched, Content::Unfetched, Content::Unfetched];
    let composed = compose(&list, had(&list, &contents), Quoting::Apart, Language::En);
    assert_eq!(composed.text, "[picture 1]\nx[file 3]", "nothing is put before what was said");
    let numbers =
        |files: &[File]| files.iter().map(|file| (file.number, file.kind)).collect::<Vec<_>>();
    let [first, second] = composed.messages.as_slice() else { panic!("two messages") };
    assert_eq!(numbers(&first.files), [(1, MediaKind::Picture)]);
    assert_eq!(first.quoted, None);
    assert_eq!(numbers(&second.files), [(3, MediaKind::File)]);
    assert_eq!(second.text, "x[file 3]", "what is quoted is no part of the message's own text");
    let quoted = second.quoted.as_ref().unwrap();
    assert_eq!((quoted.msg_id.as_deref(), quoted.text.as_str()), (Some("q=="), "q[video 2]"));
    assert_eq!(numbers(&quoted.files), [(2, MediaKind::Video)]);
}

#[test]
fn ten_thousand_segments_are_one_text_and_one_note() {
    let picture = || sent(MediaKind::Picture, None);
    let parts = (0..10_000).map(|i| if i % 2 == 0 { said("字") } else { picture() }).collect();
    let list = [spoken(parts, None)];
    let files = had(&list, &vec![Content::Unfetched; 20]);
    let text = compose(&list, files, Quoting::Before, Language::En).text;
    assert_eq!(text.matches('字').count(), 5000);
    assert_eq!(text.matches("[picture").count(), 20);
    assert!(text.ends_with("\n[4980 more not passed on: too many]"), "one note for all the rest");
}

#[test]
fn only_files_over_the_limit_leave_nothing_to_ask() {
    let file = || sent(MediaKind::File, None);
    let (large, broken) = (Content::Unread(Unread::TooLarge), Content::Unread(Unread::Unreadable));
    let table = [
        (spoken(vec![file()], None), vec![large.clone()], true),
        (spoken(vec![said(" \n"), file()], None), vec![large.clone()], true),
        (spoken(vec![said("see"), file()], None), vec![large.clone()], false),
        (spoken(vec![voice("see"), file()], None), vec![large.clone()], false),
        (spoken(vec![file()], Some(vec![said("q")])), vec![large.clone()], false),
        (spoken(vec![file(), file()], None), vec![large, Content::Unfetched], false),
        (spoken(vec![file()], None), vec![broken], false),
        (spoken(vec![said("")], None), vec![], false),
    ];
    for (spoken, contents, expected) in table {
        let list = [spoken];
        assert_eq!(is_only_too_large(&list, &had(&list, &contents)), expected, "{list:?}");
    }
}

#[test]
fn names_are_harmless_and_end_as_their_bytes_say() {
    let long = "长".repeat(300);
    let table = [
        (None, None, "picture-7".to_owned()),
        (None, Some("png"), "picture-7.png".to_owned()),
        (Some(""), Some("png"), "picture-7.png".to_owned()),
        (Some("..."), Some("png"), "picture-7.png".to_owned()),
        (Some("plan.pdf"), Some("zip"), "plan.pdf".to_owned()),
        (Some("一种装置"), Some("pdf"), "一种装置.pdf".to_owned()),
        (Some("v1. final"), Some("pdf"), "v1. final.pdf".to_owned()),
        (Some("../../etc/passwd"), None, "passwd".to_owned()),
        (Some("C:\\x\\y.txt"), None, "y.txt".to_owned()),
        (Some("a]\n[b\0.txt"), None, "a___b_.txt".to_owned()),
        (Some(&format!("{long}.docx")), None, format!("{}.docx", "长".repeat(109))),
    ];
    for (given, extension, expected) in table {
        assert_eq!(name(given, MediaKind::Picture, 7, extension), expected);
    }
}
