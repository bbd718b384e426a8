//! Projections: conversations, messages and what the edge saw, through the batching writer.
#![expect(clippy::unwrap_used, reason = "test bodies that run on both databases")]

use std::time::Duration;

use dingtalk_trigger::context::{Clock, Context};
use dingtalk_trigger::domain;
use dingtalk_trigger::domain::id::{MsgId, Seq, TurnId};
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::io::store::conversations::{Cursor, Filter, Session, Whose};
use dingtalk_trigger::io::store::events::{Recorder, Seen};
use dingtalk_trigger::io::store::messages::Trace;
use dingtalk_trigger::io::store::writer::{Row, Writer};

use crate::store::{expert_id, integration_id, session, store};
use crate::support::logs::Logs;

const LIMIT: Duration = Duration::from_secs(30);

on_both!(
    an_older_epoch_never_overwrites_a_newer_one,
    conversations_are_found_by_integration_expert_and_name,
    sessions_that_move_while_they_are_ended_are_each_found_once,
    ten_thousand_rows_go_through_the_writer,
    a_message_keeps_its_turn_and_is_forgotten_in_time,
    what_the_edge_saw_is_added_up,
);

async fn an_older_epoch_never_overwrites_a_newer_one(url: &str) {
    let store = store(url).await;
    let old = session(1, 10, 500);
    let new = Session { thread: "new".to_owned(), ..session(1, 20, 400) };
    let read = async || store.conversation(&old.conversation.key).await.unwrap().unwrap();
    store.put_conversations(std::slice::from_ref(&new)).await.unwrap();
    store.put_conversations(std::slice::from_ref(&old)).await.unwrap();
    assert_eq!(read().await, new);
    let ended = Session { is_ended: true, last_activity: Timestamp(700), ..new.clone() };
    store.put_conversations(std::slice::from_ref(&ended)).await.unwrap();
    store.put_conversations(std::slice::from_ref(&new)).await.unwrap();
    assert_eq!(read().await, ended, "an earlier record of the same session changes nothing");
    let nobody = Session { place_id: String::new(), sender_id: String::new(), ..ended.clone() };
    store.put_conversations(&[nobody]).await.unwrap();
    assert_eq!(read().await, ended, "an operator's end keeps place and person");
    let next = session(1, 30, 800);
    store.put_conversations(std::slice::from_ref(&next)).await.unwrap();
    assert_eq!(read().await, next);

    // What the journal alone knows of it: where it is new here, where it is not, and where it is newer.
    let of = |epoch: u64, at: i64| domain::session::Session {
        epoch: Seq(epoch),
        expert: next.expert.clone(),
        timeout: next.timeout,
        last_activity: Timestamp(at),
    };
    for (journal, expected) in [
        (of(20, 900), (30, 800)),
        (of(30, 700), (30, 800)),
        (of(30, 800), (30, 800)),
        (of(30, 900), (30, 900)),
        (of(40, 850), (40, 850)),
    ] {
        let row = Session::of_journal(&next.conversation, &journal);
        store.put_conversations(&[row]).await.unwrap();
        let stored = read().await;
        assert_eq!((stored.epoch.0, stored.last_activity.0), expected);
        assert_eq!(
            (stored.place_id, stored.sender_id),
            (next.place_id.clone(), next.sender_id.clone())
        );
    }
    let other = session(2, 1, 1).conversation;
    store.put_conversations(&[Session::of_journal(&other, &of(7, 1))]).await.unwrap();
    let stored = store.conversation(&other.key).await.unwrap().unwrap();
    assert_eq!((stored.epoch, stored.is_ended), (Seq(7), false));
}

async fn conversations_are_found_by_integration_expert_and_name(url: &str) {
    let store = store(url).await;
    let mut rows: Vec<_> = (0..6).map(|n| session(n, 1, 1_000 + i64::from(n / 2))).collect();
    rows[0].place_title = Some("Team_100% A".to_owned());
    rows[1].sender_name = "ALICE\0".to_owned();
    rows[2].is_ended = true;
    rows[3].expert = expert_id("expert-2");
    rows[4].conversation.integration = integration_id("robot-2");
    store.put_conversations(&rows).await.unwrap();
    let count = async |filter: Filter| store.conversations(&filter, None, 50).await.unwrap().len();
    let search = |text: &str| Filter { search: Some(text.to_owned()), ..Filter::default() };
    let by_expert = Filter { expert: Some(expert_id("expert-2")), ..Filter::default() };
    let by_robot = Filter { integration: Some(integration_id("robot-2")), ..Filter::default() };
    let cases = [
        (Filter::default(), 6),
        (by_expert, 1),
        (by_robot, 1),
        (search("alice"), 1),
        (search("m_100% a"), 1),
        (search("m%a"), 0),
        (search("张"), 5),
        (search("\0"), 6),
    ];
    for (filter, expected) in cases {
        assert_eq!(count(filter.clone()).await, expected, "{filter:?}");
    }
    let first = store.conversations(&Filter::default(), None, 3).await.unwrap();
    let last = first.last().unwrap();
    let cursor =
        Cursor { last_activity: last.last_activity, key: last.conversation.key.to_string() };
    let rest = store.conversations(&Filter::default(), Some(&cursor), 50).await.unwrap();
    let mut all: Vec<_> = first.iter().chain(&rest).map(|s| s.conversation.key.clone()).collect();
    assert_eq!(all.len(), 6);
    assert!(first[0].last_activity > rest[2].last_activity);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 6, "each once");
}

