//! The life of the process: drain, a second one on the same data, settings that are wrong, and the
//! commands around it.

use std::time::Duration;

use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::expert::Next;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::database::Postgres;
use crate::support::nats::Nats;
use crate::support::oracle::{answered, judge, mark};
use crate::support::outside::Outside;
use crate::support::program::{LIMIT, Program, anywhere, free_port, report};
use crate::support::service::{Service, callback};
use crate::support::wait::{wait_for, wait_until};

const TOKEN: &str = "token-of-the-tests";
const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn settings(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Runs a command to its end: exit code, standard output, standard error.
async fn run(arguments: &[&str], pairs: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let directory = TempDir::new().expect("create a directory");
    let mut program = Program::start(directory.path(), "command", arguments, &settings(pairs));
    let status = program.ended().await;
    (status.code(), program.said(), program.complained())
}

#[tokio::test]
async fn sigterm_finishes_what_runs_and_drops_nothing() {
    let outside = Outside::start().await;
    let mut service = Service::start_with(&outside, &[("DT_WEBHOOK_RATE", "0")]).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": callback(&outside) })).await;
    let slow = outside.say(Say::direct("robot", "ann", "slow 2"));
    for number in 0..60 {
        let conversation = number % 20;
        let person = format!("person{conversation}");
        outside.say(Say::direct("robot", &person, &mark(conversation, number / 20)));
    }
    assert!(outside.expert.called(20, LIMIT).await, "the expert is busy");
    let told = Instant::now();
    let ready = format!("http://{}/readyz", service.health);
    let drains = wait_until("it says that it drains", LIMIT, async || {
        let Ok(answer) = reqwest::get(&ready).await else { return false };
        answer.status() == 503 && answer.text().await.is_ok_and(|text| text.contains("draining"))
    });
    let (status, ()) = tokio::join!(service.program().terminate(), drains);
    report(&format!("measured: drained in {:?}", told.elapsed()));
    assert_eq!(status.code(), Some(0), "{}", service.program().complained());
    let read = outside.read_in(&slow.conversation);
    assert_eq!(read, ["You said: slow 2"], "what ran was finished");
    let left = 60 - answered(&outside.cloud);
    let ready = service.restart().await;
    let restarted = Instant::now();
    wait_until("the rest is answered", LIMIT, async || answered(&outside.cloud) == 60).await;
    let rest = restarted.elapsed();
    report(&format!(
        "measured: ready again in {ready:?}; {left} left by the drain, answered {rest:?} later"
    ));
    service.settled().await;
    let verdict = judge(&outside.cloud, &[]);
    verdict.assert_good(0.0);
    assert_eq!(verdict.doubled, 0);
    service.finish().await;
}

#[tokio::test]
async fn a_run_that_outlasts_the_drain_is_handed_back_within_it() {
    let outside = Outside::start().await;
    let mut service = Service::start_with(&outside, &[("DT_DRAIN_SECONDS", "8")]).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": callback(&outside) })).await;
    let said = outside.say(Say::direct("robot", "ann", "slow 60"));
    assert!(outside.expert.called(1, LIMIT).await, "the expert is busy");
    let status = service.program().terminate().await;
    let complained = service.program().complained();
    assert_eq!(status.code(), Some(0), "{complained}");
    assert!(!complained.contains("the drain limit is over"), "it was handed back: {complained}");
    outside.expert.next(Next::Json(json!({ "text": "asked again" })));
    service.restart().await;
    outside.reply(&said.conversation, "asked again").await;
    let ids = outside.expert.calls().iter().map(|call| call.webhook_id.clone()).collect::<Vec<_>>();
    assert_eq!((ids.len(), &ids[0]), (2, &ids[1]), "under the same name");
    service.finish().await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let outside = Outside::start().await;
    let mut service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": callback(&outside) })).await;
    outside.say(Say::direct("robot", "ann", "slow 60"));
    assert!(outside.expert.called(1, LIMIT).await, "the expert is busy");
    let program = service.program();
    program.tell();
    wait_until("it drains", LIMIT, async || program.complained().contains("draining")).await;
    let told = Instant::now();
    program.tell();
    let status = program.ended().await;
    assert_eq!(status.code(), Some(0), "{}", program.complained());
    // The drain has a limit of 25 s, and its broker one of 15 s.
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
}

#[tokio::test]
async fn told_while_it_starts_it_leaves_nothing_behind() {
    let directory = TempDir::new().expect("create a directory");
    let data = directory.path().join("data");
    let mut program = Program::start(directory.path(), "up", &["up"], &anywhere(&data));
    let pid = data.join("nats/server.pid");
    let broker = wait_for("its broker runs", LIMIT, async || {
        std::fs::read_to_string(&pid).ok().filter(|pid| !pid.trim().is_empty())
    })
    .await;
    assert_eq!(program.terminate().await.code(), Some(0), "{}", program.complained());
    let process = format!("/proc/{}", broker.trim());
    wait_until("its broker ends", LIMIT, async || !std::path::Path::new(&process).exists()).await;
}

#[tokio::test]
async fn a_second_up_on_the_same_data_exits_with_2_and_names_the_first() {
    let outside = Outside::start().await;
    let mut service = Service::start(&outside).await;
    let first = service.program().pid().to_string();
    let mut second = service.second();
    assert_eq!(second.ended().await.code(), Some(2));
    assert!(second.complained().contains(&first), "{}", second.complained());
    service.finish().await;
}

#[tokio::test]
async fn up_says_where_it_listens_also_where_the_system_chose_the_ports() {
    let directory = TempDir::new().expect("create a directory");
    let mut pairs = anywhere(&directory.path().join("data"));
    let broker = Nats::start().await;
    let address = directory.path().join("broker");
    std::fs::write(&address, broker.url()).expect("write the broker's address");
    let address = address.display().to_string();
    let given = [
        ("DT_ADMIN_TOKEN", TOKEN),
        ("DT_MASTER_KEY", MASTER_KEY),
        ("NATS_URL_FILE", address.as_str()),
    ];
    pairs.extend(settings(&given));
    let mut program = Program::start(directory.path(), "up", &["up"], &pairs);
    wait_until("it says that it is ready", LIMIT, async || {
        program.assert_runs();
        program.said().lines().any(|line| line == "ready")
    })
    .await;
    let said = program.said();
    let address = |what: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(what)).expect("a line for each");
        line.split_whitespace().next().expect("an address").to_owned()
    };
    for (url, status) in [
        (address("health:"), 200),
        (format!("{}/api/dingtalk/webhook/nobody", address("edge:")), 404),
        (format!("{}/api/status", address("admin API:")), 401),
    ] {
        let answer = reqwest::get(&url).await.expect("it listens there");
        assert_eq!(answer.status(), status, "{url}");
    }
    // What the environment gives is neither made nor said.
    let status = format!("{}/api/status", address("admin API:"));
    let request = reqwest::Client::new().get(status).bearer_auth(TOKEN);
    assert_eq!(request.send().await.expect("it listens there").status(), 200);
    assert!(!said.contains("admin token"), "{said}");
    for own in ["admin.token", "master.key", "nats"] {
        assert!(!directory.path().join("data").join(own).exists(), "{own} was made");
    }
    assert_eq!(program.terminate().await.code(), Some(0), "{}", program.complained());
}

