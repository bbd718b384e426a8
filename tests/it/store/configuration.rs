//! Integrations, triggers and runtimes: what is written, what is refused, and who wins a race.
#![expect(clippy::unwrap_used, reason = "test bodies that run on both databases")]

use std::time::Duration;

use dingtalk_trigger::domain::binding::{
    FormerWindow, Integration, Language, Mode, Runtime, RuntimeKind, Scope, Trigger,
};
use dingtalk_trigger::domain::secret::Secret;
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::io::store::audit::Note;
use dingtalk_trigger::io::store::{Config, Error, Page, Store};

use crate::store::{
    callback, config, expert_id, integration, integration_id, key, note, store, trigger,
};
use crate::support::database::{Postgres, Sqlite};

on_both!(
    migrations_are_pending_until_they_ran_and_run_twice,
    an_integration_reads_back_as_it_was_written,
    an_update_on_an_older_version_is_refused,
    an_integration_in_use_keeps_its_scope_and_stays,
    of_racing_publishers_exactly_one_gets_the_integration,
    publishing_registers_the_runtime_in_the_same_transaction,
    a_window_that_is_published_leaves_the_one_before_to_what_was_said_before,
    moving_to_another_integration_is_one_step,
    a_disabled_binding_takes_no_integration,
    runtimes_read_back_as_they_were_written,
    secrets_are_sealed_and_a_rotated_key_still_opens_them,
    lists_go_on_where_they_stopped,
);

async fn migrations_are_pending_until_they_ran_and_run_twice(url: &str) {
    let store = Store::connect(&config(url)).await.unwrap();
    assert!(!store.pending().await.unwrap().is_empty());
    store.migrate().await.unwrap();
    store.migrate().await.unwrap();
    assert_eq!(store.pending().await.unwrap(), [""; 0]);
    store.ping().await.unwrap();
}

async fn an_integration_reads_back_as_it_was_written(url: &str) {
    let store = store(url).await;
    let full = integration("robot-1");
    let bare = Integration {
        mode: Mode::Stream,
        robot_code: None,
        callback_token: None,
        callback_aes_key: None,
        card_template_id: Some("card".to_owned()),
        receiver_id: Some("corp".to_owned()),
        corp_id: Some("ding-corp".to_owned()),
        language: Language::En,
        scope: Scope::Group,
        is_paused: true,
        ..integration("robot-2")
    };
    for new in [&full, &bare] {
        store.create_integration(new, &note("integration.create")).await.unwrap();
        let record = store.integration(&new.id).await.unwrap().unwrap();
        assert_eq!(record.integration, *new);
        assert_eq!((record.version, record.created_at), (1, Timestamp(1_000)));
    }
    let again = store.create_integration(&full, &note("integration.create")).await;
    assert!(matches!(again, Err(Error::Exists { .. })), "{again:?}");
    assert!(store.integration(&integration_id("unknown")).await.unwrap().is_none());
    let log = store.audit_log(&Page { after: None, limit: 10 }).await.unwrap();
    assert_eq!(log.len(), 2, "a refused change leaves no line");
}

async fn an_update_on_an_older_version_is_refused(url: &str) {
    let store = store(url).await;
    let first = integration("robot-1");
    store.create_integration(&first, &note("integration.create")).await.unwrap();
    let read = store.integration(&first.id).await.unwrap().unwrap();
    let mut next = first.clone();
    next.client_secret = Secret::new("another");
    next.callback_token = None;
    store.update_integration(&read, &next, &note("integration.update")).await.unwrap();
    let stored = store.integration(&first.id).await.unwrap().unwrap();
    assert_eq!((stored.integration, stored.version), (next, 2));
    let late = store.update_integration(&read, &first, &note("integration.update")).await;
    assert!(matches!(late, Err(Error::Stale { .. })), "{late:?}");
    store.remove_integration(&first.id, &note("integration.remove")).await.unwrap();
    let gone = store.update_integration(&read, &first, &note("integration.update")).await;
    assert!(matches!(gone, Err(Error::Missing { .. })), "{gone:?}");
}

async fn an_integration_in_use_keeps_its_scope_and_stays(url: &str) {
    let store = store(url).await;
    let first = integration("robot-1");
    store.create_integration(&first, &note("integration.create")).await.unwrap();
    store.publish(&trigger("expert-1", "robot-1"), None, &note("trigger.publish")).await.unwrap();
    let read = store.integration(&first.id).await.unwrap().unwrap();
    let next = Integration { scope: Scope::Group, ..first.clone() };
    let changed = store.update_integration(&read, &next, &note("integration.update")).await;
    assert!(matches!(changed, Err(Error::InUse { .. })), "{changed:?}");
    let removed = store.remove_integration(&first.id, &note("integration.remove")).await;
    assert!(matches!(removed, Err(Error::InUse { .. })), "{removed:?}");
    let was = store.unpublish(&expert_id("expert-1"), &note("trigger.unpublish")).await.unwrap();
    assert_eq!(was, trigger("expert-1", "robot-1"));
    store.update_integration(&read, &next, &note("integration.update")).await.unwrap();
    store.remove_integration(&first.id, &note("integration.remove")).await.unwrap();
    let again = store.remove_integration(&first.id, &note("integration.remove")).await;
    assert!(matches!(again, Err(Error::Missing { .. })), "{again:?}");
}

