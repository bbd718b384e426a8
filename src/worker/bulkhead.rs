//! The bulkhead: an expert may use only a share of a worker's runs, so that one slow or broken expert
//! never starves the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::domain::id::ExpertId;

/// A run that finds its expert busy waits this long before it parks: parking costs the broker more
/// than a fast expert needs to become free.
const PATIENCE: Duration = Duration::from_millis(250);

#[derive(Clone)]
pub struct Bulkhead {
    share: usize,
    experts: Arc<Mutex<BTreeMap<ExpertId, Arc<Semaphore>>>>,
}

impl Bulkhead {
    /// `share`: runs of one expert at once in this worker.
    pub fn new(share: usize) -> Self {
        Self { share: share.max(1), experts: Arc::default() }
    }

    /// A place among the expert's runs, or `None`: it is busy.
    pub async fn enter(&self, expert: &ExpertId) -> Option<OwnedSemaphorePermit> {
        let places = {
            let mut experts = self.experts.lock().unwrap_or_else(PoisonError::into_inner);
            experts
                .entry(expert.clone())
                .or_insert_with(|| Arc::new(Semaphore::new(self.share)))
                .clone()
        };
        timeout(PATIENCE, places.acquire_owned()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_busy_expert_does_not_take_the_place_of_another() {
        let bulkhead = Bulkhead::new(1);
        let (slow, quick) = (ExpertId::parse("slow").unwrap(), ExpertId::parse("quick").unwrap());
        let held = bulkhead.enter(&slow).await;
        assert!(held.is_some());
        assert!(bulkhead.enter(&slow).await.is_none());
        assert!(bulkhead.enter(&quick).await.is_some());
        drop(held);
        assert!(bulkhead.enter(&slow).await.is_some());
    }
}