#[tokio::test]
async fn every_wrong_setting_is_named_at_once() {
    let wrong = [
        ("DT_EDGE_ADDR", "8080"),
        ("DT_REPLICAS", "many"),
        ("DT_ADMIN_TOKEN", "short"),
        ("DATABASE_URL", "mysql://db"),
        ("DT_LOG", "info,=,="),
        ("DT_MASTER_KEY", "c2VjcmV0"),
        ("NATS_URL", "nats://me:secret@[broker"),
    ];
    for command in ["up", "edge", "worker", "console", "migrate"] {
        let (code, _, complained) = run(&[command], &wrong).await;
        assert_eq!(code, Some(2), "{command}: {complained}");
        for (name, _) in wrong {
            assert!(complained.contains(name), "{command} does not name {name}: {complained}");
        }
        assert!(!complained.contains("secret"), "{complained}");
    }
    // `up` has no broker to start and a key that is damaged: named with the rest, and nothing is made.
    let data = TempDir::new().expect("create a directory");
    std::fs::write(data.path().join("master.key"), "short").expect("damage the key");
    let path = data.path().display().to_string();
    let lacking = [("DT_NATS_SERVER", ""), ("DT_DATA_DIR", &path), ("DT_REPLICAS", "many")];
    for (pairs, is_many) in [(&lacking[..], true), (&lacking[..2], false)] {
        let (code, _, complained) = run(&["up"], pairs).await;
        assert_eq!(code, Some(2), "{complained}");
        for name in ["DT_NATS_SERVER", "master.key"] {
            assert!(complained.contains(name), "{name} is not named: {complained}");
        }
        assert_eq!(complained.contains("DT_REPLICAS"), is_many, "{complained}");
        assert!(!data.path().join("admin.token").exists(), "it made something");
    }
    let (code, _, complained) = run(&["edge", "--unknown"], &[]).await;
    assert_eq!(code, Some(2), "{complained}");
}