async fn sessions_that_move_while_they_are_ended_are_each_found_once(url: &str) {
    let store = store(url).await;
    let mut rows: Vec<_> = (0..6).map(|n| session(n, 1, 1_000 + i64::from(n))).collect();
    rows[2].is_ended = true;
    rows[4].conversation.integration = integration_id("robot-2");
    store.put_conversations(&rows).await.unwrap();
    let robot = Whose::Integration(rows[0].conversation.integration.clone());
    let expert = Whose::Expert(rows[0].expert.clone());
    let (mut found, long_ago) = (Vec::new(), Timestamp(0));
    while let page = store.open_conversations(&robot, long_ago, found.last(), 2).await.unwrap()
        && !page.is_empty()
    {
        found.extend(page.into_iter().map(|session| session.conversation.key));
        // Everybody writes, in another order each time.
        for (order, row) in (1..).zip(rows.iter_mut().rev()) {
            row.last_activity = Timestamp(row.last_activity.0 + 10 * order);
        }
        store.put_conversations(&rows).await.unwrap();
    }
    let mut expected: Vec<_> =
        [0, 1, 3, 5].map(|n: usize| rows[n].conversation.key.clone()).to_vec();
    expected.sort();
    assert_eq!(found, expected);
    let open_at = async |at| store.open_conversations(&expert, at, None, 50).await.unwrap().len();
    assert_eq!(open_at(long_ago).await, 5, "of both robots, without the one that has ended");
    let first_end = rows.iter().map(|row| row.last_activity.after(row.timeout)).min().unwrap();
    assert_eq!(open_at(Timestamp(first_end.0 - 1)).await, 5, "one is about to run out");
    assert_eq!(open_at(first_end).await, 4, "it has");
    assert_eq!(open_at(Timestamp(i64::MAX)).await, 0);
}

async fn ten_thousand_rows_go_through_the_writer(url: &str) {
    let logs = Logs::watch();
    let store = store(url).await;
    let context = Context::new(Clock::system());
    let writer = Writer::start(&context, store.clone());
    for number in 0..9_900 {
        writer.offer(Row::Conversation(session(number % 5_000, u64::from(number), 1_000)));
    }
    drop(writer);
    assert!(context.finish(LIMIT).await, "the writer ends with what it was given");
    let first = session(0, 5_000, 1_000);
    let stored = store.conversation(&first.conversation.key).await.unwrap().unwrap();
    assert_eq!(stored, first);
    let rows = store.conversations(&Filter::default(), None, 10_000).await.unwrap();
    assert_eq!(rows.len(), 5_000);
    assert!(rows.iter().all(|row| row.epoch >= Seq(4_900)));
    assert!(logs.unexpected().is_empty());
}

async fn a_message_keeps_its_turn_and_is_forgotten_in_time(url: &str) {
    let store = store(url).await;
    let conversation = session(1, 1, 1).conversation;
    let turn = TurnId { conversation: conversation.clone(), last: Seq(9) };
    let with = Trace {
        msg_id: MsgId::parse("msg+/==").unwrap(),
        conversation,
        seq: Seq(8),
        turn: Some(turn),
        at: Timestamp(5_000),
    };
    let without = Trace { turn: None, ..with.clone() };
    for trace in [&without, &with, &without] {
        store.put_messages(std::slice::from_ref(trace)).await.unwrap();
    }
    let find = async || store.message(&with.conversation.integration, &with.msg_id).await.unwrap();
    assert_eq!(find().await, Some(with.clone()));
    assert_eq!(store.forget_messages(Timestamp(5_000)).await.unwrap(), 0);
    assert_eq!(store.forget_messages(Timestamp(5_001)).await.unwrap(), 1);
    assert_eq!(find().await, None);
}

async fn what_the_edge_saw_is_added_up(url: &str) {
    let store = store(url).await;
    let id = integration_id("robot-1");
    assert_eq!(store.seen(&id).await.unwrap(), Seen::default());
    let context = Context::new(Clock::system());
    let recorder = Recorder::start(&context, store.clone());
    let rejected = Some((Timestamp(2), "SIGNATURE_MISMATCH".to_owned()));
    recorder.record(&id, Seen { verified_at: Some(Timestamp(1)), ..Seen::default() });
    recorder.record(&id, Seen { rejected: rejected.clone(), ..Seen::default() });
    assert!(context.finish(LIMIT).await);
    let later = Seen { last_event_at: Some(Timestamp(3)), ..Seen::default() };
    store.put_seen(&[(id.clone(), later)]).await.unwrap();
    let expected = Seen {
        verified_at: Some(Timestamp(1)),
        rejected,
        last_event_at: Some(Timestamp(3)),
        last_error: None,
    };
    assert_eq!(store.seen(&id).await.unwrap(), expected);
}
