//! The operator's commands as they are typed, with the real binary against a running `up`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use dingtalk_trigger::sim::dingtalk::message::Say;
use dingtalk_trigger::sim::expert::Next;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::outside::Outside;
use crate::support::program::{LIMIT, Program};
use crate::support::service::{Service, callback};
use crate::support::wait::wait_until;

/// Runs commands with the settings an operator has beside a running `up`.
struct Terminal {
    settings: Vec<(String, String)>,
    directory: tempfile::TempDir,
}

impl Terminal {
    fn beside(service: &Service) -> Self {
        let data = service.data.path().join("data").display().to_string();
        let settings = [("DT_DATA_DIR", data), ("DT_CONSOLE_ADDR", service.console.clone())];
        let settings = settings.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Self { settings, directory: tempfile::tempdir().expect("create a directory") }
    }

    /// The exit code, what was said, and what was complained.
    async fn type_in(&self, line: &str) -> (i32, String, String) {
        let arguments: Vec<_> = line.split(' ').collect();
        let mut program =
            Program::start(self.directory.path(), "command", &arguments, &self.settings);
        let status = program.ended().await;
        (status.code().expect("it ended by itself"), program.said(), program.complained())
    }

    /// The JSON of a command that must succeed.
    async fn json(&self, line: &str) -> Value {
        let (code, said, complained) = self.type_in(&format!("{line} --json")).await;
        assert_eq!(code, 0, "{line}: {said}{complained}");
        serde_json::from_str(&said).unwrap_or(Value::Null)
    }
}

#[tokio::test]
async fn an_operator_sets_up_looks_and_takes_away_by_commands() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    let terminal = Terminal::beside(&service);
    let (code, said, _) = terminal.type_in("integration list").await;
    assert!(code == 0 && said.contains("robot") && said.starts_with("id"), "{said}");
    let add = "integration add --id two --name Two --mode http --client-id c --client-secret s \
               --callback-token t";
    let (code, _, complained) = terminal.type_in(add).await;
    assert!(code == 2 && complained.contains("callbackAesKey"), "{code} {complained}");
    let key = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
    terminal.json(&format!("{add} --callback-aes-key {key}")).await;
    assert_eq!(terminal.json("integration show two").await["mode"], "http");
    let (_, said, _) = terminal.type_in("integration list --limit 1").await;
    let (_, next) = said.trim_end().rsplit_once("more: ").expect("it says how it goes on");
    let (_, said, _) = terminal.type_in(&format!("integration list {next}")).await;
    assert!(said.contains("two") && !said.contains("more:"), "{said}");
    assert_eq!(terminal.type_in("integration remove two").await.0, 0);
    assert_eq!(terminal.type_in("integration show two").await.0, 1, "it is gone");
    assert_eq!(terminal.type_in("integration test robot").await.0, 0);

    assert_eq!(terminal.type_in("trigger validate expert --integration none").await.0, 1);
    assert_eq!(terminal.type_in("doctor robot").await.0, 1, "nothing is bound");
    publish_in_pieces(&terminal).await;
    examine(&terminal).await;

    let said = outside.say(Say::direct("robot", "ann", "hello"));
    outside.reply(&said.conversation, "hello").await;
    let trace = format!("trace robot {}", said.msg_id);
    wait_until("the trace says delivered", LIMIT, async || {
        let (code, said, _) = terminal.type_in(&format!("{trace} --json")).await;
        code == 0 && said.contains("\"state\":\"delivered\"")
    })
    .await;
    let trace = terminal.json(&trace).await;
    assert_eq!(
        (&trace["attempts"][0]["state"], &trace["sends"][0]["state"]),
        (&json!("answered"), &json!("sent"))
    );
    for place in ["/received", "/turn", "/attempts/0", "/sends/0"] {
        let pod = trace.pointer(place).and_then(|step| step["pod"].as_str());
        assert!(pod.is_some_and(|pod| !pod.is_empty()), "{place} has no pod: {trace}");
    }
    let list = terminal.json("conversation list --xpert expert").await;
    let key = list["items"][0]["key"].as_str().unwrap();
    let timeline = format!("/api/conversations/{key}/timeline");
    let timeline = service.admin().done("GET", &timeline, &Value::Null).await;
    let events: Vec<_> =
        timeline["items"].as_array().unwrap().iter().map(|item| &item["event"]).collect();
    assert_eq!(events, ["started", "answered", "delivered"]);
    trace_commands(&terminal, &outside).await;
    terminal.type_in(&format!("conversation end {key}")).await;
    assert_eq!(terminal.type_in("conversation end").await.0, 2);
    assert_eq!(terminal.type_in("trigger unpublish expert").await.0, 0);
    service.finish().await;
}

