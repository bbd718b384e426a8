//! `/api/dead`: what was given up, asked again once, and dropped.

use std::time::Duration;

use async_nats::jetstream::consumer::{Consumer, FromConsumer, pull};
use async_nats::jetstream::{self, AckKind};
use dingtalk_trigger::domain::dead::DeadLetter;
use dingtalk_trigger::domain::entry::{Action, ActionKind, Entry, Logged, Replay};
use dingtalk_trigger::domain::id::{ExpertId, IntegrationId, MsgId, Seq, TurnId};
use dingtalk_trigger::domain::inbound::{Message, Part, Place, PlaceKind, Quote, Sender};
use dingtalk_trigger::domain::reason::Reason;
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::domain::turn::failed::FailedAttempts;
use dingtalk_trigger::domain::turn::{Asked, Head, OpenTurn, Phase, Step, TurnKind};
use dingtalk_trigger::io::dead::DeadLetters;
use dingtalk_trigger::io::journal::Journal;
use dingtalk_trigger::io::nats::Nats;
use dingtalk_trigger::io::topology;
use dingtalk_trigger::protocol::record::Record;
use dingtalk_trigger::protocol::subject;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::{Console, broker, error};
use crate::support::wait::{wait_for, wait_until};

const LIMIT: Duration = Duration::from_secs(20);

fn message(id: &str) -> Message {
    Message {
        msg_id: MsgId::parse(id).unwrap(),
        place: Place { id: "cid".to_owned(), kind: PlaceKind::Private, title: None },
        sender: Sender {
            id: "u".to_owned(),
            staff_id: None,
            name: "Ann".to_owned(),
            corp_id: None,
        },
        robot_code: None,
        created_at: None,
        kind: "text".to_owned(),
        parts: vec![Part::Text(format!("text of {id}"))],
        quote: None,
        webhook: None,
    }
}

fn letter(robot: &str, sender: &str, reason: Reason) -> DeadLetter {
    let integration = IntegrationId::parse(robot).unwrap();
    let conversation = subject::conversation(&integration, "cid", Some(sender));
    let asked = (reason != Reason::Unbound).then(|| Asked {
        expert: ExpertId::parse("e").unwrap(),
        epoch: Seq(3),
        is_new: false,
        expires_at: Timestamp(0),
    });
    let entry = match reason {
        Reason::Decode => Entry::Undecodable { bytes: b"?".to_vec(), why: "empty".to_owned() },
        _ => Entry::Message(message(&format!("msg-{sender}"))),
    };
    DeadLetter {
        turn: TurnId { conversation, last: Seq(7) },
        reason,
        detail: "HTTP 500: out of order".into(),
        attempts: 6,
        failed: FailedAttempts::default(),
        asked,
        entries: vec![Logged { seq: Seq(7), at: Timestamp(1_000), trace: None, entry }],
    }
}

/// Buries a letter; its id.
async fn bury(console: &Console, letter: &DeadLetter) -> String {
    let nats = Nats::connect(&console.context, &broker(console.nats.url())).await.unwrap();
    DeadLetters::new(&nats).bury("dispatch", letter).await.unwrap().to_string()
}

