//! When a Stream connection that ended is opened again. It never gives up.
//!
//! Waits grow from half a second to thirty without end, with jitter from the caller's seed, and start
//! over with the first frame of a connection. A connection that the other side closes within a minute
//! was kicked, whatever it carried: waits go on growing, so that two clients cannot kick each other in a loop.

use std::time::Duration;

const CEILING_FIRST_MS: u64 = 1_000;
const CEILING_LAST_MS: u64 = 30_000;
const KICKED_WITHIN: Duration = Duration::from_secs(60);
const CLOCK_JUMP_MS: u64 = 15_000;

/// How often in a row it went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reconnect {
    failures: u32,
    /// `failures` when the present connection was opened; what a kick goes on from.
    at_opening: u32,
}

/// What happened to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It could not be opened.
    Refused,
    Opened,
    /// Something came down it.
    Frame,
    /// The gateway announced the end of it.
    Disconnect {
        open_for: Duration,
    },
    /// The other side closed it, or the network did.
    Closed {
        open_for: Duration,
    },
    /// We gave it up: silence, or a jump of the clock.
    Dropped,
}

impl Reconnect {
    /// The next state, and how long to wait where the event calls for another connection.
    pub fn next(self, event: Event, seed: u64) -> (Self, Duration) {
        match event {
            Event::Opened => (Self { at_opening: self.failures, ..self }, Duration::ZERO),
            Event::Frame => (Self { failures: 0, ..self }, Duration::ZERO),
            Event::Refused | Event::Dropped => Self::failed(self.failures, seed),
            Event::Closed { open_for } if open_for < KICKED_WITHIN => {
                Self::failed(self.at_opening, seed)
            }
            Event::Closed { .. } => Self::failed(0, seed),
            // At once, unless this connection was itself opened after a failure a moment ago.
            Event::Disconnect { open_for } if open_for >= KICKED_WITHIN => {
                (Self::default(), Duration::ZERO)
            }
            Event::Disconnect { .. } if self.at_opening == 0 => {
                (Self { failures: 1, at_opening: 1 }, Duration::ZERO)
            }
            Event::Disconnect { .. } => Self::failed(self.at_opening, seed),
        }
    }

    fn failed(failures: u32, seed: u64) -> (Self, Duration) {
        let failures = failures.saturating_add(1);
        (Self { failures, at_opening: failures }, wait(failures, seed))
    }
}

/// Between half the ceiling and the ceiling, which doubles with each failure.
fn wait(failures: u32, seed: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(10);
    let ceiling = (CEILING_FIRST_MS << doublings).min(CEILING_LAST_MS);
    let half = ceiling / 2;
    Duration::from_millis(half + seed % (half + 1))
}

/// Whether the wall clock ran away from the monotonic one: the machine slept, and the other side has
/// long forgotten the connection.
pub fn is_clock_jump(wall_elapsed_ms: i64, elapsed: Duration) -> bool {
    let elapsed_ms = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
    wall_elapsed_ms.abs_diff(elapsed_ms) > CLOCK_JUMP_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(61);
    const SHORT: Duration = Duration::from_secs(59);

    /// The ceiling of the wait after the last event, in seconds.
    fn last_ceiling_s(events: &[Event]) -> f32 {
        let mut state = Reconnect::default();
        let mut longest = Duration::ZERO;
        for event in events {
            let floor = state.next(*event, 0).1;
            let (next, wait) = state.next(*event, wait_seed(floor));
            (state, longest) = (next, wait);
        }
        longest.as_secs_f32()
    }

    /// The seed that makes the wait as long as it can be.
    fn wait_seed(floor: Duration) -> u64 {
        u64::try_from(floor.as_millis()).unwrap()
    }

    #[test]
    fn the_wait_depends_on_what_happened() {
        use Event::{Closed, Disconnect, Dropped, Frame, Opened, Refused};
        let kicked = Closed { open_for: SHORT };
        let closed = Closed { open_for: LONG };
        let moved = Disconnect { open_for: LONG };
        let moved_early = Disconnect { open_for: SHORT };
        let cases: [(&str, &[Event], f32); 13] = [
            ("first refusal", &[Refused], 1.0),
            ("refusals double", &[Refused, Refused, Refused], 4.0),
            ("and stay below the last", &[Refused; 40], 30.0),
            ("opening alone does not reset", &[Refused, Refused, Opened, Dropped], 4.0),
            ("a frame does", &[Refused, Refused, Opened, Frame, Dropped], 1.0),
            ("a long connection starts over", &[Refused, Refused, Opened, closed], 1.0),
            ("a kick goes on growing", &[Refused, Opened, Frame, kicked], 2.0),
            ("and on", &[Opened, Frame, kicked, Opened, Frame, kicked, Opened, Frame, kicked], 4.0),
            ("a disconnect frame: at once", &[Refused, Opened, Frame, moved], 0.0),
            ("an early one: at once", &[Opened, Frame, moved_early], 0.0),
            ("a second early one: not", &[Opened, moved_early, Opened, Frame, moved_early], 2.0),
            ("refused after a disconnect", &[Opened, Frame, moved, Refused], 1.0),
            ("silence", &[Opened, Frame, Dropped], 1.0),
        ];
        for (name, events, expected) in cases {
            assert!((last_ceiling_s(events) - expected).abs() < 0.001, "{name}");
        }
    }

    #[test]
    fn every_wait_lies_between_half_a_second_and_thirty() {
        for failures in 1..50 {
            for seed in [0, 1, 12_345, u64::MAX / 2, u64::MAX] {
                let wait = wait(failures, seed);
                assert!(wait >= Duration::from_millis(500), "{failures} {seed}");
                assert!(wait <= Duration::from_secs(30), "{failures} {seed}");
            }
        }
    }

    #[test]
    fn a_clock_jump_is_a_difference_in_either_direction() {
        let ten = Duration::from_secs(10);
        for (wall_ms, expected) in
            [(10_000, false), (24_000, false), (26_000, true), (-6_000, true), (i64::MIN, true)]
        {
            assert_eq!(is_clock_jump(wall_ms, ten), expected, "{wall_ms}");
        }
    }
}