async fn of_racing_publishers_exactly_one_gets_the_integration(url: &str) {
    let store = store(url).await;
    for round in 0..10 {
        let robot = format!("robot-{round}");
        store.create_integration(&integration(&robot), &note("integration.create")).await.unwrap();
        let races = (0..4).map(|racer| {
            let (store, robot) = (store.clone(), robot.clone());
            async move {
                let expert = format!("expert-{round}-{racer}");
                let runtime = callback(&expert);
                let trigger = trigger(&expert, &robot);
                store.publish(&trigger, Some(&runtime), &note("trigger.publish")).await
            }
        });
        let outcomes = futures_util::future::join_all(races).await;
        let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        let conflicts =
            outcomes.iter().filter(|o| matches!(o, Err(Error::Conflict { .. }))).count();
        assert_eq!((won, conflicts), (1, 3), "{outcomes:?}");
        let bound = store.trigger_of(&integration_id(&robot)).await.unwrap().unwrap();
        let runtime = store.runtime(&bound.trigger.expert).await.unwrap();
        assert!(runtime.is_some(), "the winner's runtime is there");
    }
    let runtimes = store.runtimes(&Page { after: None, limit: 200 }).await.unwrap();
    assert_eq!(runtimes.len(), 10, "the losers' runtimes are not");
}

async fn a_window_that_is_published_leaves_the_one_before_to_what_was_said_before(url: &str) {
    let store = store(url).await;
    store.create_integration(&integration("r"), &note("integration.create")).await.unwrap();
    // Seconds, and what is the former one after that.
    for (at, window_s, former) in [
        (1, 3, None),
        (2, 3, None),
        (3, 0, Some((3, 3))),
        (4, 0, Some((3, 3))),
        (5, 9, Some((0, 5))),
    ] {
        let seconds = Duration::from_secs;
        let published = Trigger { summary_window: seconds(window_s), ..trigger("e", "r") };
        let note = Note { at: Timestamp(at), ..note("trigger.publish") };
        store.publish(&published, None, &note).await.unwrap();
        let former = former
            .map(|(window_s, until)| (seconds(window_s), Timestamp(until)))
            .map(|(window, until)| FormerWindow { window, until });
        let stored = store.trigger(&expert_id("e")).await.unwrap().unwrap().trigger;
        assert_eq!(stored, Trigger { former_window: former, ..published }, "{at}");
    }
}

async fn publishing_registers_the_runtime_in_the_same_transaction(url: &str) {
    let store = store(url).await;
    let unknown = store
        .publish(&trigger("e", "unknown"), Some(&callback("e")), &note("trigger.publish"))
        .await;
    assert!(matches!(unknown, Err(Error::Missing { .. })), "{unknown:?}");
    assert!(store.runtime(&expert_id("e")).await.unwrap().is_none());
    store.create_integration(&integration("r"), &note("integration.create")).await.unwrap();
    for _ in 0..2 {
        store
            .publish(&trigger("e", "r"), Some(&callback("e")), &note("trigger.publish"))
            .await
            .unwrap();
        let read = store.trigger(&expert_id("e")).await.unwrap().unwrap();
        assert_eq!(read.trigger, trigger("e", "r"));
        assert_eq!(store.runtime(&expert_id("e")).await.unwrap().unwrap().runtime, callback("e"));
        store.remove_runtime(&expert_id("e"), &note("runtime.remove")).await.unwrap();
    }
    let missing = store.remove_runtime(&expert_id("e"), &note("runtime.remove")).await;
    assert!(matches!(missing, Err(Error::Missing { .. })), "{missing:?}");
}