async fn ids(console: &Console, query: &str) -> Vec<String> {
    let (status, list) = console.get(&format!("/api/dead{query}")).await;
    assert_eq!(status, 200, "{list}");
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

/// The replays in a conversation's log.
async fn replays(console: &Console, letter: &DeadLetter) -> Vec<Replay> {
    let mut found = vec![];
    let mut position = Seq(0);
    let conversation = &letter.turn.conversation;
    while let Some(logged) = console.log.first_after(conversation, position).await.unwrap() {
        position = logged.seq;
        if let Entry::Replay(replay) = logged.entry {
            found.push(replay);
        }
    }
    found
}

#[tokio::test]
async fn dead_letters_are_listed_narrowed_and_shown() {
    let console = Console::start().await;
    let one = bury(&console, &letter("a", "u1", Reason::RuntimeExhausted)).await;
    let other = bury(&console, &letter("b", "u2", Reason::Unbound)).await;
    let (_, list) = console.get("/api/dead").await;
    let item = &list["items"][0];
    let turn = letter("a", "u1", Reason::RuntimeExhausted).turn;
    let expected = json!({
        "id": one, "at": item["at"], "stage": "dispatch", "reason": "runtime_exhausted",
        "integrationId": "a", "xpertId": "e", "conversationKey": turn.conversation.key.as_str(),
        "turnId": turn.to_string(), "msgIds": ["msg-u1"], "attempts": 6, "state": "dead",
    });
    assert_eq!((item, &list["next"]), (&expected, &Value::Null));
    let both = vec![one.clone(), other.clone()];
    for (query, expected) in [
        ("?integrationId=a", vec![one.clone()]),
        ("?xpertId=e", vec![one.clone()]),
        ("?reason=unbound", vec![other.clone()]),
        ("?stage=dispatch", both.clone()),
        ("?stage=intake", vec![]),
        ("?since=2020-01-01T00:00:00Z&until=2099-01-01T00:00:00Z&state=dead", both),
        ("?until=2020-01-01T00:00:00Z", vec![]),
        ("?state=replayed", vec![]),
        ("?limit=1", vec![one.clone()]),
        (&format!("?limit=1&after={one}"), vec![other.clone()]),
    ] {
        assert_eq!(ids(&console, query).await, expected, "{query}");
    }
    for (query, field) in
        [("reason=x", "reason"), ("state=x", "state"), ("since=x", "since"), ("x=1", "x")]
    {
        let (status, answer) = console.get(&format!("/api/dead?{query}")).await;
        assert_eq!((status, error(&answer).1), (422, field));
    }
    let (status, shown) = console.get(&format!("/api/dead/{one}")).await;
    assert_eq!(status, 200, "{shown}");
    assert_eq!(shown["payload"]["text"], "text of msg-u1");
    assert_eq!(shown["response"], "HTTP 500: out of order");
    for absent in ["99", "x"] {
        let (status, answer) = console.get(&format!("/api/dead/{absent}")).await;
        assert_eq!((status, error(&answer).0), (404, "DEAD_LETTER_NOT_FOUND"));
    }
}

#[tokio::test]
async fn many_letters_are_listed_in_their_order_page_by_page_over_the_gaps_of_those_that_are_gone()
{
    let console = Console::start().await;
    let nats = Nats::connect(&console.context, &broker(console.nats.url())).await.unwrap();
    let dead = DeadLetters::new(&nats);
    let mut expected = vec![];
    for number in 0..150 {
        let letter = letter("a", &format!("u{number}"), Reason::RuntimeExhausted);
        let seq = dead.bury("dispatch", &letter).await.unwrap();
        match number {
            // A gap longer than what is read at once, and short ones.
            40..80 | 100 | 103 => dead.delete(seq).await.unwrap(),
            _ => expected.push(seq.to_string()),
        }
    }
    for limit in [1, 33, 50, 200] {
        let (mut found, mut after) = (vec![], String::new());
        loop {
            let page = ids(&console, &format!("?limit={limit}&after={after}")).await;
            let Some(last) = page.last() else { break };
            after.clone_from(last);
            found.extend(page);
        }
        assert_eq!(found, expected, "{limit} at a time");
    }
}

#[tokio::test]
async fn a_replay_is_one_entry_however_often_it_is_pressed() {
    let console = Console::start().await;
    console.nats.leaves_work();
    let letter = letter("a", "u1", Reason::RuntimeExhausted);
    let id = bury(&console, &letter).await;
    let press = async |body: Value| {
        let (status, answer) = console.post("/api/dead/replay", body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let dry = press(json!({ "ids": [id], "dryRun": true })).await;
    assert_eq!(dry, json!({ "replayed": [id], "skipped": [] }));
    assert_eq!(replays(&console, &letter).await, []);
    assert_eq!(press(json!({ "ids": [id] })).await, dry);
    let again = press(json!({ "ids": [id, "99"] })).await;
    assert_eq!(again["replayed"], json!([]));
    assert_eq!(
        again["skipped"],
        json!([
            { "id": id, "why": "it was replayed already" },
            { "id": "99", "why": "there is no such dead letter" },
        ])
    );
    let found = replays(&console, &letter).await;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].epoch, found[0].expert.as_str()), (Seq(3), "e"));
    assert_eq!(found[0].messages(), [message("msg-u1")]);
    assert_eq!(ids(&console, "").await, Vec::<String>::new());
    assert_eq!(ids(&console, "?state=replayed").await, std::slice::from_ref(&id));
    let (status, answer) = console.delete(&format!("/api/dead/{id}")).await;
    assert_eq!((status, error(&answer).0), (409, "ALREADY_REPLAYED"));
}

