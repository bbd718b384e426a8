//! The command `bench`: runs scenarios and prints a line for each figure.
//!
//! Ends with code 1 where a figure misses what is asked, so that a script can judge; what is asked
//! stands with each scenario.

use super::Failure;
use super::process::say;
use crate::bench::{Scenario, run as measure};

/// Exit code 1 where a figure misses what is asked.
pub async fn run(scenarios: &[Scenario]) -> Result<(), Failure> {
    let chosen = if scenarios.is_empty() { Scenario::all() } else { scenarios };
    let mut is_missed = false;
    for scenario in chosen {
        for figure in measure(*scenario).await? {
            is_missed |= !figure.is_met();
            say(&figure.line());
        }
    }
    if is_missed { Err(Failure::Difference) } else { Ok(()) }
}
