//! How fast DingTalk may be spoken to: two pure meters whose state others keep.
//!
//! [`Bucket`] paces one API of one app: permits evenly spaced, half as fast when DingTalk complains,
//! slowly back to full speed. [`webhook`] paces one conversation's webhook: a few at once, and never
//! more in any minute than allowed. Times are the broker's.

use std::time::Duration;

use super::time::Timestamp;

/// A bucket never falls below this share of its full rate.
const SHARE_MIN: u16 = 50;
const SHARE_FULL: u16 = 1000;
/// This much of the full rate comes back with every step.
const SHARE_STEP: u16 = 100;
const RESTORE_EVERY_US: i64 = 10_000_000;
/// Complaints within this time are about the same burst.
const COMPLAINT_US: i64 = 1_000_000;

/// The state of one API of one app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// When the next permit is due, in microseconds.
    pub next_us: i64,
    /// The present share of the full rate, in thousandths.
    pub share: u16,
    /// When the share last changed, in microseconds.
    pub changed_us: i64,
}

impl Default for Bucket {
    fn default() -> Self {
        Self { next_us: 0, share: SHARE_FULL, changed_us: 0 }
    }
}

/// Permits taken from a bucket: `count` of them, `interval_us` apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    pub first_us: i64,
    pub interval_us: i64,
    pub count: u32,
}

impl Bucket {
    /// Takes up to `wanted` permits, at least one, worth at most `batch`, at a full rate of
    /// `rate_per_s`.
    pub fn reserve(
        self,
        now: Timestamp,
        rate_per_s: u32,
        wanted: u32,
        batch: Duration,
    ) -> (Self, Reservation) {
        let now_us = now.0.saturating_mul(1000);
        let bucket = self.restored(now_us);
        let interval_us = bucket.interval_us(rate_per_s);
        let batch_us = i64::try_from(batch.as_micros()).unwrap_or(i64::MAX);
        let most = u32::try_from(batch_us / interval_us).unwrap_or(u32::MAX).max(1);
        let count = wanted.clamp(1, most);
        let first_us = bucket.next_us.max(now_us);
        let next_us = first_us.saturating_add(interval_us.saturating_mul(i64::from(count)));
        (Self { next_us, ..bucket }, Reservation { first_us, interval_us, count })
    }

    /// How long until the next permit.
    pub fn wait(self, now: Timestamp) -> Duration {
        let wait_us = self.next_us.saturating_sub(now.0.saturating_mul(1000));
        Duration::from_micros(u64::try_from(wait_us).unwrap_or(0))
    }

    /// DingTalk complained: half the rate, and nothing for `pause`.
    pub fn slowed(self, now: Timestamp, pause: Duration) -> Self {
        let now_us = now.0.saturating_mul(1000);
        let bucket = self.restored(now_us);
        let pause_us = i64::try_from(pause.as_micros()).unwrap_or(i64::MAX);
        let next_us = bucket.next_us.max(now_us.saturating_add(pause_us));
        let is_same_burst =
            bucket.share < SHARE_FULL && now_us.saturating_sub(bucket.changed_us) < COMPLAINT_US;
        if is_same_burst {
            return Self { next_us, ..bucket };
        }
        Self { next_us, share: (bucket.share / 2).max(SHARE_MIN), changed_us: now_us }
    }

    fn restored(self, now_us: i64) -> Self {
        let steps = now_us.saturating_sub(self.changed_us) / RESTORE_EVERY_US;
        if self.share >= SHARE_FULL || steps < 1 {
            return self;
        }
        let gained = u16::try_from(steps).unwrap_or(u16::MAX).saturating_mul(SHARE_STEP);
        let share = self.share.saturating_add(gained).min(SHARE_FULL);
        let changed_us = self.changed_us.saturating_add(steps.saturating_mul(RESTORE_EVERY_US));
        Self { share, changed_us, ..self }
    }

    fn interval_us(self, rate_per_s: u32) -> i64 {
        let thousandths = i64::from(rate_per_s.max(1)).saturating_mul(i64::from(self.share.max(1)));
        (1_000_000_000 / thousandths).max(1)
    }
}

