//! The admin token, where it is checked: `Authorization: Bearer …`.
//!
//! Guarantees that the comparison takes the same time however much of a token is right, that guesses are counted and
//! logged, and that many of them are slow. That the token is long enough is checked with the settings.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::{Instant, sleep};

use crate::domain::secret::Secret;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::seldom::Seldom;

/// Refusals a second that are answered at once.
const REFUSED_MAX: u32 = 10;
const DELAY: Duration = Duration::from_millis(100);

/// Cheap to clone; all clones count together.
#[derive(Clone)]
pub struct Admin(Arc<Inner>);

struct Inner {
    /// `None`: no token is the right one.
    token: Option<Secret>,
    metrics: Arc<Metrics>,
    lines: Seldom,
    second: Mutex<(Instant, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    Right,
    Wrong,
    /// No bearer token at all.
    Nothing,
}

impl Admin {
    pub fn new(token: Option<Secret>, metrics: Arc<Metrics>) -> Self {
        let (lines, second) = (Seldom::new(Duration::from_secs(60)), (Instant::now(), 0));
        Self(Arc::new(Inner { token, metrics, lines, second: Mutex::new(second) }))
    }

    /// What the head of a request shows.
    pub async fn check(&self, headers: &HeaderMap) -> Shown {
        let Some(value) = headers.get(header::AUTHORIZATION) else { return Shown::Nothing };
        let given = value.to_str().ok().and_then(bearer).unwrap_or_default();
        if self.0.token.as_ref().is_some_and(|token| is_same(given, token.expose())) {
            return Shown::Right;
        }
        self.refused().await;
        Shown::Wrong
    }

    async fn refused(&self) {
        self.0.metrics.admin_refused.inc();
        if let Some(times) = self.0.lines.note() {
            tracing::warn!(times, "refused a wrong admin token");
        }
        if self.is_beyond() {
            sleep(DELAY).await;
        }
    }

    /// True for what comes above the number of a second.
    fn is_beyond(&self) -> bool {
        let mut second = self.0.second.lock().unwrap_or_else(PoisonError::into_inner);
        if second.0.elapsed() >= Duration::from_secs(1) {
            *second = (Instant::now(), 0);
        }
        second.1 = second.1.saturating_add(1);
        second.1 > REFUSED_MAX
    }
}

/// Digests are of one length, so the comparison does not tell how long the token is.
fn is_same(given: &str, expected: &str) -> bool {
    Sha256::digest(given).ct_eq(&Sha256::digest(expected)).into()
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(authorization: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, authorization.parse().unwrap())])
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_whole_token_is_right() {
        let admin = Admin::new(Some(Secret::new("sixteen letters!")), Arc::default());
        let cases = [
            ("Bearer sixteen letters!", Shown::Right),
            ("bearer  sixteen letters! ", Shown::Right),
            ("Bearer sixteen letters", Shown::Wrong),
            ("Basic sixteen letters!", Shown::Wrong),
            ("sixteen letters!", Shown::Wrong),
            ("Bearer ", Shown::Wrong),
        ];
        for (authorization, expected) in cases {
            assert_eq!(admin.check(&headers(authorization)).await, expected, "{authorization}");
        }
        assert_eq!(admin.check(&HeaderMap::new()).await, Shown::Nothing);
        let off = Admin::new(None, Arc::default());
        assert_eq!(off.check(&headers("Bearer sixteen letters!")).await, Shown::Wrong);
        assert_eq!(off.check(&headers("Bearer ")).await, Shown::Wrong);
    }

    #[tokio::test(start_paused = true)]
    async fn guesses_are_counted_and_slow_beyond_ten_a_second() {
        let metrics = Arc::<Metrics>::default();
        let admin = Admin::new(Some(Secret::new("sixteen letters!")), metrics.clone());
        let (start, wrong) = (Instant::now(), headers("Bearer wrong"));
        for _ in 0..10 {
            admin.check(&wrong).await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        admin.check(&wrong).await;
        assert_eq!(start.elapsed(), DELAY);
        assert_eq!(admin.check(&headers("Bearer sixteen letters!")).await, Shown::Right);
        assert_eq!(start.elapsed(), DELAY, "the right one is never slow");
        tokio::time::advance(Duration::from_secs(1)).await;
        let before = Instant::now();
        admin.check(&wrong).await;
        assert_eq!(before.elapsed(), Duration::ZERO);
        assert_eq!(metrics.admin_refused.get(), 12);
    }
}
