//! What is posted to Xpert, and what its events and lists are read as.
//!
//! The bodies are those that the real server takes; the events are samples of its streams. How a run is
//! followed over a real socket is tested in `tests/it/xpert.rs`.

use super::*;

fn fold(events: &[&str]) -> Fold {
    let mut fold = Fold::new(1_000, None);
    for (index, data) in events.iter().enumerate() {
        let id = Some(format!("{index}-0"));
        fold.push(&Event { id, kind: None, data: (*data).to_owned() });
    }
    fold
}

#[test]
fn half_an_emoji_is_joined_with_the_other_or_replaced() {
    let part = |id: &str, text: &str| {
        format!(r#"{{"type":"message","data":{{"type":"text","id":"{id}","text":"{text}"}}}}"#)
    };
    let plain = |text: &str| format!(r#"{{"type":"message","data":"{text}"}}"#);
    let table: [(Vec<String>, &str); 4] = [
        (vec![part("1", r"a\ud83d"), part("1", r"\ude00b")], "a😀b"),
        (vec![part("1", r"a\ud83d"), part("2", r"\ude00b")], "a\u{fffd}\n\u{fffd}b"),
        (vec![plain(r"\ud83d"), plain(r"\ude00"), plain(r"\ud83d")], "😀\u{fffd}"),
        (vec![part("1", r"\ud83d")], "\u{fffd}"),
    ];
    for (events, expected) in table {
        let events: Vec<_> = events.iter().map(String::as_str).collect();
        assert_eq!(fold(&events).into_answer(None).text, expected, "{events:?}");
    }
    let end = r#"{"type":"event","event":"on_conversation_end","data":{"status":"error","error":"cut \ud83d"}}"#;
    assert_eq!(fold(&[end]).end, Some(End::Failed("cut \u{fffd}".to_owned())));
    let last = br#"{"total":1,"items":[{"role":"ai","content":"a\ud83d"}]}"#;
    assert_eq!(decode_last_message(last), (1, Some("a\u{fffd}".to_owned())));
    let last = b"{\"total\":1,\"items\":[{\"role\":\"ai\",\"content\":\"a\xff\"}]}";
    assert_eq!(decode_last_message(last), (1, Some("a\u{fffd}".to_owned())));
}

#[test]
fn chunks_join_by_their_stream() {
    let part = |id: &str, text: &str| {
        json!({"type":"message","data":{"type":"text","id":id,"text":text}}).to_string()
    };
    let plain = |text: &str| json!({"type":"message","data":text}).to_string();
    let component =
        json!({"type":"message","data":{"type":"component","id":"t","data":{}}}).to_string();
    let reasoning =
        json!({"type":"message","data":{"type":"reasoning","text":"hm","id":"r"}}).to_string();
    let table: [(Vec<String>, &str); 9] = [
        (vec![part("1", "a"), part("1", "b")], "ab"),
        (vec![part("1", "a"), part("2", "b")], "a\nb"),
        (vec![part("1", "a\n"), part("2", "b")], "a\nb"),
        (vec![part("1", "a"), part("2", " b")], "a b"),
        (vec![part("1", "a"), component.clone(), part("1", "b")], "a\n\nb"),
        (vec![component, part("1", "b")], "b"),
        (vec![part("1", "a"), reasoning, part("1", "b")], "ab"),
        (vec![plain("a"), plain("b")], "ab"),
        (vec![": keep-alive".to_owned(), plain("a")], "a"),
    ];
    for (events, expected) in table {
        let events: Vec<_> = events.iter().map(String::as_str).collect();
        assert_eq!(fold(&events).into_answer(None).text, expected, "{events:?}");
    }
}

#[test]
fn ends_are_told_apart() {
    let end =
        |data: Value| json!({"type":"event","event":"on_conversation_end","data":data}).to_string();
    let operation = json!({"tasks":[{"name":"mail","info":{"title":"Send mail",
        "description":"Sends a mail"},"call":{"args":{"to":"ann","n":1}}}]});
    let asked =
        Interrupt { title: "Send mail".into(), text: "Sends a mail\n- n: 1\n- to: ann".into() };
    let table = [
        (end(json!({"status":"idle"})), End::Answered),
        (end(json!({"status":"interrupted","operation":operation})), End::Interrupted(asked)),
        (end(json!({"status":"interrupted"})), End::Cancelled),
        (end(json!({"status":"error","error":"boom"})), End::Failed("boom".into())),
        (
            r#"{"type":"event","event":"on_error","data":{"error":"bad"}}"#.to_owned(),
            End::Failed("bad".into()),
        ),
    ];
    for (event, expected) in table {
        assert_eq!(fold(&[&event]).end, Some(expected), "{event}");
    }
    let mut fold = fold(&[r#"{"type":"complete"}"#]);
    assert!(fold.is_complete && fold.end.is_none());
    assert_eq!(fold.last_event_id.as_deref(), Some("0-0"));
    let error = Event { id: None, kind: Some("error".into()), data: "text".into() };
    fold.push(&error);
    assert_eq!(fold.end, Some(End::Failed("text".into())));
}

#[test]
fn bodies_are_what_the_api_takes() {
    let sent = send_body("x", "turn", "hi", &[]);
    let expected = json!({"assistant_id":"x","input":{"action":"send","message":
        {"clientMessageId":"turn","input":{"input":"hi"}}}});
    assert_eq!(sent, expected);
    let file: Value = serde_json::from_str(&decode_file(br#"{"id":"f"}"#).unwrap()).unwrap();
    let sent = send_body("x", "turn", "hi", std::slice::from_ref(&file));
    assert_eq!(sent["input"]["message"]["input"]["files"], json!([file]));
    let resumed = resume_body("x", "run", &ActionKind::Reject).unwrap();
    assert_eq!(resumed["input"]["decision"]["type"], "reject");
    assert_eq!(resumed["input"]["target"]["executionId"], "run");
    assert!(resume_body("x", "run", &ActionKind::Custom("c".into())).is_none());
}

#[test]
fn runs_and_messages_are_read() {
    let one = br#"{"run_id":"r","status":"running","created_at":"1970-01-01T00:00:01.5Z"}"#;
    let run = decode_run(one).unwrap();
    assert_eq!((run.status, run.created_at), (Status::Running, Some(Timestamp(1_500))));
    assert_eq!(decode_runs(br#"[{"run_id":"r","status":"new"}]"#).unwrap().len(), 1);
    assert_eq!(decode_runs(br#"{"items":[],"total":0}"#).unwrap().len(), 0);
    let table = [
        (r#"{"total":9,"items":[{"role":"ai","content":"a"}]}"#, (9, Some("a"))),
        (r#"{"items":[{"role":"ai","content":[{"type":"text","text":"b"}]}]}"#, (0, Some("b"))),
        (r#"{"items":[{"role":"human","content":"q"}]}"#, (0, None)),
    ];
    for (body, expected) in table {
        let (total, said) = decode_last_message(body.as_bytes());
        assert_eq!((total, said.as_deref()), expected, "{body}");
    }
}

#[test]
fn an_id_that_leads_elsewhere_or_fits_nowhere_is_unreadable() {
    for id in ["../../admin?x=1#", "", "a b", &"r".repeat(2 << 20)] {
        let run = json!({ "run_id": id, "status": "running" }).to_string();
        assert_eq!(decode_run(run.as_bytes()), None);
        assert_eq!(decode_runs(format!("[{run}]").as_bytes()), None);
        let thread = json!({ "metadata": { "id": id } }).to_string();
        assert_eq!(decode_thread(thread.as_bytes()), None);
    }
    let mut fold = Fold::new(1_000, None);
    fold.push(&Event { id: Some("1-0 x".into()), kind: None, data: "{}".into() });
    assert_eq!(fold.last_event_id, None);
    assert!(matches!(fold.end, Some(End::Failed(_))));
}
