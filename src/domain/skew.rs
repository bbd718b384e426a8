//! How far another server's clock is from ours, from the whole seconds that its answers are stamped with.
//!
//! Each stamp narrows it; where two contradict each other a clock was set, and the last one counts. What
//! is closer than the clocks are known is said to be so. Whose answers are read is left to `io`.

use super::time::Timestamp;

/// An answer's stamp, with our time before it was asked for and after it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub sent: Timestamp,
    pub received: Timestamp,
    pub theirs: Timestamp,
}

/// Their time minus ours, in milliseconds: between these two, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skew {
    least: i64,
    most: i64,
}

/// When something of theirs happened, seen from a time of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Before,
    After,
    /// Closer than the clocks are known.
    Unsure,
}

const SECOND_MS: i64 = 1000;

impl Skew {
    pub const UNKNOWN: Self = Self { least: i64::MIN, most: i64::MAX };

    /// The stamp is a second cut off: their clock was between it and the next one.
    pub fn narrowed(self, stamp: Stamp) -> Self {
        let least = stamp.theirs.0.saturating_sub(stamp.received.0);
        let most = stamp.theirs.0.saturating_add(SECOND_MS).saturating_sub(stamp.sent.0);
        let narrowed = Self { least: self.least.max(least), most: self.most.min(most) };
        // Stamps that contradict each other tell of a clock that was set: the last one counts.
        if narrowed.least <= narrowed.most { narrowed } else { Self { least, most } }
    }

    pub fn order(self, theirs: Timestamp, ours: Timestamp) -> Order {
        let apart = theirs.0.saturating_sub(ours.0);
        match apart {
            _ if apart < self.least => Order::Before,
            _ if apart >= self.most => Order::After,
            _ => Order::Unsure,
        }
    }

    /// The order where it must be told: what is too close counts as after. Clocks of which nothing is
    /// known are taken for one.
    pub fn likely_order(self, theirs: Timestamp, ours: Timestamp) -> Order {
        let least = if self == Self::UNKNOWN { 0 } else { self.least };
        let apart = theirs.0.saturating_sub(ours.0);
        if apart < least { Order::Before } else { Order::After }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_of_whole_seconds_tell_what_happened_before_and_what_after() {
        use Order::{After, Before, Unsure};
        // Their clock is exactly an hour ahead; each row is our time, and 10 ms for an answer.
        const AHEAD: i64 = 3_600_000;
        let stamp = |at: i64| {
            let theirs = (at + 5 + AHEAD).div_euclid(1000) * 1000;
            Stamp { sent: Timestamp(at), received: Timestamp(at + 10), theirs: Timestamp(theirs) }
        };
        let event = |at: i64| Timestamp(at + AHEAD);
        let once = Skew::UNKNOWN.narrowed(stamp(10_500));
        let ours = Timestamp(10_000);
        for (at, order) in [(8_000, Before), (9_900, Unsure), (10_100, Unsure), (12_000, After)] {
            assert_eq!(once.order(event(at), ours), order, "{at}");
        }
        // Asked until the second has turned.
        let often = (10_500..11_100).step_by(50).map(stamp).fold(Skew::UNKNOWN, Skew::narrowed);
        for (at, order) in [(9_900, Before), (10_070, After), (12_000, After)] {
            assert_eq!(often.order(event(at), ours), order, "{at}");
        }
        assert_eq!(often.order(event(10_005), ours), Unsure);
        for (at, order) in [(9_980, Before), (10_000, After), (10_005, After)] {
            assert_eq!(often.likely_order(event(at), ours), order, "{at}");
            assert_eq!(Skew::UNKNOWN.likely_order(Timestamp(at), ours), order, "{at}");
        }
    }

    #[test]
    fn a_clock_that_was_set_counts_as_it_is_now() {
        let stamp = |theirs| Stamp {
            sent: Timestamp(10_000),
            received: Timestamp(10_000),
            theirs: Timestamp(theirs),
        };
        let skew = Skew::UNKNOWN.narrowed(stamp(10_000)).narrowed(stamp(90_000));
        assert_eq!(skew, Skew { least: 80_000, most: 81_000 });
    }
}