/// What is not said stays as it is.
async fn publish_in_pieces(terminal: &Terminal) {
    terminal.json("trigger publish expert --integration robot").await;
    let publish = "trigger publish expert --integration robot";
    terminal.json(&format!("{publish} --allow-senders ann,bob --mention-asker false")).await;
    terminal.json("trigger publish expert --session-timeout-seconds 90").await;
    let shown = terminal.json("trigger show expert").await;
    assert_eq!(
        (&shown["allowSenders"], &shown["mentionAsker"], &shown["sessionTimeoutSeconds"]),
        (&json!(["ann", "bob"]), &json!(false), &json!(90)),
        "what is not said stays"
    );
    terminal.json(&format!("{publish} --allow-senders=")).await;
    assert_eq!(terminal.json("trigger show expert").await["allowSenders"], json!([]));
    let (code, said, _) = terminal.type_in("trigger show --limit 1").await;
    assert!(code == 0 && said.contains("expert"), "{said}");
    assert_eq!(terminal.type_in("trigger show expert --limit 1").await.0, 2, "it is no list");
    for (said, expected) in
        [("--disabled", false), ("--mention-asker true", false), ("--enabled", true)]
    {
        let shown = terminal.json(&format!("trigger publish expert {said}")).await;
        assert_eq!(shown["enabled"], json!(expected), "{said}");
    }
}

async fn examine(terminal: &Terminal) {
    terminal.json("runtime set expert --kind echo").await;
    let (code, said, _) = terminal.type_in("doctor robot").await;
    assert_eq!(code, 0, "{said}");
    for word in ["reachable", "stream", "connection", "trigger", "runtime", "lag"] {
        assert!(said.contains(&format!("ok    {word}")), "{word}: {said}");
    }
    let steer = "trigger validate expert --integration robot --busy-policy steer";
    let (code, said, _) = terminal.type_in(steer).await;
    assert!(code == 0 && said.contains("STEER_UNSUPPORTED"), "{code} {said}");
    terminal.json("pause runtime expert").await;
    assert_eq!(terminal.type_in("doctor robot").await.0, 1, "it is paused");
    terminal.json("resume runtime expert").await;
    terminal.json("runtime set expert --kind echo --lease-seconds 1").await;
    wait_until("the lease has lapsed", LIMIT, async || {
        let (code, said, _) = terminal.type_in("doctor robot").await;
        code == 1 && said.contains("/api/runtimes/expert/heartbeat")
    })
    .await;
    terminal.json("runtime set expert --kind echo").await;
}

/// A command has its trace like any other message; a question to the service itself has no turn.
async fn trace_commands(terminal: &Terminal, outside: &Outside) {
    for (command, state) in [("/stop", "delivered"), ("/help", "received")] {
        let said = outside.say(Say::direct("robot", "ann", command));
        wait_until("the command has its trace", LIMIT, async || {
            let (code, said, _) = terminal.type_in(&format!("trace robot {}", said.msg_id)).await;
            code == 0 && said.contains(&format!("state: {state}"))
        })
        .await;
    }
}