#[tokio::test]
async fn a_replay_that_went_with_the_log_is_pressed_again() {
    let console = Console::start().await;
    console.nats.leaves_work();
    let letter = letter("a", "u1", Reason::RuntimeExhausted);
    let id = bury(&console, &letter).await;
    let press = async || {
        let (status, answer) = console.post("/api/dead/replay", json!({ "ids": [id] })).await;
        assert_eq!(status, 200, "{answer}");
        answer["replayed"] == json!([id])
    };
    assert!(press().await);
    assert!(!press().await);
    let nats = Nats::connect(&console.context, &broker(console.nats.url())).await.unwrap();
    console.nats.jetstream().await.delete_stream("DT_IN").await.unwrap();
    let streams = topology::Config { replicas: 1, dedupe_window: Duration::from_secs(600) };
    topology::apply(&nats, streams, console.context.clock.now()).await.unwrap();
    assert!(!press().await, "where even the letter's own turn is forgotten, so may be a replay");
    let (conversation, journal) = (&letter.turn.conversation, Journal::new(&nats));
    let head = Head { position: letter.turn.last, ..Head::default() };
    let ended = Record { nonce: 1, count: 1, step: Step::Dead, head, answer: None };
    let ended = journal.append(conversation, Seq(0), &ended).await.unwrap();
    assert!(press().await, "the letter is still there");
    assert!(!press().await);
    assert_eq!(replays(&console, &letter).await.len(), 1);
    // The replay's turn is on record, and then the log is made anew.
    let asked = letter.asked.clone();
    let turn = OpenTurn {
        first: Seq(9),
        last: Seq(9),
        kind: TurnKind::Replay { dead: id.parse().map(Seq).unwrap() },
        asked,
        accepted_at: Timestamp(0),
        started_at: Timestamp(0),
        attempt: 1,
        is_repeat: false,
        run: None,
        phase: Phase::Running,
        failed: FailedAttempts::default(),
    };
    let head = Head { position: letter.turn.last, turn: Some(turn), ..Head::default() };
    let record = Record { nonce: 2, count: 1, step: Step::Started, head, answer: None };
    journal.append(conversation, ended, &record).await.unwrap();
    console.nats.jetstream().await.delete_stream("DT_IN").await.unwrap();
    topology::apply(&nats, streams, console.context.clock.now()).await.unwrap();
    assert!(!press().await, "it is being answered, or was");
}

#[tokio::test]
async fn a_turn_that_is_larger_than_one_entry_may_be_is_replayed() {
    let console = Console::start().await;
    console.nats.leaves_work();
    let quoting = |count: u64, sender: &str| {
        let letter = letter("a", sender, Reason::RuntimeExhausted);
        let entries = (1..=count).map(|number| {
            let parts = vec![Part::Text("q".repeat(20_000))];
            let quote = Some(Quote { msg_id: None, parts });
            let said = Message { quote, ..message(&format!("m{number}")) };
            let (seq, at) = (Seq(number), Timestamp(1_000));
            Logged { seq, at, trace: None, entry: Entry::Message(said) }
        });
        DeadLetter { entries: entries.collect(), ..letter }
    };
    let press = async |id: &str, is_dry: bool| {
        let body = json!({ "ids": [id], "dryRun": is_dry });
        console.post("/api/dead/replay", body).await.1
    };
    let large = quoting(45, "u1");
    let id = bury(&console, &large).await;
    for is_dry in [true, false] {
        let answer = press(&id, is_dry).await;
        assert_eq!(answer, json!({ "replayed": [id], "skipped": [] }), "dry: {is_dry}");
    }
    let found = replays(&console, &large).await;
    assert_eq!((found.len(), found[0].messages().len()), (1, 45));
}

#[tokio::test]
async fn a_filter_replays_what_can_be_asked_again() {
    let console = Console::start().await;
    console.nats.leaves_work();
    console.robot("b").await;
    let good = bury(&console, &letter("a", "u1", Reason::RuntimePermanent)).await;
    let decode = bury(&console, &letter("a", "u2", Reason::Decode)).await;
    let unbound = bury(&console, &letter("b", "u3", Reason::Unbound)).await;
    let press = async |filter: Value| {
        console.post("/api/dead/replay", json!({ "filter": filter, "dryRun": true })).await.1
    };
    let answer = press(json!({})).await;
    assert_eq!(answer["replayed"], json!([good]));
    let skipped: Vec<_> = answer["skipped"].as_array().unwrap().iter().map(|s| &s["id"]).collect();
    assert_eq!(skipped, [&json!(decode), &json!(unbound)]);
    let (status, _) = console.put("/api/triggers/e", json!({ "integrationId": "b" })).await;
    assert_eq!(status, 200);
    assert_eq!(press(json!({ "reason": "unbound" })).await["replayed"], json!([unbound]));
    for (body, field) in [
        (json!({}), "ids"),
        (json!({ "ids": [], "filter": {} }), "ids"),
        (json!({ "filter": { "state": "dropped" } }), "filter.state"),
        (json!({ "filter": { "expert": "e" } }), "filter.expert"),
    ] {
        let (status, answer) = console.post("/api/dead/replay", body).await;
        assert_eq!((status, error(&answer).1), (422, field), "{answer}");
    }
}

