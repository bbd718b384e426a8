//! What every role is given: a clock, the metrics, the health board, the traces, and a way to start tasks that
//! shutdown waits for.
//!
//! Guarantees that a task started here is either awaited at the end or cancelled by the drain limit;
//! nothing runs that nobody waits for.

pub mod body;
pub mod files;
pub mod listener;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::time::Timestamp;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::{Outlet, Traces};

/// Cheap to clone; all clones belong to one process.
#[derive(Clone)]
pub struct Context {
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub traces: Traces,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Places for what computes for long.
    computing: Arc<Semaphore>,
}

impl Context {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            metrics: Arc::default(),
            health: Arc::default(),
            traces: Traces::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            computing: Arc::new(Semaphore::new(computing_max())),
        }
    }

    /// From here on spans are made, for whoever holds the outlet.
    pub fn trace(&mut self) -> Outlet {
        let (traces, outlet) = Traces::new(self.clock.clone(), self.metrics.clone());
        self.traces = traces;
        outlet
    }

    /// Starts a task that [`Context::finish`] waits for.
    #[expect(clippy::disallowed_methods, reason = "the one place where tasks start")]
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.tasks.track_future(task))
    }

    /// Runs work of more than a few milliseconds beside the threads that serve requests, so that a slow
    /// input costs its own run and not the requests. Half of the processors do such work at most.
    pub async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let _place = self.computing.acquire().await.context("wait for a place to compute")?;
        tokio::task::spawn_blocking(work).await.context("compute beside the requests")
    }

    /// Cancelled once the process is to take nothing new.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Tells every task to stop and waits for them, at most `limit`. True when all have ended.
    pub async fn finish(&self, limit: Duration) -> bool {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(limit, self.tasks.wait()).await.is_ok()
    }
}

fn computing_max() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get().div_ceil(2))
}

/// The time as the broker sees it: the system's, corrected by the offset that `io::nats` measures.
#[derive(Clone)]
pub struct Clock {
    offset_ms: Arc<AtomicI64>,
}

impl Clock {
    pub fn system() -> Self {
        Self { offset_ms: Arc::default() }
    }

    pub fn now(&self) -> Timestamp {
        let system = i64::try_from(system_time().as_millis()).unwrap_or(i64::MAX);
        Timestamp(system.saturating_add(self.offset_ms.load(Ordering::Relaxed)))
    }

    /// The same in nanoseconds, for what is measured.
    pub fn now_ns(&self) -> u64 {
        let system = u64::try_from(system_time().as_nanos()).unwrap_or(u64::MAX);
        let offset_ns = self.offset_ms.load(Ordering::Relaxed).saturating_mul(1_000_000);
        system.saturating_add_signed(offset_ns)
    }

    /// Broker time minus system time, in milliseconds.
    pub fn set_offset_ms(&self, offset: i64) {
        self.offset_ms.store(offset, Ordering::Relaxed);
    }

    pub fn offset_ms(&self) -> i64 {
        self.offset_ms.load(Ordering::Relaxed)
    }
}

/// Since 1970.
#[expect(clippy::disallowed_methods, reason = "the one place where the time is read")]
fn system_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