#[tokio::test]
async fn dead_letters_are_handled_by_commands() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    service.stream_robot(&outside, "robot").await;
    let admin = service.admin();
    admin.publish("expert", "robot", &json!({ "runtime": callback(&outside) })).await;
    for text in ["refuse one", "refuse two"] {
        outside.say(Say::direct("robot", "ann", text));
    }
    let dead = admin.list_until("/api/dead", |items| items.len() == 2).await;
    let id = |index: usize| dead[index]["id"].as_str().unwrap();
    let terminal = Terminal::beside(&service);
    let (_, said, _) = terminal.type_in("dead list --reason runtime_permanent").await;
    assert_eq!(said.lines().count(), 3, "{said}");
    let (_, said, _) = terminal.type_in(&format!("dead show {}", id(0))).await;
    assert!(said.contains("payload.text: refuse one"), "{said}");
    assert!(said.contains("failedAttempts.0.reason: runtime_permanent"), "{said}");
    assert!(said.contains("failedAttempts.0.response: the runtime answered 4"), "{said}");
    let dry = terminal.json("dead replay --all --dry-run").await;
    assert_eq!(dry["replayed"], json!([id(0), id(1)]));
    assert_eq!(terminal.type_in("dead replay").await.0, 2);
    assert_eq!(terminal.type_in(&format!("dead drop {}", id(1))).await.0, 0);
    let replayed = terminal.json(&format!("dead replay {}", id(0))).await;
    assert_eq!(replayed["replayed"], json!([id(0)]));
    // It dies again, as a letter of its own.
    let again = admin.list_until("/api/dead", |items| items.len() == 1).await;
    assert_ne!(again[0]["id"], id(0));
    service.finish().await;
}

#[tokio::test]
async fn a_filter_replays_what_it_names_once_and_a_dry_run_nothing() {
    let outside = Outside::start().await;
    let service = Service::start(&outside).await;
    let admin = service.admin();
    for robot in ["robot", "other"] {
        service.stream_robot(&outside, robot).await;
        let fields = json!({ "runtime": callback(&outside) });
        admin.publish(&format!("expert-of-{robot}"), robot, &fields).await;
    }
    let mut conversations = vec![];
    for (robot, text) in [("robot", "one"), ("robot", "two"), ("other", "three")] {
        let refusal = Next::Status { status: 400, retry_after: None, body: "not now".to_owned() };
        outside.expert.next(refusal);
        let before = outside.expert.calls().len() as u64;
        conversations.push(outside.say(Say::direct(robot, text, text)).conversation);
        assert!(outside.expert.called(before + 1, LIMIT).await, "{text}");
    }
    let dead = admin.list_until("/api/dead", |items| items.len() == 3).await;
    let of = |robot: &str| -> Vec<_> {
        let items = dead.iter().filter(|item| item["integrationId"] == robot);
        items.map(|item| item["id"].clone()).collect()
    };
    let terminal = Terminal::beside(&service);
    let narrow = "dead replay --integration robot --reason runtime_permanent --stage dispatch \
                  --since 2020-01-01T00:00:00Z";
    for _ in 0..2 {
        let dry = terminal.json(&format!("{narrow} --dry-run")).await;
        assert_eq!(dry, json!({ "replayed": of("robot"), "skipped": [] }), "it changes nothing");
    }
    let none = terminal.json("dead replay --integration robot --reason limit").await;
    assert_eq!(none, json!({ "replayed": [], "skipped": [] }));
    assert_eq!(outside.expert.calls().len(), 3, "nothing was asked again so far");
    let replayed = terminal.json(narrow).await;
    assert_eq!(replayed, json!({ "replayed": of("robot"), "skipped": [] }));
    outside.reply(&conversations[0], "You said: one").await;
    outside.reply(&conversations[1], "You said: two").await;
    // Pressed again, by the filter and by name.
    assert_eq!(terminal.json(narrow).await, json!({ "replayed": [], "skipped": [] }));
    let again = terminal.json(&format!("dead replay {}", of("robot")[0].as_str().unwrap())).await;
    assert_eq!(again["skipped"][0]["id"], of("robot")[0], "{again}");
    service.settled().await;
    assert_eq!(outside.expert.calls().len(), 5, "each was asked again once");
    let left = terminal.json("dead list").await;
    let left: Vec<_> = left["items"].as_array().unwrap().iter().map(|item| &item["id"]).collect();
    assert_eq!(left, of("other").iter().collect::<Vec<_>>());
    service.finish().await;
}

