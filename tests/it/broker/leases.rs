//! When a lease has lapsed, where the broker itself was away meanwhile.

use std::time::Duration;

use dingtalk_trigger::domain::binding::{Runtime, RuntimeKind};
use dingtalk_trigger::domain::id::ExpertId;
use dingtalk_trigger::io::lease;
use dingtalk_trigger::io::live::Live;

use super::{Broker, LIMIT};
use crate::support;
use crate::support::wait::wait_until;

const LEASE: Duration = Duration::from_secs(4);

#[tokio::test]
async fn a_lease_lapses_by_itself_but_not_before_a_heartbeat_could_have_reached_the_broker() {
    let mut server = support::nats::Nats::start().await;
    let broker = Broker::applied(server.url().to_owned(), 1).await;
    let live = Live::new(&broker.nats);
    let expert = ExpertId::parse("expert").expect("an id");
    let runtime = Runtime {
        expert: expert.clone(),
        kind: RuntimeKind::Echo,
        lease: Some(LEASE),
        is_paused: false,
    };
    let now = || broker.context.clock.now();
    lease::renew(&live, &expert, LEASE).await.expect("a heartbeat");
    let end = lease::expires_at(&live, &expert).await.expect("read it").expect("it is there");
    assert!(!lease::has_lapsed(&live, &runtime, now()).await.expect("ask"));
    server.kill();
    wait_until("the lease has run out", LIMIT, async || now() > end).await;
    let lapsed = lease::has_lapsed(&live, &runtime, now()).await.expect("it is known unasked");
    assert!(!lapsed, "nobody could renew it");
    server.restart().await;
    let mut is_spared = false;
    wait_until("it lapses by itself", LIMIT, async || {
        let alive = lease::is_alive(&live, &runtime, now()).await;
        let Ok(lapsed) = lease::has_lapsed(&live, &runtime, now()).await else { return false };
        assert!(
            !lapsed || live.reachable_for() >= LEASE,
            "the broker was not there for long enough"
        );
        is_spared |= alive.is_ok_and(|alive| !alive) && !lapsed;
        lapsed
    })
    .await;
    assert!(is_spared, "it had run out when the broker came back, and did not count as lapsed");
    lease::renew(&live, &expert, LEASE).await.expect("a heartbeat");
    assert!(!lease::has_lapsed(&live, &runtime, now()).await.expect("ask"), "it is back");
}
