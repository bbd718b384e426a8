//! What goes wrong, in four lanes that go on side by side: the pods, the servers they stand on, DingTalk
//! with the experts, and the Stream connections.
//!
//! A lane strikes one fault after the other, each once in an order that the seed shuffles, then all again
//! until the time is over. A fault has ended when what it broke is whole again; whether the service has
//! recovered by then is the oracle's to say.

pub(crate) mod pods;
pub(crate) mod servers;
pub(crate) mod outside;
pub(crate) mod streams;

use std::time::Duration;

use dingtalk_trigger::context::Clock;
use tokio::time::{Instant, sleep};

use crate::support::program::report;
use crate::support::rng::Rng;

/// A fault as it happened. Times are those of this machine, in milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Struck {
    pub(crate) name: &'static str,
    pub(crate) began: i64,
    pub(crate) ended: i64,
}

/// When a lane ends, and how long it rests at most between two faults.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) until: Instant,
    pub(crate) rest_ms: u64,
}

/// Strikes each of `faults` at least once.
pub(crate) async fn lane<F: Copy>(
    faults: &[(&'static str, F)],
    pace: Pace,
    seed: u64,
    mut strike: impl AsyncFnMut(F, &mut Rng),
) -> Vec<Struck> {
    let (clock, mut rng) = (Clock::system(), Rng(seed));
    let mut struck: Vec<Struck> = vec![];
    while struck.is_empty() || Instant::now() < pace.until {
        let is_first_round = struck.is_empty();
        for index in shuffled(faults.len(), &mut rng) {
            if !is_first_round && Instant::now() >= pace.until {
                break;
            }
            sleep(Duration::from_millis(rng.below(pace.rest_ms))).await;
            let (name, fault) = faults[index];
            let began = clock.now().0;
            strike(fault, &mut rng).await;
            let ended = clock.now().0;
            report(&format!("chaos: {name}: {:.1} s", seconds(ended - began)));
            struck.push(Struck { name, began, ended });
        }
    }
    struck
}

pub(crate) fn seconds(millis: i64) -> f64 {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0)).as_secs_f64()
}

/// Some time between two others.
pub(crate) async fn pause(rng: &mut Rng, least_ms: u64, most_ms: u64) {
    sleep(Duration::from_millis(least_ms + rng.below(most_ms - least_ms))).await;
}

fn shuffled(count: usize, rng: &mut Rng) -> Vec<usize> {
    let mut order: Vec<_> = (0..count).collect();
    for last in (1..count).rev() {
        let limit = u64::try_from(last + 1).expect("a small number");
        order.swap(last, usize::try_from(rng.below(limit)).expect("a small number"));
    }
    order
}

/// One of a list that is not empty.
pub(crate) fn one_of<T: Copy>(list: &[T], rng: &mut Rng) -> T {
    let count = u64::try_from(list.len()).expect("a small number");
    list[usize::try_from(rng.below(count)).expect("a small number")]
}
