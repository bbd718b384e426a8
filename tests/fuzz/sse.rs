//! What runtimes stream and answer: server-sent events of callbacks and of Xpert, and their JSON.
//!
//! Where the stream is cut into chunks changes nothing; an event that is written by the standard reads
//! as itself; an answer becomes messages within their limits.

use dingtalk_trigger::domain::binding::Language;
use dingtalk_trigger::domain::reply::{Limits, segments};
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::protocol::sse::{Error, Event, Parser};
use dingtalk_trigger::protocol::xpert::{self, Fold};
use dingtalk_trigger::protocol::{foreign, http, media, runtime, send, surrogate};

/// Of one answer; small, so that the limit is met.
const TEXT_MAX_BYTES: usize = 3000;
const LIMITS: Limits = Limits { segment_max_bytes: 2000, segments_max: 3 };

pub(super) fn check(data: &[u8]) {
    let (cut, stream) = data.split_first().map_or((1, data), |(first, rest)| (*first, rest));
    let whole = Parser::default().push(stream);
    assert_eq!(in_chunks(stream, usize::from(cut % 23) + 1), whole, "chunks of {cut}");
    for event in whole.as_deref().unwrap_or_default() {
        assert_eq!(in_chunks(&written(event), 5).as_deref(), Ok(std::slice::from_ref(event)));
    }
    check_answers(whole.as_deref().unwrap_or_default());
    check_bodies(stream);
}

fn in_chunks(stream: &[u8], size: usize) -> Result<Vec<Event>, Error> {
    let mut parser = Parser::default();
    let mut events = Vec::new();
    for chunk in stream.chunks(size) {
        events.extend(parser.push(chunk)?);
    }
    Ok(events)
}

fn written(event: &Event) -> Vec<u8> {
    let mut text = String::from(": an event\n");
    for (name, value) in [("id", &event.id), ("event", &event.kind)] {
        if let Some(value) = value {
            text.push_str(&format!("{name}: {value}\n"));
        }
    }
    for line in event.data.split('\n') {
        text.push_str(&format!("data: {line}\n"));
    }
    text.push('\n');
    text.into_bytes()
}

/// Both runtimes' reading of the events.
fn check_answers(events: &[Event]) {
    let mut streamed = String::new();
    for event in events {
        if let Ok(step) = runtime::decode_step(&event.data) {
            streamed.push_str(&step.delta);
        }
    }
    check_segments(&surrogate::joined(streamed));
    let mut fold = Fold::new(TEXT_MAX_BYTES, None);
    for event in events {
        fold.push(event);
    }
    let mut ids = events.iter().rev().filter_map(|event| event.id.clone());
    let newest = ids.find(|id| foreign::is_event_id(id));
    assert_eq!(fold.last_event_id, newest, "a resumed stream goes on after the last event");
    check_segments(&fold.into_answer(None).text);
}

fn check_segments(text: &str) {
    let made = segments(text, LIMITS, Language::En, Some("staff"));
    assert!((1..=LIMITS.segments_max).contains(&made.list.len()));
    for segment in &made.list {
        let bytes = send::direct_body("robot", "staff", segment).len();
        assert!(bytes <= LIMITS.segment_max_bytes, "{bytes} bytes: {segment:?}");
    }
}

/// Answers that come whole.
fn check_bodies(body: &[u8]) {
    if let Ok(answer) = runtime::decode(body) {
        check_segments(&answer.text);
    }
    xpert::decode_run(body);
    xpert::decode_runs(body);
    xpert::decode_thread(body);
    xpert::decode_last_message(body);
    xpert::decode_file(body);
    send::decode_token(body);
    media::decode_url(body);
    for status in [200, 400, 403, 500] {
        send::verdict::judge_webhook(status, None, body);
        send::verdict::judge_api(status, None, body, Some("staff"));
    }
    let text = String::from_utf8_lossy(body);
    http::retry_after(&text, Timestamp(1_700_000_000_000));
    media::expires_at(&text);
    assert!(http::excerpt(body).chars().all(|c| !c.is_control()), "an excerpt is one line");
}