#[tokio::test]
async fn what_a_command_pauses_waits_in_order_and_flows_again() {
    let outside = Outside::start().await;
    let service = Service::start_with(&outside, &[("DT_WEBHOOK_RATE", "0")]).await;
    service.stream_robot(&outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": callback(&outside) })).await;
    let terminal = Terminal::beside(&service);
    let mut expected = vec![];
    for what in ["integration robot", "runtime expert"] {
        let calls = outside.expert.calls().len();
        let (code, said, complained) = terminal.type_in(&format!("pause {what}")).await;
        assert_eq!((code, said.trim()), (0, "done"), "{complained}");
        let said: Vec<_> = (0..3)
            .map(|number| {
                let text = format!("{what} {number}");
                expected.push(format!("You said: {text}"));
                outside.say(Say::direct("robot", "ann", &text))
            })
            .collect();
        let trace = format!("trace robot {} --json", said[0].msg_id);
        wait_until("the conversation is parked", LIMIT, async || {
            let (code, trace, _) = terminal.type_in(&trace).await;
            code == 0 && trace.contains("\"state\":\"parked\"")
        })
        .await;
        assert_eq!(outside.expert.calls().len(), calls, "nobody is asked meanwhile");
        assert_eq!(terminal.type_in(&format!("resume {what}")).await.0, 0);
        outside.reply(&said[2].conversation, &format!("You said: {what} 2")).await;
        assert_eq!(outside.read_in(&said[2].conversation), expected);
    }
    for unknown in ["pause integration none", "resume runtime none"] {
        assert_eq!(terminal.type_in(unknown).await.0, 1, "{unknown}");
    }
    service.finish().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_not_published_over() {
    let published = Arc::new(AtomicUsize::new(0));
    let count = published.clone();
    let away = async || {
        let error =
            json!({ "error": { "code": "UNAVAILABLE", "message": "the database is away" } });
        (StatusCode::SERVICE_UNAVAILABLE, Json(error))
    };
    let trigger = get(away).put(async move || {
        count.fetch_add(1, Ordering::Relaxed);
        Json(json!({}))
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let app = Router::new().route("/api/triggers/{id}", trigger);
    let directory = tempfile::tempdir().unwrap();
    let settings = [
        ("DT_DATA_DIR", directory.path().display().to_string()),
        ("DT_CONSOLE_ADDR", address),
        ("DT_ADMIN_TOKEN", "a token of sixteen".to_owned()),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let terminal = Terminal { settings, directory };
    let line = "trigger publish expert --session-timeout-seconds 90";
    let served = async { axum::serve(listener, app).await.unwrap() };
    let (code, _, complained) = tokio::select! {
        typed = terminal.type_in(line) => typed,
        () = served => unreachable!("it serves without end"),
    };
    assert!(code == 1 && complained.contains("the database is away"), "{code} {complained}");
    assert_eq!(published.load(Ordering::Relaxed), 0, "nothing was replaced");
}

#[tokio::test]
async fn without_a_token_or_a_console_a_command_says_what_to_set() {
    let directory = tempfile::tempdir().unwrap();
    let settings = vec![
        ("DT_DATA_DIR".to_owned(), directory.path().display().to_string()),
        ("DT_CONSOLE_ADDR".to_owned(), "127.0.0.1:9".to_owned()),
    ];
    let mut terminal = Terminal { settings, directory };
    let (code, _, complained) = terminal.type_in("dead list").await;
    assert!(code == 2 && complained.contains("DT_ADMIN_TOKEN"), "{code} {complained}");
    terminal.settings.push(("DT_ADMIN_TOKEN".to_owned(), "a token of sixteen".to_owned()));
    let (code, _, complained) = terminal.type_in("dead list").await;
    assert!(code == 1 && complained.contains("DT_CONSOLE_ADDR"), "{code} {complained}");
    assert_eq!(terminal.type_in("dead bury").await.0, 2);
}