#[tokio::test]
async fn a_press_that_was_put_to_nobody_says_what_to_do_instead() {
    let console = Console::start().await;
    // One whose question is on no record, and one that no expert was asked by.
    for (sender, is_asked) in [("u1", true), ("u2", false)] {
        let buried = letter("a", sender, Reason::ReplyExhausted);
        let (turn, kind) = (buried.turn.clone(), ActionKind::Confirm);
        let (by, params) = (message("m").sender, "{}".to_owned());
        let entry = Entry::Action(Action { turn, kind, by, place: None, params });
        let entries = vec![Logged { seq: Seq(7), at: Timestamp(1_000), trace: None, entry }];
        let asked = buried.asked.clone().filter(|_| is_asked);
        let id = bury(&console, &DeadLetter { asked, entries, ..buried }).await;
        let (_, answer) = console.post("/api/dead/replay", json!({ "ids": [id] })).await;
        let why = answer["skipped"][0]["why"].as_str().unwrap();
        assert!(why.ends_with("the person asks anew"), "{answer}");
    }
}

#[tokio::test]
async fn a_dropped_letter_is_gone_and_remembered() {
    let console = Console::start().await;
    let id = bury(&console, &letter("a", "u1", Reason::RuntimeExhausted)).await;
    let path = format!("/api/dead/{id}");
    for press in 0..2 {
        assert_eq!(console.delete(&path).await.0, 204, "press {press}");
    }
    assert_eq!(ids(&console, "?state=dropped").await, std::slice::from_ref(&id));
    let (_, shown) = console.get(&path).await;
    assert_eq!((&shown["state"], &shown["payload"]), (&json!("dropped"), &Value::Null));
    let (_, answer) = console.post("/api/dead/replay", json!({ "ids": [id] })).await;
    assert_eq!(answer["skipped"][0]["why"], "it was dropped already");
    assert_eq!(console.delete("/api/dead/99").await.0, 404);
}

#[tokio::test]
async fn what_the_broker_gave_up_is_listed_by_its_consumer() {
    let console = Console::start().await;
    // What the broker gave up in a work queue stays there for people to see.
    console.nats.leaves_work();
    let jetstream = console.nats.jetstream().await;
    let conversation = "s.abcdefghijklmnopqrstuvwx23";
    // The sweep brings back what somebody terminates in a work queue.
    let (log, work) = (["terminated", "max_deliveries"].as_slice(), ["max_deliveries"].as_slice());
    for (stream, consumer, subject, reasons) in [
        ("DT_IN", "intake", "in", log),
        ("DT_TIMER", "due", "due", work),
        ("DT_RUN", "dispatch", "run", work),
    ] {
        let subject = format!("dt.{subject}.{conversation}");
        let stream = jetstream.get_stream(stream).await.unwrap();
        let mut consumed = stream.get_consumer::<pull::Config>(consumer).await.unwrap();
        // Somebody ends a message by hand.
        jetstream.publish(subject.clone(), "1".into()).await.unwrap().await.unwrap();
        take(&consumed).await.ack_with(AckKind::Term).await.unwrap();
        let known = consumed.info().await.unwrap().config.clone();
        // Somebody limits how often it is tried, and it fails.
        let limited = pull::Config {
            max_deliver: 1,
            ack_wait: Duration::from_secs(1),
            ..pull::Config::try_from_consumer_config(known).unwrap()
        };
        stream.update_consumer(limited).await.unwrap();
        // A work queue takes the terminated message out a moment later.
        wait_until("the next one is stored", LIMIT, async || {
            jetstream.publish(subject.clone(), "2".into()).await.unwrap().await.is_ok()
        })
        .await;
        let _never_acknowledged = take(&consumed).await;
        for reason in reasons {
            let query = format!("/api/dead?reason={reason}&stage={consumer}");
            let list = wait_for(&query, LIMIT, async || {
                let (_, list) = console.get(&query).await;
                list["items"].as_array().is_some_and(|items| !items.is_empty()).then_some(list)
            })
            .await;
            assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
            assert_eq!(list["items"][0]["attempts"], 1, "{list}");
            let id = list["items"][0]["id"].clone();
            let (_, answer) = console.post("/api/dead/replay", json!({ "ids": [id] })).await;
            assert_eq!(answer["skipped"][0]["id"], id);
        }
    }
}

async fn take(consumer: &Consumer<pull::Config>) -> jetstream::Message {
    let mut batch = consumer.fetch().max_messages(1).expires(LIMIT).messages().await.unwrap();
    batch.next().await.expect("a message").unwrap()
}
