//! What is written to DingTalk byte by byte, and what each of its answers is taken for.
//!
//! An answer is a line of a table: status, body, verdict.

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

/// The verdict's name, its wait in seconds, and whether it is ambiguous.
fn short(verdict: &Verdict) -> (&'static str, u64) {
    match verdict {
        Verdict::Delivered { .. } => ("delivered", 0),
        Verdict::SessionGone => ("gone", 0),
        Verdict::TooFast { after, .. } => ("fast", after.as_secs()),
        Verdict::TokenInvalid { .. } => ("token", 0),
        Verdict::Failed { is_ambiguous: true, .. } => ("ambiguous", 0),
        Verdict::Failed { .. } => ("failed", 0),
        Verdict::Refused { .. } => ("refused", 0),
    }
}

#[test]
fn answers_of_a_webhook_are_judged_by_their_errcode() {
    let table = [
        (200, r#"{"errcode":0,"errmsg":"ok"}"#, ("delivered", 0)),
        (200, r#"{"errcode":"0","errmsg":"ok"}"#, ("delivered", 0)),
        (200, "{}", ("delivered", 0)),
        (200, "", ("delivered", 0)),
        (200, r#"{"errcode":300001,"errmsg":"session 不存在"}"#, ("gone", 0)),
        (200, r#"{"errcode":"300001"}"#, ("gone", 0)),
        (200, r#"{"errcode":410100,"errmsg":"send too fast"}"#, ("fast", 10)),
        (200, r#"{"errcode":-1,"errmsg":"busy"}"#, ("failed", 0)),
        (200, r#"{"errcode":310000,"errmsg":"keywords not in content"}"#, ("refused", 0)),
        (200, r#"{"errcode":460101}"#, ("refused", 0)),
        (200, "<html>banned</html>", ("ambiguous", 0)),
        (200, r#"{"status":1111,"wait":5,"source":"x5","punish":"deny"}"#, ("fast", 300)),
        (429, "", ("fast", 1)),
        (500, "oops", ("ambiguous", 0)),
        (502, "<html>", ("ambiguous", 0)),
        (503, "<html>", ("failed", 0)),
        (504, "<html>", ("ambiguous", 0)),
        (404, "", ("refused", 0)),
        (302, "", ("failed", 0)),
    ];
    for (status, body, expected) in table {
        let found = judge_webhook(status, None, body.as_bytes());
        assert_eq!(short(&found), expected, "{status} {body}");
    }
    let found = judge_webhook(429, Some(Duration::from_secs(7)), b"");
    assert_eq!(short(&found), ("fast", 7));
}

#[test]
fn answers_of_the_open_api_are_judged_by_code_and_lists() {
    let table = [
        (200, r#"{"processQueryKey":"k"}"#, ("delivered", 0)),
        (200, r#"{"processQueryKey":"k","invalidStaffIdList":["other"]}"#, ("delivered", 0)),
        (200, r#"{"processQueryKey":"k","invalidStaffIdList":["me"]}"#, ("refused", 0)),
        (200, r#"{"processQueryKey":"k","filteredStaffIdList":["me"]}"#, ("refused", 0)),
        (200, r#"{"processQueryKey":"k","flowControlledStaffIdList":["me"]}"#, ("fast", 1)),
        (403, r#"{"code":"Forbidden.AccessDenied.QpsLimitForAppkeyAndApi"}"#, ("fast", 1)),
        (403, r#"{"Code":"Forbidden.AccessDenied.QpmLimitForAppkeyAndApi"}"#, ("fast", 60)),
        (403, r#"{"code":"Forbidden.AccessDenied.ApiCountLimitForOrg"}"#, ("refused", 0)),
        (403, r#"{"code":"Forbidden.AccessDenied.IpNotInWhiteList"}"#, ("refused", 0)),
        (403, "<html>denied</html>", ("fast", 300)),
        (400, r#"{"code":"InvalidAuthentication","message":"不合法的access_token"}"#, ("token", 0)),
        (401, "", ("token", 0)),
        (400, r#"{"errcode":40014}"#, ("token", 0)),
        (200, r#"{"errcode":42001}"#, ("token", 0)),
        (400, r#"{"code":"invalidParameter.msgParam.tooLong"}"#, ("refused", 0)),
        (400, r#"{"code":"send.too.fast"}"#, ("fast", 1)),
        (400, r#"{"code":"unknown.send.result"}"#, ("ambiguous", 0)),
        (429, "{}", ("fast", 1)),
        (500, r#"{"code":"system.error"}"#, ("ambiguous", 0)),
        (500, r#"{"code":"system.busy"}"#, ("failed", 0)),
        (503, r#"{"code":"serviceBusy"}"#, ("failed", 0)),
        (504, "", ("ambiguous", 0)),
    ];
    for (status, body, expected) in table {
        let found = judge_api(status, None, body.as_bytes(), Some("me"));
        assert_eq!(short(&found), expected, "{status} {body}");
    }
    let key = Verdict::Delivered { query_key: Some("k".into()) };
    assert_eq!(judge_api(200, None, br#"{"processQueryKey":"k"}"#, None), key);
}

#[test]
fn a_token_is_read_with_its_life() {
    let (token, life) = decode_token(br#"{"accessToken":"t","expireIn":7200}"#).unwrap();
    assert_eq!((token.as_str(), life.as_secs()), ("t", 7200));
    assert!(decode_token(b"{}").is_none());
}
