//! What is written to DingTalk byte by byte, and what its token answers are taken for.
//!
//! What its other answers mean is tested with [`super::verdict`].

use super::*;
use crate::domain::binding::Language;
use crate::domain::reply::{Limits, segments};

fn segment(format: Format, mention: Option<&str>) -> Segment {
    Segment {
        format,
        title: "T".into(),
        text: "say \"hi\"\n你".into(),
        mention: mention.map(Into::into),
    }
}

fn written(body: Vec<u8>) -> String {
    String::from_utf8(body).unwrap()
}

#[test]
fn bodies_are_what_dingtalk_documents() {
    let text = segment(Format::Text, None);
    let markdown = segment(Format::Markdown, Some("staff1"));
    let table = [
        (webhook_body(&text), r#"{"msgtype":"text","text":{"content":"say \"hi\"\n你"}}"#),
        (
            webhook_body(&segment(Format::Text, Some("s"))),
            r#"{"msgtype":"text","text":{"content":"@s say \"hi\"\n你"},"at":{"atUserIds":["s"]}}"#,
        ),
        (
            webhook_body(&markdown),
            r#"{"msgtype":"markdown","markdown":{"title":"T","text":"@staff1\n\nsay \"hi\"\n你"},"at":{"atUserIds":["staff1"]}}"#,
        ),
        (
            direct_body("r", "s", &text),
            r#"{"robotCode":"r","userIds":["s"],"msgKey":"sampleText","msgParam":"{\"content\":\"say \\\"hi\\\"\\n你\"}"}"#,
        ),
        (
            group_body("r", "cid==", &markdown),
            r#"{"robotCode":"r","openConversationId":"cid==","msgKey":"sampleMarkdown","msgParam":"{\"title\":\"T\",\"text\":\"say \\\"hi\\\"\\n你\"}"}"#,
        ),
    ];
    for (body, expected) in table {
        assert_eq!(written(body), expected);
    }
}

#[test]
fn the_longest_segment_fits_into_every_body() {
    for answer in ["\"\\\n".repeat(9_000), "你".repeat(9_000), "**b** \u{1}".repeat(5_000)] {
        let long = "x".repeat(64);
        for segment in segments(&answer, Limits::default(), Language::ZhHans, Some(&long)).list {
            assert!(message(&segment).1.len() <= 15_000);
            assert!(webhook_body(&segment).len() <= 20_000);
        }
    }
}

#[test]
fn a_token_is_read_with_its_life_or_with_an_ordinary_one() {
    let table = [
        (r#"{"accessToken":"t","expireIn":7200}"#, Some(7200.0)),
        (r#"{"accessToken":"t","expireIn":"7200"}"#, Some(7200.0)),
        (r#"{"accessToken":"t","expireIn":" 60 "}"#, Some(60.0)),
        (r#"{"accessToken":"t","expireIn":7199.5}"#, Some(7199.5)),
        (r#"{"accessToken":"t","expireIn":-1}"#, Some(3600.0)),
        (r#"{"accessToken":"t","expireIn":0}"#, Some(3600.0)),
        (r#"{"accessToken":"t","expireIn":1e300}"#, Some(3600.0)),
        (r#"{"accessToken":"t","expireIn":7200000}"#, Some(3600.0)),
        (r#"{"accessToken":"t","expireIn":"NaN"}"#, Some(3600.0)),
        (r#"{"accessToken":"t","expireIn":"soon"}"#, Some(3600.0)),
        (r#"{"accessToken":"t","expireIn":null}"#, Some(3600.0)),
        (r#"{"accessToken":"t"}"#, Some(3600.0)),
        (r#"{"errcode":0,"access_token":"t","expires_in":7200}"#, Some(7200.0)),
        (r#"{"accessToken":""}"#, None),
        (r#"{"accessToken":7}"#, None),
        ("{}", None),
        ("ok", None),
    ];
    for (body, expected) in table {
        let found = decode_token(body.as_bytes());
        let life = found.as_ref().map(|(_, life)| life.as_secs_f64());
        assert_eq!(life, expected, "{body}");
        assert!(found.is_none_or(|(token, _)| token == "t"), "{body}");
    }
}

#[test]
fn only_an_answer_about_id_or_secret_ends_the_asking_for_a_token() {
    let table = [
        (r#"{"code":"invalidClientIdOrSecret"}"#, true),
        (r#"{"code":"invalid.client"}"#, true),
        (r#"{"errcode":40089}"#, true),
        (r#"{"code":"system.error"}"#, false),
        (r#"{"code":"systemError"}"#, false),
        (r#"{"code":"service.error"}"#, false),
        (r#"{"code":"some.new.code"}"#, false),
        (r#"{"errcode":-1}"#, false),
        ("<html>", false),
    ];
    for (body, expected) in table {
        assert_eq!(are_credentials_wrong(body.as_bytes()), expected, "{body}");
    }
}