/// Takes one permit of a conversation's webhook. `state` is what the last permit returned. Gives the
/// next state, or how long to wait. A quarter of `per_minute` may be used at once.
pub fn webhook(
    state: Option<Timestamp>,
    now: Timestamp,
    per_minute: u32,
) -> Result<Option<Timestamp>, Duration> {
    if per_minute == 0 {
        return Ok(None);
    }
    // Any minute holds the burst and what flows in meanwhile; together they are the limit.
    let burst = i64::from((per_minute / 4).max(1));
    let flow = (i64::from(per_minute) - burst).max(1);
    let interval_ms = (60_000_i64).div_euclid(flow) + i64::from(60_000 % flow != 0);
    let due = state.map_or(now.0, |state| state.0.max(now.0));
    let allowed_at = due.saturating_sub(interval_ms.saturating_mul(burst - 1));
    if allowed_at > now.0 {
        return Err(Timestamp(allowed_at).since(now));
    }
    Ok(Some(Timestamp(due.saturating_add(interval_ms))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BATCH: Duration = Duration::from_millis(250);

    #[test]
    fn a_reservation_is_a_quarter_of_a_second_at_most() {
        let now = Timestamp(1_000);
        let (bucket, taken) = Bucket::default().reserve(now, 20, 100, BATCH);
        assert_eq!(taken, Reservation { first_us: 1_000_000, interval_us: 50_000, count: 5 });
        let (_, taken) = bucket.reserve(now, 20, 2, BATCH);
        assert_eq!(taken, Reservation { first_us: 1_250_000, interval_us: 50_000, count: 2 });
        let (_, taken) = Bucket::default().reserve(now, 1, 9, BATCH);
        assert_eq!(taken.count, 1, "a slow bucket still gives one");
        assert_eq!(bucket.wait(now), BATCH);
        assert_eq!(bucket.wait(Timestamp(9_000)), Duration::ZERO);
    }

    #[test]
    fn a_complaint_halves_the_rate_once_and_it_comes_back_slowly() {
        let at = |ms: i64| Timestamp(1_000_000 + ms);
        let pause = Duration::from_secs(1);
        let slow = Bucket::default().slowed(at(0), pause);
        assert_eq!(slow.share, 500);
        assert_eq!(slow.wait(at(0)), pause);
        assert_eq!(slow.slowed(at(900), pause).share, 500, "the same burst");
        assert_eq!(slow.slowed(at(1_100), pause).share, 250, "another one");
        let (_, taken) = slow.reserve(at(2_000), 20, 1, BATCH);
        assert_eq!(taken.interval_us, 100_000);
        for (ms, share) in
            [(9_999, 500), (10_000, 600), (49_999, 900), (50_000, 1000), (9_000_000, 1000)]
        {
            assert_eq!(slow.reserve(at(ms), 20, 1, BATCH).0.share, share, "{ms}");
        }
        let mut slowest = slow;
        for second in 1..20 {
            slowest = slowest.slowed(at(second * 1_100), pause);
        }
        assert_eq!(slowest.share, 50, "never nothing");
    }

    #[test]
    fn a_webhook_gives_a_few_at_once_and_then_waits() {
        let now = Timestamp(5_000_000);
        let mut state = None;
        for _ in 0..5 {
            state = webhook(state, now, 20).unwrap();
        }
        assert_eq!(webhook(state, now, 20), Err(Duration::from_secs(4)));
        assert!(webhook(state, Timestamp(now.0 + 4_000), 20).is_ok());
        assert_eq!(webhook(None, now, 0), Ok(None), "off");
    }

    proptest! {
        #[test]
        fn no_minute_holds_more_than_the_limit(
            limit in 1u32..60,
            gaps in proptest::collection::vec(0i64..9_000, 1..300),
        ) {
            let mut now = Timestamp(0);
            let mut state = None;
            let mut sent: Vec<i64> = Vec::new();
            for gap in gaps {
                now = Timestamp(now.0 + gap);
                if let Ok(next) = webhook(state, now, limit) {
                    state = next;
                    sent.push(now.0);
                }
            }
            for (index, start) in sent.iter().enumerate() {
                let inside = sent[index..].iter().filter(|at| **at < start + 60_000).count();
                prop_assert!(inside <= limit.max(2) as usize, "{} in a minute", inside);
            }
        }
    }
}
