//! What somebody sees who looks at a stream with `nats stream view` and cannot decode a record.

use std::time::Duration;

use dingtalk_trigger::domain::debounce::{TimerKind, Token};
use dingtalk_trigger::domain::id::{ExpertId, Seq};
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::domain::turn::failed::FailedAttempts;
use dingtalk_trigger::domain::turn::{Head, OpenTurn, Parked, Phase, Step, TurnKind};
use dingtalk_trigger::io::handoff::Handoffs;
use dingtalk_trigger::io::journal::Journal;
use dingtalk_trigger::io::slot::Slots;
use dingtalk_trigger::io::timer::{Left, Timers};
use dingtalk_trigger::protocol::envelope;
use dingtalk_trigger::protocol::record::Record;
use dingtalk_trigger::protocol::token::{self, Slot};

use super::{Broker, conversation, entry};
use crate::support;

#[tokio::test]
async fn every_record_says_what_it_is_and_whose() {
    let server = support::nats::Nats::start().await;
    server.leaves_work();
    let broker = Broker::applied(server.url().to_owned(), 1).await;
    let place = conversation("headers");
    let turn = turn(Seq(7), Seq(9));
    let token = Token { seq: Seq(9), kind: TimerKind::Now, window: Duration::ZERO, refusals: 0 };
    let later = broker.context.clock.now().after(Duration::from_secs(3600));

    broker.log().append(&place, "it:m1", entry()).await.expect("log");
    let timers = Timers::new(&broker.nats);
    timers.arm(&place, "9", later, &token).await.expect("arm");
    let left = || Left { token: token::encode_token(&token).into(), since: Timestamp(1) };
    timers.leave(&place, "left", later, left()).await.expect("leave");
    timers.fire(&place, &token).await.expect("fire");
    let slot = Slot { to: Seq(9), window: Duration::ZERO };
    Slots::new(&broker.nats).offer(&place, &slot).await.expect("offer");
    let head = Head { turn: Some(turn.clone()), ..Head::default() };
    let record = Record { nonce: 1, count: 1, step: Step::Started, head, answer: None };
    Journal::new(&broker.nats).append(&place, Seq(0), &record).await.expect("append");
    let (handoffs, expert) =
        (Handoffs::new(&broker.nats), ExpertId::parse("sales").expect("an id"));
    handoffs.enter(&expert, &place, &turn, Parked::Missing).await.expect("enter");

    let id = format!("{place}.9");
    let said = |stream, count| said(&server, stream, count);
    assert_eq!(said("DT_IN", 1).await, [("control".to_owned(), "Dt-Msg-Id", "it:m1".to_owned())]);
    for (stream, kinds) in [
        ("DT_TIMER", &["timer", "timer", "token"][..]),
        ("DT_RUN", &["run"]),
        ("DT_JOURNAL", &["started"]),
        ("DT_HANDOFF", &["missing"]),
    ] {
        let expected: Vec<_> =
            kinds.iter().map(|kind| ((*kind).to_owned(), "Dt-Turn", id.clone())).collect();
        assert_eq!(said(stream, kinds.len()).await, expected, "{stream}");
    }
}

#[tokio::test]
async fn who_waits_keeps_the_place_in_the_line_while_the_turn_grows() {
    let server = support::nats::Nats::start().await;
    server.leaves_work();
    let broker = Broker::applied(server.url().to_owned(), 1).await;
    let expert = ExpertId::parse("sales").expect("an id");
    let handoffs = Handoffs::new(&broker.nats);
    let (early, late) = (conversation("early"), conversation("late"));
    let mut entries = vec![];
    for (place, first, last) in [(&early, 7, 7), (&late, 8, 8), (&early, 7, 9)] {
        let turn = turn(Seq(first), Seq(last));
        entries.push(handoffs.enter(&expert, place, &turn, Parked::Missing).await.expect("enter"));
    }
    assert_eq!(entries[0], entries[2], "it keeps its place");
    let waiting = async || {
        let page = handoffs.page(&expert, Seq(0), 10).await.expect("read");
        page.waiting.into_iter().map(|it| it.conversation).collect::<Vec<_>>()
    };
    assert_eq!(waiting().await, [early.clone(), late.clone()]);
    // The next turn of the same conversation goes to the end.
    handoffs.enter(&expert, &early, &turn(Seq(10), Seq(10)), Parked::Missing).await.expect("enter");
    assert_eq!(waiting().await, [late, early]);
}

fn turn(first: Seq, last: Seq) -> OpenTurn {
    OpenTurn {
        first,
        last,
        kind: TurnKind::Messages,
        asked: None,
        accepted_at: Timestamp(0),
        started_at: Timestamp(0),
        attempt: 1,
        is_repeat: false,
        run: None,
        phase: Phase::Running,
        failed: FailedAttempts::default(),
    }
}

/// The kind of every record of a stream, and the header that names whose it is; each record has the
/// version byte of this release.
async fn said(
    server: &support::nats::Nats,
    stream: &str,
    count: usize,
) -> Vec<(String, &'static str, String)> {
    let mut stream = server.jetstream().await.get_stream(stream).await.expect("it was applied");
    let state = stream.info().await.expect("its state").state.clone();
    let mut found = vec![];
    for seq in state.first_sequence..=state.last_sequence {
        let Ok(record) = stream.get_raw_message(seq).await else { continue };
        let Some(kind) = record.headers.get("Dt-Kind") else { continue };
        assert_eq!(record.payload.first(), Some(&envelope::VERSION), "{}", record.subject);
        let names = ["Dt-Msg-Id", "Dt-Turn"];
        let named = names.iter().find_map(|name| Some((*name, record.headers.get(*name)?)));
        let (name, whose) = named.unwrap_or_else(|| panic!("{} names nobody", record.subject));
        found.push((kind.to_string(), name, whose.to_string()));
    }
    assert_eq!(found.len(), count, "{found:?}");
    found
}
