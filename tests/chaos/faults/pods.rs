//! What happens to the service's own processes and their lines to the broker.

use std::time::Duration;

use tokio::time::sleep;

use super::{one_of, pause};
use crate::fleet::{Fleet, Role};
use crate::proxy::Line;
use crate::support::env;
use crate::support::rng::Rng;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    Kill(Role),
    KillAllWorkers,
    /// Longer than `ack_wait`, then it goes on as if nothing had been.
    FreezeWorker,
    /// SIGTERM, as when a new release rolls out.
    Drain,
    /// No line to the broker.
    Cut,
    /// The lines stand and pass nothing, longer than `ack_wait`.
    Silence,
    /// A worker and an edge have another time than all others.
    Skew,
}

pub(crate) const ALL: [(&str, Fault); 9] = [
    ("edge killed", Fault::Kill(Role::Edge)),
    ("worker killed", Fault::Kill(Role::Worker)),
    ("console killed", Fault::Kill(Role::Console)),
    ("all workers killed", Fault::KillAllWorkers),
    ("worker frozen past ack_wait", Fault::FreezeWorker),
    ("worker and edge drained", Fault::Drain),
    ("pod cut off from NATS", Fault::Cut),
    ("pod's lines to NATS silent", Fault::Silence),
    ("clocks of two pods off by 90 s", Fault::Skew),
];

pub(crate) async fn strike(fleet: &mut Fleet, fault: Fault, rng: &mut Rng) {
    match fault {
        Fault::Kill(role) => {
            let pod = one_of(&fleet.of(role), rng);
            fleet.kill(pod).await;
            pause(rng, 100, 4000).await;
            fleet.start(pod, &[]);
            fleet.ready(pod).await;
        }
        Fault::KillAllWorkers => {
            let workers = fleet.of(Role::Worker);
            for pod in &workers {
                fleet.kill(*pod).await;
            }
            pause(rng, 100, 2000).await;
            for pod in &workers {
                fleet.start(*pod, &[]);
            }
            for pod in workers {
                fleet.ready(pod).await;
            }
        }
        Fault::FreezeWorker => {
            let pod = one_of(&fleet.of(Role::Worker), rng);
            fleet.program(pod).freeze();
            pause(rng, 16_000, 22_000).await;
            fleet.program(pod).thaw();
            fleet.ready(pod).await;
        }
        Fault::Drain => {
            for role in [Role::Worker, Role::Edge] {
                let pod = one_of(&fleet.of(role), rng);
                fleet.terminate(pod).await;
                fleet.start(pod, &[]);
                fleet.ready(pod).await;
            }
        }
        Fault::Cut => {
            let pod = one_of(&[fleet.of(Role::Worker), fleet.of(Role::Edge)].concat(), rng);
            fleet.set_line(pod, Line::Cut);
            pause(rng, 3000, 9000).await;
            fleet.set_line(pod, Line::Open);
            fleet.ready(pod).await;
        }
        Fault::Silence => {
            let pod = one_of(&[fleet.of(Role::Worker), fleet.of(Role::Edge)].concat(), rng);
            fleet.set_line(pod, Line::Silent);
            pause(rng, 16_000, 20_000).await;
            fleet.set_line(pod, Line::Open);
            fleet.ready(pod).await;
        }
        Fault::Skew => skew(fleet, rng).await,
    }
}

/// One pod ahead and one behind for a while.
async fn skew(fleet: &mut Fleet, rng: &mut Rng) {
    let worker = one_of(&fleet.of(Role::Worker), rng);
    let edge = one_of(&fleet.of(Role::Edge), rng);
    let offsets = if rng.once_in(2) { ["+90s", "-90s"] } else { ["-90s", "+90s"] };
    for (pod, offset) in [worker, edge].into_iter().zip(offsets) {
        fleet.kill(pod).await;
        fleet.start(pod, &shifted(offset));
    }
    for pod in [worker, edge] {
        fleet.ready(pod).await;
    }
    sleep(Duration::from_secs(10)).await;
    for pod in [worker, edge] {
        fleet.kill(pod).await;
        fleet.start(pod, &[]);
        fleet.ready(pod).await;
    }
}

/// The wall clock alone: timers count on the other one.
fn shifted(offset: &str) -> Vec<(String, String)> {
    let library = env::faketime().display().to_string();
    [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME", offset),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}
