//! What each answer of DingTalk is taken for: one line each of status, body and class.
//!
//! The tables hold every answer that is known from documents and from the field.

use super::*;
use crate::protocol::send::codes::{BAN, BUSY, Cause, FAST, FAULT, Scope};

const DONE: Option<Class> = None;
const MINUTE: Class = Class::Rate { after: Duration::from_mins(1), scope: Scope::App };
const SHUT: Class = Class::Rate { after: Duration::from_secs(10), scope: Scope::Webhook };
const SESSION: Class = Class::Next(Cause::Session);
const ADDRESS: Class = Class::Next(Cause::Address);
const PERMISSION: Class = Class::Next(Cause::Permission);
const IP: Class = Class::Next(Cause::Ip);
const STOPPED: Class = Class::Permanent(Cause::Stopped);
const ROBOT: Class = Class::Permanent(Cause::Robot);
const OTHER: Class = Class::Permanent(Cause::Other);
const MAYBE: Class = Class::Unknown { is_ambiguous: true };

fn class(verdict: &Verdict) -> Option<Class> {
    match verdict {
        Verdict::Delivered { .. } => None,
        Verdict::Failed { class, .. } => Some(*class),
    }
}

#[test]
fn answers_of_a_webhook_are_judged_by_their_errcode() {
    let told = |errcode: i64| format!(r#"{{"errcode":{errcode},"errmsg":"x"}}"#);
    let table = [
        (0, DONE),
        (-1, Some(BUSY)),
        (15, Some(FAULT)),
        (500_100, Some(FAULT)),
        (88, Some(BUSY)),
        (300_001, Some(SESSION)),
        (310_000, Some(PERMISSION)),
        (410_100, Some(SHUT)),
        (43_004, Some(ADDRESS)),
        (400_101, Some(ADDRESS)),
        (400_106, Some(ADDRESS)),
        (60_011, Some(PERMISSION)),
        (60_020, Some(IP)),
        (40_014, Some(Class::Token)),
        (42_001, Some(Class::Token)),
        (90_002, Some(FAST)),
        (90_018, Some(FAST)),
        (90_020, Some(Class::Quota)),
        (460_101, Some(Class::TooLong)),
        (101_002, Some(Class::TooLong)),
        (200_092, Some(Class::TooLong)),
        (430_101, Some(Class::Content)),
        (430_102, Some(Class::Content)),
        (430_103, Some(Class::Content)),
        (430_104, Some(Class::Content)),
        (400_013, Some(OTHER)),
        (400_102, Some(STOPPED)),
        (40_035, Some(OTHER)),
        (400_105, Some(OTHER)),
        (40_004, Some(OTHER)),
        (41_005, Some(OTHER)),
        (43_008, Some(OTHER)),
        (123_456, Some(UNKNOWN)),
    ];
    for (errcode, expected) in table {
        let found = judge_webhook(200, None, told(errcode).as_bytes());
        assert_eq!(class(&found), expected, "{errcode}");
        let found = judge_api(400, None, told(errcode).as_bytes(), None);
        assert_eq!(class(&found), expected.or(Some(UNKNOWN)), "{errcode} behind a 400");
    }
}

#[test]
fn other_answers_of_a_webhook_are_judged_by_words_and_status() {
    let denied = r#"{"errcode":123456,"errmsg":"错误描述:机器人权限校验不通过;解决方案:请登陆"}"#;
    let long = r#"{"errcode":40099,"errmsg":"错误描述: body 大小不合法;解决方案:请保持大小"}"#;
    let table = [
        (200, r#"{"errcode":"0","errmsg":"ok"}"#, DONE),
        (200, "{}", DONE),
        (200, "", DONE),
        (200, "ok", DONE),
        (200, " OK\n", DONE),
        (200, "success", DONE),
        (200, "\"ok\"", DONE),
        (200, "true", DONE),
        (200, "false", Some(UNKNOWN)),
        (200, "null", Some(MAYBE)),
        (200, "[]", Some(MAYBE)),
        (200, "busy", Some(FAULT)),
        (200, "<html>banned</html>", Some(FAULT)),
        (200, r#"{"errcode":"300001"}"#, Some(SESSION)),
        (200, r#"{"errcode":"busy"}"#, Some(UNKNOWN)),
        (200, r#"{"status":1111,"wait":5,"source":"x5","punish":"deny"}"#, Some(BAN)),
        (200, denied, Some(PERMISSION)),
        (200, long, Some(Class::TooLong)),
        (200, r#"{"errcode":88,"sub_code":"40014"}"#, Some(Class::Token)),
        (200, r#"{"errcode":88,"sub_code":42001}"#, Some(Class::Token)),
        (200, r#"{"errcode":88,"sub_code":"60011"}"#, Some(PERMISSION)),
        (200, r#"{"errcode":88,"subCode":"60020"}"#, Some(IP)),
        (200, r#"{"errcode":88,"sub_code":"90002"}"#, Some(FAST)),
        (200, r#"{"errcode":88,"sub_code":"90018"}"#, Some(FAST)),
        (200, r#"{"errcode":88,"sub_code":"77777"}"#, Some(UNKNOWN)),
        (400, r#"{"code":"session.expired"}"#, Some(SESSION)),
        (400, r#"{"code":"some.new.code"}"#, Some(ADDRESS)),
        (404, "", Some(ADDRESS)),
        (404, "<html>", Some(ADDRESS)),
        (403, r#"{"message":"no"}"#, Some(ADDRESS)),
        (403, "<html>denied</html>", Some(BAN)),
        (408, "", Some(BUSY)),
        (429, "", Some(FAST)),
        (500, "oops", Some(FAULT)),
        (502, "<html>", Some(FAULT)),
        (503, "<html>", Some(BUSY)),
        (504, "<html>", Some(FAULT)),
        (302, "", Some(BUSY)),
    ];
    for (status, body, expected) in table {
        let found = judge_webhook(status, None, body.as_bytes());
        assert_eq!(class(&found), expected, "{status} {body}");
    }
}

#[test]
fn answers_of_the_open_api_are_judged_by_code() {
    let table = [
        (403, "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi", FAST),
        (403, "Forbidden.AccessDenied.QpsLimitForApi", FAST),
        (403, "Forbidden.AccessDenied.QpmLimitForAppkeyAndApi", MINUTE),
        (403, "Forbidden.AccessDenied.ApiCountLimitForOrg", Class::Quota),
        (403, "Forbidden.AccessDenied.IpNotInWhiteList", IP),
        (403, "Forbidden.AccessDenied.AccessTokenPermissionDenied", PERMISSION),
        (403, "Forbidden.AccessDenied.orgAuthLevelNotEnough", PERMISSION),
        (403, "Forbidden.AccessDenied.SomethingNew", UNKNOWN),
        (400, "send.too.fast", FAST),
        (400, "send.byToken.tooFast", FAST),
        (400, "too.many.group", MINUTE),
        (400, "too.many.people", MINUTE),
        (400, "toomuch.msg", MINUTE),
        (400, "InvalidAuthentication", Class::Token),
        (400, "session.notExisted", SESSION),
        (400, "session.expired", SESSION),
        (400, "staffId.notExisted", ADDRESS),
        (400, "robot.oto.notExist", ADDRESS),
        (400, "chatbotId.notAllow.sendOTO", ADDRESS),
        (400, "invalid.openConversationId", ADDRESS),
        (400, "invalidParameter.msgParam.tooLong", Class::TooLong),
        (400, "contain.unsafe.url", Class::Content),
        (400, "contain.notAllowed.text", Class::Content),
        (400, "contain.notAllowed.picture", Class::Content),
        (400, "contain.notAllowed.content", Class::Content),
        (400, "param.contentUnsafe", Class::Content),
        (400, "system.error", FAULT),
        (400, "systemError", FAULT),
        (400, "service.error", FAULT),
        (400, "unknown.send.result", FAULT),
        (500, "system.error", FAULT),
        (500, "send.ding.exception", FAULT),
        (500, "some.new.code", FAULT),
        (504, "service.timeout", FAULT),
        (500, "system.busy", BUSY),
        (503, "serviceBusy", BUSY),
        (503, "some.new.code", BUSY),
        (400, "group.disbanded", OTHER),
        (400, "bot.stopped", STOPPED),
        (400, "bot.forbidden.sendMessage", STOPPED),
        (400, "send.forbidden", STOPPED),
        (400, "conversation.org.notMatch", ROBOT),
        (400, "invalidParameter.robotCode.auth", ROBOT),
        (400, "robotCode.invalid", ROBOT),
        (400, "invalidParameter.msgKey.invalid", OTHER),
        (400, "miss.param.text", OTHER),
        (400, "some.new.code", UNKNOWN),
        (200, "some.new.code", UNKNOWN),
        (200, "system.error", FAULT),
    ];
    for (status, code, expected) in table {
        for name in ["code", "Code"] {
            let body = format!(r#"{{"{name}":"{code}","message":"m","requestid":"R"}}"#);
            let found = judge_api(status, None, body.as_bytes(), Some("me"));
            assert_eq!(class(&found), Some(expected), "{status} {body}");
        }
    }
}

#[test]
fn other_answers_of_the_open_api_are_judged_by_lists_and_status() {
    let table = [
        (200, r#"{"processQueryKey":"k"}"#, DONE),
        (200, r#"{"processQueryKey":"k","code":"0"}"#, DONE),
        (200, "", DONE),
        (200, r#"{"processQueryKey":"k","invalidStaffIdList":["other"]}"#, DONE),
        (200, r#"{"processQueryKey":"k","invalidStaffIdList":["me"]}"#, Some(OTHER)),
        (200, r#"{"processQueryKey":"k","filteredStaffIdList":["me"]}"#, Some(OTHER)),
        (200, r#"{"processQueryKey":"k","flowControlledStaffIdList":["me"]}"#, Some(FAST)),
        (200, r#"{"success":false}"#, Some(UNKNOWN)),
        (200, r#"{"status":1111,"wait":5}"#, Some(BAN)),
        (200, "<html>banned</html>", Some(FAULT)),
        (403, "<html>denied</html>", Some(BAN)),
        (403, r#"{"message":"no"}"#, Some(UNKNOWN)),
        (400, r#"{"message":"未知的系统错误"}"#, Some(FAULT)),
        (400, "<html>", Some(UNKNOWN)),
        (404, "<html>", Some(UNKNOWN)),
        (401, "", Some(Class::Token)),
        (429, "{}", Some(FAST)),
        (504, "", Some(FAULT)),
        (302, "", Some(BUSY)),
    ];
    for (status, body, expected) in table {
        let found = judge_api(status, None, body.as_bytes(), Some("me"));
        assert_eq!(class(&found), expected, "{status} {body}");
    }
    let key = Verdict::Delivered { query_key: Some("k".into()) };
    assert_eq!(judge_api(200, None, br#"{"processQueryKey":"k"}"#, None), key);
}

#[test]
fn a_wait_that_dingtalk_asks_for_counts_and_its_words_are_kept() {
    let after = Some(Duration::from_secs(7));
    let rate = Class::Rate { after: Duration::from_secs(7), scope: Scope::App };
    assert_eq!(class(&judge_webhook(429, after, b"")), Some(rate));
    let body = r#"{"code":"Forbidden.AccessDenied.AccessTokenPermissionDenied",
        "accessdenieddetail":{"requiredScopes":["Card.Streaming.Write"]},"message":"m"}"#;
    let Verdict::Failed { detail, class } = judge_card(403, None, body.as_bytes()) else {
        panic!("it was refused");
    };
    assert!(detail.starts_with("403 (Card.Streaming.Write): {"), "{detail}");
    assert!(class.advice().is_some_and(|advice| advice.contains("permission")));
}

#[test]
fn an_operator_hears_only_of_what_an_operator_can_mend() {
    for class in [Class::Quota, Class::Template, PERMISSION, IP, STOPPED, ROBOT] {
        assert!(class.advice().is_some(), "{class:?}");
    }
    for class in [FAST, BUSY, FAULT, UNKNOWN, SESSION, ADDRESS, OTHER, Class::Content] {
        assert_eq!(class.advice(), None, "{class:?}");
    }
}