async fn moving_to_another_integration_is_one_step(url: &str) {
    let store = store(url).await;
    for robot in ["r1", "r2", "r3"] {
        store.create_integration(&integration(robot), &note("integration.create")).await.unwrap();
    }
    store.publish(&trigger("e1", "r1"), None, &note("trigger.publish")).await.unwrap();
    store.publish(&trigger("e2", "r2"), None, &note("trigger.publish")).await.unwrap();
    store.publish(&trigger("e1", "r3"), None, &note("trigger.publish")).await.unwrap();
    assert!(store.trigger_of(&integration_id("r1")).await.unwrap().is_none());
    let moved = store.trigger_of(&integration_id("r3")).await.unwrap().unwrap();
    assert_eq!(moved.trigger.expert, expert_id("e1"));
    let taken = store.publish(&trigger("e1", "r2"), None, &note("trigger.publish")).await;
    assert!(matches!(taken, Err(Error::Conflict { .. })), "{taken:?}");
    let stayed = store.trigger_of(&integration_id("r3")).await.unwrap().unwrap();
    assert_eq!(stayed.trigger.expert, expert_id("e1"), "a conflict changes nothing");
}

async fn a_disabled_binding_takes_no_integration(url: &str) {
    let store = store(url).await;
    store.create_integration(&integration("r"), &note("integration.create")).await.unwrap();
    let disabled = Trigger { is_enabled: false, ..trigger("e1", "r") };
    store.publish(&disabled, None, &note("trigger.publish")).await.unwrap();
    assert!(store.trigger_of(&integration_id("r")).await.unwrap().is_none());
    store.publish(&trigger("e2", "r"), None, &note("trigger.publish")).await.unwrap();
    let enabling = store.publish(&trigger("e1", "r"), None, &note("trigger.publish")).await;
    assert!(matches!(enabling, Err(Error::Conflict { .. })), "{enabling:?}");
}

async fn runtimes_read_back_as_they_were_written(url: &str) {
    let store = store(url).await;
    let xpert = Runtime {
        kind: RuntimeKind::Xpert {
            base_url: "https://xpert.example/api".to_owned(),
            api_key: Secret::new("key"),
            organization_id: Some("org".to_owned()),
        },
        ..callback("e")
    };
    let echo = Runtime { kind: RuntimeKind::Echo, lease: None, ..callback("e") };
    for runtime in [callback("e"), xpert, echo] {
        store.put_runtime(&runtime, &note("runtime.put")).await.unwrap();
        let read = store.runtime(&runtime.expert).await.unwrap().unwrap();
        assert_eq!(read.runtime, runtime);
    }
}

async fn secrets_are_sealed_and_a_rotated_key_still_opens_them(url: &str) {
    let store = store(url).await;
    let robot = integration("r");
    store.create_integration(&robot, &note("integration.create")).await.unwrap();
    store.put_runtime(&callback("e"), &note("runtime.put")).await.unwrap();
    let rotated = Config { master_key: key(2), ..config(url) };
    let without = Store::connect(&rotated).await.unwrap();
    let unopened = without.integration(&robot.id).await;
    assert!(matches!(unopened, Err(Error::Sealed(_))), "{unopened:?}");
    assert!(!format!("{unopened:?}").contains("client secret"));
    let rotating = Config { old_master_key: Some(key(1)), ..rotated.clone() };
    let rotating = Store::connect(&rotating).await.unwrap();
    assert_eq!(rotating.integration(&robot.id).await.unwrap().unwrap().integration, robot);
    assert_eq!(rotating.reseal().await.unwrap(), 4);
    assert_eq!(rotating.reseal().await.unwrap(), 0);
    let record = without.integration(&robot.id).await.unwrap().unwrap();
    assert_eq!(record.integration, robot);
    assert_eq!(without.runtime(&expert_id("e")).await.unwrap().unwrap().runtime, callback("e"));
}

async fn lists_go_on_where_they_stopped(url: &str) {
    let store = store(url).await;
    for number in 0..5 {
        let robot = format!("robot-{number}");
        store.create_integration(&integration(&robot), &note("create")).await.unwrap();
        let expert = format!("expert-{number}");
        store.publish(&trigger(&expert, &robot), None, &note("publish")).await.unwrap();
    }
    let mut page = Page { after: None, limit: 2 };
    let mut seen = Vec::new();
    loop {
        let rows = store.integrations(&page).await.unwrap();
        let Some(last) = rows.last() else { break };
        assert!(rows.len() <= 2);
        page.after = Some(last.integration.id.to_string());
        seen.extend(rows.into_iter().map(|row| row.integration.id.to_string()));
    }
    assert_eq!(seen, ["robot-0", "robot-1", "robot-2", "robot-3", "robot-4"]);
    let page = Page { after: Some("expert-3".to_owned()), limit: 2 };
    assert_eq!(store.triggers(&page).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_at_the_start() {
    let sqlite = Sqlite::fresh();
    let bad = Config { master_key: Secret::new("short"), ..config(sqlite.url()) };
    assert!(matches!(Store::connect(&bad).await.err(), Some(Error::Key(_))));
    let postgres = Postgres::fresh().await;
    let away = postgres.url().replace("/it_", "/never_");
    assert!(Store::connect(&config(&away)).await.is_err());
}
