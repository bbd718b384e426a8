//! A log line for what a stranger can cause as often as it likes: at most one in a while, with the number.
//!
//! Guarantees that each event is counted in exactly one line, or in none if no event follows it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

pub struct Seldom {
    every: Duration,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    said: Option<Instant>,
    since: u64,
}

impl Seldom {
    pub fn new(every: Duration) -> Self {
        Self { every, seen: Mutex::default() }
    }

    /// Counts an event. Gives the number since the last line if a line is due.
    pub fn note(&self) -> Option<u64> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.since += 1;
        let now = Instant::now();
        if seen.said.is_some_and(|said| now.saturating_duration_since(said) < self.every) {
            return None;
        }
        seen.said = Some(now);
        Some(std::mem::take(&mut seen.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn there_is_one_line_in_a_while_with_the_number_since_the_last() {
        let seldom = Seldom::new(Duration::from_secs(60));
        assert_eq!([seldom.note(), seldom.note(), seldom.note()], [Some(1), None, None]);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!([seldom.note(), seldom.note()], [Some(3), None]);
    }
}
