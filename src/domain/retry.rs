//! When to try again: a fixed schedule, with jitter derived from the turn so that a repeated decision
//! decides the same.
//!
//! What a runtime or DingTalk asks for by `Retry-After` wins where it is later. What is worth a retry
//! at all is decided by `turn`.

use std::time::Duration;

use super::id::TurnId;

/// The first attempt and the seven that the schedule allows after it.
pub const ATTEMPTS_MAX: u32 = 8;

/// Attempts at a send whose answer this release does not know: it may be DingTalk's own failure.
pub const UNKNOWN_ATTEMPTS_MAX: u32 = 3;

const SCHEDULE_S: [u64; 5] = [1, 5, 30, 120, 600];

const SOON_MIN: Duration = Duration::from_millis(50);
const SOON_MAX: Duration = Duration::from_secs(1);

/// How long to wait after the failed `attempt` (1 is the first), or `None` when attempts are spent.
/// `after` is what the other side asked for; it wins where it is longer, bounded by an hour.
pub fn backoff(turn: &TurnId, attempt: u32, after: Option<Duration>) -> Option<Duration> {
    if attempt >= ATTEMPTS_MAX {
        return None;
    }
    let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    let step = SCHEDULE_S.get(index).or(SCHEDULE_S.last()).copied().unwrap_or(1);
    let base = Duration::from_secs(step);
    // Up to a fifth more, so that turns which failed together do not return together.
    let jitter = base.mul_f64(0.2 * fraction(turn, attempt));
    let asked = after.unwrap_or_default().min(Duration::from_secs(3600));
    Some((base + jitter).max(asked))
}

/// The waits between two tries at what the broker may take again at any moment: soon at first, and ever more slowly
/// up to a second, because a stream that is full or has no leader may stay so for long.
pub fn soon() -> impl Iterator<Item = Duration> {
    let longer = |wait: &Duration| Some((*wait * 2).min(SOON_MAX));
    std::iter::successors(Some(SOON_MIN), longer)
}

/// A number in 0..1 from FNV-1a over the turn's name and the attempt.
fn fraction(turn: &TurnId, attempt: u32) -> f64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in turn.to_string().bytes().chain(attempt.to_be_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    f64::from(u32::try_from(hash >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_follow_the_schedule_and_end() {
        let turn: TurnId = "robot.abcdefghijklmnopqrstuvwx23.7".parse().unwrap();
        let waits: Vec<_> =
            (1..=ATTEMPTS_MAX).map(|attempt| backoff(&turn, attempt, None)).collect();
        for (wait, least) in waits.iter().zip([1, 5, 30, 120, 600, 600, 600]) {
            let wait = wait.unwrap();
            assert!(wait >= Duration::from_secs(least), "{wait:?} for {least}");
            assert!(wait <= Duration::from_secs(least).mul_f64(1.2), "{wait:?} for {least}");
        }
        assert_eq!(waits.last(), Some(&None));
        assert_eq!(backoff(&turn, 1, None), waits[0], "the same turn decides the same");
    }

    #[test]
    fn a_longer_wait_that_was_asked_for_wins_within_an_hour() {
        let turn: TurnId = "robot.abcdefghijklmnopqrstuvwx23.7".parse().unwrap();
        let asked = |s| backoff(&turn, 1, Some(Duration::from_secs(s))).unwrap().as_secs();
        assert_eq!(asked(0), 1);
        assert_eq!(asked(90), 90);
        assert_eq!(asked(90_000), 3600);
    }

    #[test]
    fn what_may_pass_at_any_moment_is_tried_soon_and_ever_more_slowly() {
        let waits: Vec<_> = soon().take(7).map(|wait| wait.as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000]);
    }
}
