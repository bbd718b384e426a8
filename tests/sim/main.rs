//! The simulation: the service's own decisions over a model of broker, pods, runtime and DingTalk, in
//! virtual time, through random histories of deaths, stalls, redeliveries, late answers, presses and
//! impatience.
//!
//! A history follows from its seed alone. One that failed once stays in the list.

mod acting;
mod asking;
mod broker;
mod oracle;
mod people;
mod rng;
mod run;
mod sending;
mod shell;
mod world;

use crate::world::{Bug, World};

const ACTS: u64 = 400;
/// Enough for CI; `DT_SIM_HISTORIES` asks for more.
const HISTORIES: u64 = 600;

/// Seeds that failed while the service was built.
const KEPT: [u64; 1] = [319];

fn check(seed: u64) -> World {
    let world = World::new(seed, None).run(ACTS);
    assert_eq!(world.oracle.violation, None, "seed {seed}");
    world
}

#[test]
fn no_history_breaks_an_invariant() {
    let histories = histories();
    let (mut steps, mut faults, mut doubled, mut rescued) = (0, 0, 0, 0);
    let (mut questions, mut presses) = (0, 0);
    for seed in 0..histories {
        let world = check(seed);
        steps += world.steps;
        faults += world.faults;
        doubled += world.oracle.doubled;
        presses += world.oracle.presses;
        questions += world.shown.len();
        rescued += world.rescued;
    }
    println!(
        "{histories} histories, {steps} steps, {faults} faults, {doubled} segments doubled and \
         counted, {presses} of {questions} questions answered by a press, {rescued} conversations brought back by the sweep"
    );
    assert!(faults > 0, "something went wrong in them");
}

#[test]
fn no_seed_fails_again() {
    for seed in KEPT {
        check(seed);
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let (one, other) = (World::new(7, None).run(ACTS), World::new(7, None).run(ACTS));
    assert_eq!((one.steps, one.now, one.faults), (other.steps, other.now, other.faults));
    assert_eq!(one.broker.log, other.broker.log);
}

#[test]
fn every_planted_bug_is_caught_by_its_invariant() {
    for (bug, invariant) in [
        (Bug::PositionMovedEarly, "I2"),
        (Bug::SlotIgnored, "I3"),
        (Bug::StaleAttemptAccepted, "I6"),
        (Bug::TimerLost, "I5"),
        (Bug::FollowForgotten, "I5"),
        (Bug::OfferTakenForRead, "I2"),
        (Bug::ReadForgotten, "I2"),
        (Bug::AnsweredEarly, "I1"),
        (Bug::DuplicateStored, "I2"),
        (Bug::SegmentPassedOver, "I4"),
        (Bug::LateAnswerSaid, "I4"),
        (Bug::UsedPressCounts, "question"),
        (Bug::SessionRevived, "session"),
        (Bug::RunLeft, "I3"),
        (Bug::ToldBeforeAsked, "question"),
    ] {
        let caught = (0..HISTORIES)
            .find_map(|seed| Some((seed, World::new(seed, Some(bug)).run(ACTS).oracle.violation?)));
        let (seed, violation) = caught.expect("the bug is caught");
        println!("{bug:?}: history {seed}: {violation}");
        assert!(violation.starts_with(invariant), "{bug:?}: {violation}");
    }
}

#[expect(clippy::disallowed_methods, reason = "the simulation's one setting")]
fn histories() -> u64 {
    let asked = std::env::var("DT_SIM_HISTORIES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(HISTORIES)
}
