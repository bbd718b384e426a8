//! What the pods counted, kept beyond their deaths: a SIGKILL takes a pod's counters with it.
//!
//! Each pod is read every second and right before it is killed, so at most what it counted in its last
//! second is unknown. When that second was is known too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dingtalk_trigger::context::Context;
use tokio::time::{MissedTickBehavior, interval};

const EVERY: Duration = Duration::from_secs(1);
const AMBIGUOUS: &str = "dt_ambiguous_sends_total";
const LOST_RUNS: &str = "dt_runs_lost_total";

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Counters {
    http: reqwest::Client,
    seen: Arc<Mutex<Seen>>,
}

struct Seen {
    health: Vec<String>,
    /// How often each pod was started.
    lives: Vec<u32>,
    /// The newest value of a counter in each life of each pod.
    newest: BTreeMap<(usize, u32, &'static str), f64>,
}

impl Counters {
    pub(crate) fn new(health: Vec<String>) -> Self {
        let lives = vec![0; health.len()];
        let http = reqwest::Client::builder().timeout(Duration::from_millis(500)).build();
        let seen = Seen { health, lives, newest: BTreeMap::new() };
        Self { http: http.expect("build a client"), seen: Arc::new(Mutex::new(seen)) }
    }

    pub(crate) fn follow(&self, context: &Context) {
        let (counters, task) = (self.clone(), context.clone());
        context.spawn(async move {
            let mut every = interval(EVERY);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = every.tick() => {}
                    () = task.stop().cancelled() => return,
                }
                counters.read_all().await;
            }
        });
    }

    pub(crate) fn began(&self, pod: usize) {
        self.lock().lives[pod] += 1;
    }

    pub(crate) async fn read_all(&self) {
        let pods = self.lock().lives.len();
        for pod in 0..pods {
            self.read(pod).await;
        }
    }

    /// A pod that does not answer keeps what was read before.
    pub(crate) async fn read(&self, pod: usize) {
        let (url, life) = {
            let seen = self.lock();
            (format!("http://{}/metrics", seen.health[pod]), seen.lives[pod])
        };
        let Ok(answer) = self.http.get(url).send().await else { return };
        let Ok(text) = answer.text().await else { return };
        for name in [AMBIGUOUS, LOST_RUNS] {
            let values = text.lines().filter_map(|line| line.strip_prefix(name));
            let value: f64 = values.filter_map(|rest| rest.trim().parse::<f64>().ok()).sum();
            let mut seen = self.lock();
            let newest = seen.newest.entry((pod, life, name)).or_default();
            *newest = newest.max(value);
        }
    }

    /// Sends whose outcome was unknown and that were repeated.
    pub(crate) fn ambiguous(&self) -> f64 {
        self.total(AMBIGUOUS)
    }

    /// Runs that the fence stopped.
    pub(crate) fn lost_runs(&self) -> f64 {
        self.total(LOST_RUNS)
    }

    fn total(&self, name: &str) -> f64 {
        let seen = self.lock();
        seen.newest.iter().filter(|(key, _)| key.2 == name).map(|(_, value)| value).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
