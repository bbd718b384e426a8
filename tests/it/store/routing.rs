//! The routing cache: known at once, known while SQL is away, told to other processes.
#![expect(clippy::unwrap_used, reason = "test bodies that run on both databases")]

use std::sync::Arc;
use std::time::Duration;

use dingtalk_trigger::context::{Clock, Context};
use dingtalk_trigger::domain::binding::Integration;
use dingtalk_trigger::io::routing::{Change, Routing};

use crate::store::{callback, expert_id, integration, integration_id, note, store, trigger};
use crate::support::nats::Nats;
use crate::support::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(30);

on_both!(
    routing_knows_at_once_what_this_process_changed,
    routing_answers_while_the_database_is_away,
    a_change_reaches_another_process_by_its_hint,
);

async fn routing_knows_at_once_what_this_process_changed(url: &str) {
    let store = store(url).await;
    let context = Context::new(Clock::system());
    let routing = Routing::start(&context, store.clone(), None).await.unwrap();
    let robot = integration("r");
    assert!(routing.integration(&robot.id).await.unwrap().is_none());
    store.create_integration(&robot, &note("create")).await.unwrap();
    let found = routing.integration(&robot.id).await.unwrap();
    assert_eq!(found.as_deref(), Some(&robot), "an unknown id is asked for each time");
    let mut changes = routing.changes();
    store.publish(&trigger("e", "r"), Some(&callback("e")), &note("publish")).await.unwrap();
    routing.announce(Change::Trigger(robot.id.clone())).await;
    assert_eq!(routing.trigger_of(&robot.id).as_deref(), Some(&trigger("e", "r")));
    let by_expert = routing.trigger_for(&expert_id("e"));
    assert_eq!(by_expert.as_deref(), Some(&trigger("e", "r")));
    assert_eq!(changes.recv().await.unwrap(), Change::Trigger(robot.id.clone()));
    let runtime = routing.runtime(&expert_id("e")).await.unwrap();
    assert_eq!(runtime.as_deref(), Some(&callback("e")));
    store.unpublish(&expert_id("e"), &note("unpublish")).await.unwrap();
    assert!(routing.trigger_of(&robot.id).is_some(), "nobody was told yet");
    assert!(routing.trigger_fresh(&robot.id).await.unwrap().is_none());
    assert_eq!(routing.integrations().len(), 1);
    assert!(context.finish(LIMIT).await);
}

async fn routing_answers_while_the_database_is_away(url: &str) {
    let store = store(url).await;
    let robot = integration("r");
    store.create_integration(&robot, &note("create")).await.unwrap();
    let context = Context::new(Clock::system());
    let routing = Routing::start(&context, store.clone(), None).await.unwrap();
    store.close().await;
    assert_eq!(routing.integration(&robot.id).await.unwrap().as_deref(), Some(&robot));
    assert_eq!(routing.integration_again(&robot.id).await.unwrap().as_deref(), Some(&robot));
    let unknown = routing.integration(&integration_id("other")).await;
    assert!(unknown.is_err_and(|error| error.is_unavailable()));
    assert!(context.finish(LIMIT).await);
}

async fn a_change_reaches_another_process_by_its_hint(url: &str) {
    let nats = Nats::start().await;
    let store = store(url).await;
    let robot = integration("r");
    store.create_integration(&robot, &note("create")).await.unwrap();
    let context = Context::new(Clock::system());
    let client = nats.client().await;
    let here = Routing::start(&context, store.clone(), Some(client)).await.unwrap();
    let there = Routing::start(&context, store.clone(), Some(nats.client().await)).await.unwrap();
    let there = Arc::new(there);
    let mut changes = there.changes();
    let read = store.integration(&robot.id).await.unwrap().unwrap();
    let next = Integration { name: "renamed".to_owned(), ..robot.clone() };
    store.update_integration(&read, &next, &note("update")).await.unwrap();
    let stale = there.integration(&robot.id).await.unwrap();
    assert_eq!(stale.as_deref(), Some(&robot));
    here.announce(Change::Integration(robot.id.clone())).await;
    assert_eq!(here.integration(&robot.id).await.unwrap().as_deref(), Some(&next));
    wait_until("the hint arrives", LIMIT, async || {
        there.integration(&robot.id).await.unwrap().as_deref() == Some(&next)
    })
    .await;
    assert_eq!(changes.recv().await.unwrap(), Change::Integration(robot.id.clone()));
    assert!(context.finish(LIMIT).await);
}