#[tokio::test]
async fn the_roles_refuse_sqlite_and_missing_keys() {
    let sqlite = [("DATABASE_URL", "sqlite://x.db"), ("DT_REPLICAS", "many")];
    for role in ["edge", "worker", "console"] {
        let (code, _, complained) = run(&[role], &sqlite).await;
        assert_eq!(code, Some(2), "{role}: {complained}");
        for named in ["postgres", "DT_MASTER_KEY", "DT_REPLICAS"] {
            assert!(complained.contains(named), "{role} does not name {named}: {complained}");
        }
        // Named before anything is waited for: there is no broker here.
        let health = format!("127.0.0.1:{}", free_port());
        let no_key = [
            ("DATABASE_URL", "postgres://localhost/x"),
            ("NATS_URL", "nats://127.0.0.1:1"),
            ("DT_HEALTH_ADDR", health.as_str()),
        ];
        let begun = Instant::now();
        let (code, _, complained) = run(&[role], &no_key).await;
        assert_eq!(code, Some(2), "{role}: {complained}");
        assert!(complained.contains("DT_MASTER_KEY"), "{role}: {complained}");
        let names_token = complained.contains("DT_ADMIN_TOKEN");
        assert_eq!(names_token, role == "console", "{role}: {complained}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{role} waited");
    }
}

#[tokio::test]
async fn streams_and_tables_are_applied_once_and_then_are_no_difference() {
    let nats = Nats::start().await;
    let database = Postgres::fresh().await;
    let pairs =
        [("NATS_URL", nats.url()), ("DATABASE_URL", database.url()), ("DT_MASTER_KEY", MASTER_KEY)];
    let (code, said, complained) = run(&["streams", "diff"], &pairs).await;
    assert_eq!(code, Some(1), "{complained}");
    assert!(said.contains("DT_IN"), "{said}");
    for _ in 0..2 {
        let (code, _, complained) = run(&["streams", "apply"], &pairs).await;
        assert_eq!(code, Some(0), "{complained}");
        let (code, said, complained) = run(&["streams", "diff"], &pairs).await;
        assert_eq!(code, Some(0), "{said} {complained}");
    }
    for _ in 0..2 {
        let (code, _, complained) = run(&["migrate"], &pairs).await;
        assert_eq!(code, Some(0), "{complained}");
    }
}
