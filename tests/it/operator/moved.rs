//! What `streams apply` does about a log that was put back while no worker ran, record by record.

use std::time::Duration;

use dingtalk_trigger::context::{Clock, Context};
use dingtalk_trigger::domain::entry::{Control, ControlKind, Entry};
use dingtalk_trigger::domain::id::{Conversation, IntegrationId, Seq};
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::domain::turn::failed::FailedAttempts;
use dingtalk_trigger::domain::turn::{Head, OpenTurn, Phase, Step, TurnKind};
use dingtalk_trigger::io::journal::Journal;
use dingtalk_trigger::io::log::{Appended, Log};
use dingtalk_trigger::io::mark::Marks;
use dingtalk_trigger::io::nats::{self, Nats};
use dingtalk_trigger::io::topology;
use dingtalk_trigger::protocol::record::Record;
use dingtalk_trigger::protocol::subject;

use crate::support;
use crate::support::hands::Hands;
use crate::support::program::LIMIT;
use crate::support::wait::wait_until;

const SETTINGS: topology::Config =
    topology::Config { replicas: 1, dedupe_window: Duration::from_secs(600) };

struct Bench {
    log: Log,
    journal: Journal,
    said: std::cell::Cell<u32>,
}

impl Bench {
    async fn say(&self, conversation: &Conversation) -> Seq {
        let number = self.said.replace(self.said.get() + 1);
        let entry = Entry::Control(Control { kind: ControlKind::Stop, origin: None });
        match self.log.append(conversation, &format!("m:{number}"), entry).await {
            Ok(Appended::Stored(seq)) => seq,
            other => panic!("not stored: {other:?}"),
        }
    }

    async fn stands_at(&self, conversation: &Conversation, position: Seq, open: Option<Seq>) {
        let turn = open.map(|last| OpenTurn {
            first: last,
            last,
            kind: TurnKind::Control,
            asked: None,
            accepted_at: Timestamp(0),
            started_at: Timestamp(0),
            attempt: 1,
            is_repeat: false,
            run: None,
            phase: Phase::Running,
            failed: FailedAttempts::default(),
        });
        let head = Head { position, turn, ..Head::default() };
        let last = self.journal.last(conversation).await.expect("read the journal");
        let record = Record { nonce: 7, count: 1, step: Step::Started, head, answer: None };
        self.journal.append(conversation, last.seq, &record).await.expect("append");
    }

    async fn head(&self, conversation: &Conversation) -> Head {
        self.journal.last(conversation).await.expect("read the journal").head
    }
}

fn conversation(name: &str) -> Conversation {
    subject::conversation(&IntegrationId::parse("robot").expect("an id"), name, None)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_share_sequences_with_the_past_are_not_taken_for_finished() {
    let server = support::nats::Nats::start().await;
    server.leaves_work();
    let hands = Hands::on(&[server.url().to_owned()]).await;
    let context = Context::new(Clock::system());
    let (url, name) = (server.url().to_owned(), "it".to_owned());
    let request_timeout = Duration::from_secs(5);
    let config = nats::Config {
        url,
        credentials: None,
        login: nats::login::Login::default(),
        name,
        request_timeout,
    };
    let broker = Nats::connect(&context, &config).await.expect("the settings are right");
    let now = context.clock.now();
    topology::apply(&broker, SETTINGS, now).await.expect("apply");
    let marks = Marks::new(&broker);
    let log = Log::new(&broker, 256 * 1024);
    let bench = Bench { log, journal: Journal::new(&broker), said: std::cell::Cell::default() };
    let [finished, open, waits, quiet] = ["a", "b", "c", "d"].map(conversation);

    for who in [&finished, &open, &waits, &quiet] {
        bench.say(who).await;
    }
    hands.backup("DT_IN").await;
    let shared = bench.say(&finished).await;
    let asked = bench.say(&open).await;
    let silent = bench.say(&quiet).await;
    bench.stands_at(&finished, shared, None).await;
    bench.stands_at(&open, Seq(asked.0 - 4), Some(asked)).await;
    bench.stands_at(&quiet, silent, None).await;
    assert_eq!(marks.follow().await.expect("look").shared_from, None);
    assert_eq!(marks.move_positions(now).await.expect("move"), None, "nothing was put back");

    hands.remove_stream("DT_IN").await;
    hands.restore("DT_IN").await;
    let news = [bench.say(&finished).await, bench.say(&open).await, bench.say(&waits).await];
    assert_eq!(news, [shared, asked, silent], "they share sequences with the past");
    let moved = marks.move_positions(now).await.expect("move").expect("there was something to do");
    assert_eq!((moved.mark.shared_from, moved.mark.seq), (Some(shared), silent));
    assert_eq!(moved.conversations, 2);
    let head = bench.head(&finished).await;
    assert_eq!((head.position, head.turn), (Seq(shared.0 - 1), None));
    let head = bench.head(&open).await;
    assert_eq!((head.position, head.turn), (Seq(asked.0 - 4), None), "its entries are gone");
    assert_eq!(bench.head(&waits).await, Head::default());
    assert_eq!(bench.head(&quiet).await.position, silent, "it wrote nothing new");
    for who in [&finished, &open] {
        wait_until("it is woken", LIMIT, async || {
            hands.last("DT_TIMER", &subject::due(who)).await.is_some()
        })
        .await;
    }
    assert_eq!(hands.info("DT_IN").await["state"]["messages"], 7, "no blank is left");
    assert!(bench.say(&quiet).await > silent, "what comes next is new");
    assert_eq!(marks.move_positions(now).await.expect("move"), None);
    assert_eq!(marks.look().await.expect("look").shared_from, None);

    // Made anew by a machine whose clock is at the beginning of time.
    let highest = marks.follow().await.expect("look").seq;
    hands.remove_stream("DT_IN").await;
    topology::apply(&broker, SETTINGS, Timestamp(5)).await.expect("apply");
    assert!(bench.say(&quiet).await > highest);
    assert_eq!(marks.look().await.expect("look").shared_from, None);
}
