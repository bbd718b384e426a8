//! The bodies of contract 6, to the field.
//!
//! How they travel is tested in `tests/it/callback.rs`.

use super::*;
use crate::domain::binding::Language;
use crate::domain::id::{ExpertId, MsgId};
use crate::domain::inbound;
use crate::domain::invocation;
use serde_json::json;

fn turn() -> TurnRequest {
    TurnRequest {
        turn: "robot-1.abcdefghijklmnopqrstuvwx23.42".parse().unwrap(),
        attempt: 2,
        expert: ExpertId::parse("expert-1").unwrap(),
        place: inbound::Place {
            id: "cidA==".into(),
            kind: PlaceKind::Group,
            title: Some("组".into()),
        },
        sender: inbound::Sender {
            id: "$:LWCP".into(),
            staff_id: Some("staff1".into()),
            name: "Ann".into(),
            corp_id: None,
        },
        session: invocation::Session {
            thread_id: "t-1".into(),
            is_new: true,
            expires_at: Timestamp(1_700_000_000_000),
        },
        action: None,
        params: None,
        resumes: None,
        text: "hello".into(),
        messages: vec![Asked {
            msg_id: MsgId::parse("msg1==").unwrap(),
            at: Timestamp(1_700_000_000_123),
            kind: "text".into(),
            text: "hello".into(),
            files: vec![],
            quoted: None,
        }],
        reply_url: "https://edge/api/turns/x/reply".into(),
        language: Language::En,
        started_at: Timestamp(0),
        is_repeat: false,
        run: None,
        resumed_run: None,
    }
}

#[test]
fn the_request_has_exactly_the_fields_of_the_contract() {
    let found: Value = serde_json::from_slice(&encode(&turn())).unwrap();
    let expected = json!({
        "version": 1,
        "turnId": "robot-1.abcdefghijklmnopqrstuvwx23.42",
        "attempt": 2,
        "xpertId": "expert-1",
        "integrationId": "robot-1",
        "conversation": {
            "key": "abcdefghijklmnopqrstuvwx23", "id": "cidA==", "type": "group", "title": "组"
        },
        "sender": {"id": "staff1", "name": "Ann"},
        "session": {"threadId": "t-1", "isNew": true, "expiresAt": "2023-11-14T22:13:20Z"},
        "action": null,
        "input": {"text": "hello", "messages": [{
            "msgId": "msg1==", "at": "2023-11-14T22:13:20.123Z", "type": "text", "text": "hello",
            "files": []
        }]},
        "replyUrl": "https://edge/api/turns/x/reply",
    });
    assert_eq!(found, expected);
}

#[test]
fn a_quote_stands_beside_the_message_that_quotes() {
    let mut turn = turn();
    let (msg_id, text) = (Some("q==".into()), "q".into());
    turn.messages[0].quoted = Some(invocation::Quoted { msg_id, text, files: vec![] });
    let found: Value = serde_json::from_slice(&encode(&turn)).unwrap();
    let expected = json!({"msgId": "q==", "text": "q", "files": []});
    assert_eq!(found["input"]["messages"][0]["quoted"], expected);
}

#[test]
fn an_action_names_itself_and_the_turn_it_answers() {
    let mut turn = turn();
    turn.resumes = Some("robot-1.abcdefghijklmnopqrstuvwx23.41".parse().unwrap());
    let table = [
        (ActionKind::Confirm, "confirm"),
        (ActionKind::Reject, "reject"),
        (ActionKind::Custom("later".into()), "later"),
    ];
    for (kind, expected) in table {
        turn.action = Some(kind);
        let found: Value = serde_json::from_slice(&encode(&turn)).unwrap();
        assert_eq!(found["action"], expected);
        assert_eq!(found["resumes"], "robot-1.abcdefghijklmnopqrstuvwx23.41");
    }
}

#[test]
fn answers_read_with_and_without_an_interrupt_and_nothing_else_passes() {
    let interrupt = Some(Interrupt { title: "T".into(), text: "Q?".into() });
    let table = [
        (r#"{"text":"hi"}"#, Some(Answer { text: "hi".into(), interrupt: None })),
        (r#"{"text":"a\nb","more":1}"#, Some(Answer { text: "a\nb".into(), interrupt: None })),
        (
            r#"{"text":"","interrupt":{"title":"T","text":"Q?"}}"#,
            Some(Answer { text: String::new(), interrupt }),
        ),
        (r#"{"interrupt":null}"#, None),
        (r#"{"text":1}"#, None),
        ("<html>", None),
        ("", None),
    ];
    for (body, expected) in table {
        assert_eq!(decode(body.as_bytes()).ok(), expected, "{body}");
    }
}

#[test]
fn what_is_no_character_in_an_answer_is_replaced() {
    let text = |body: &[u8]| decode(body).map(|answer| answer.text).ok();
    assert_eq!(text(br#"{"text":"ok\ud83d"}"#).as_deref(), Some("ok\u{fffd}"));
    assert_eq!(text(b"{\"text\":\"a\xff\"}").as_deref(), Some("a\u{fffd}"));
    let steps = [
        r#"{"delta":"a\ud83d"}"#,
        r#"{"delta":"\ude00b\ud83d"}"#,
        r#"{"done":true,"interrupt":{"title":"t\ud83d","text":"x\ude00"}}"#,
    ];
    let mut answer = Answer::default();
    for step in steps {
        let step = decode_step(step).unwrap();
        answer.text.push_str(&step.delta);
        answer.interrupt = step.interrupt;
    }
    let interrupt = Some(Interrupt { title: "t\u{fffd}".into(), text: "x\u{fffd}".into() });
    assert_eq!(whole(answer), Answer { text: "a😀b\u{fffd}".into(), interrupt });
}

#[test]
fn why_something_is_no_answer_is_said_without_what_it_says() {
    let table = [
        (r#"{"text":{"key":"hidden"}}"#, "other fields or types, line 1, column "),
        (r#"{"text":"hidden","text":"hidden"}"#, "other fields or types"),
        (r#""hidden""#, "other fields or types"),
        (r#"{"text":"hidden"#, "it ends too early, line 1"),
        ("hidden", "no JSON, line 1, column 1"),
    ];
    for (body, expected) in table {
        for error in [decode(body.as_bytes()).err(), decode_step(body).err()] {
            let Some(said) = error.map(|error| error.to_string()) else { continue };
            assert!(said.contains(expected) && !said.contains("hidden"), "{said}");
        }
        assert!(decode(body.as_bytes()).is_err());
    }
}

#[test]
fn streamed_steps_read_as_deltas_and_an_end() {
    let delta = Step { delta: "a".into(), ..Step::default() };
    assert_eq!(decode_step(r#"{"delta":"a"}"#).unwrap(), delta);
    let end = decode_step(r#"{"done":true,"interrupt":{"title":"T"}}"#).unwrap();
    assert!(end.is_done && end.interrupt.is_some());
    assert!(decode_step("[DONE]").is_err());
}
