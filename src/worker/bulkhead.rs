//! The bulkhead: an expert may use only a share of a worker's runs, so that one slow or broken expert
//! never starves the others.
//!
//! Who finds no place within a moment parks as busy; a place is given back when it is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::domain::id::ExpertId;

/// A run that finds its expert busy waits this long before it parks: parking costs the broker more
/// than a fast expert needs to become free.
const PATIENCE: Duration = Duration::from_millis(250);

#[derive(Clone)]
pub struct Bulkhead {
    share: usize,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    experts: Mutex<BTreeMap<ExpertId, Arc<Semaphore>>>,
    /// Experts that a run was turned away from since they last had a place.
    refused: Mutex<BTreeSet<ExpertId>>,
    freed: Notify,
}

/// A place among an expert's runs, free again with its value.
pub struct Place {
    expert: ExpertId,
    inner: Arc<Inner>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Bulkhead {
    /// `share`: runs of one expert at once in this worker.
    pub fn new(share: usize) -> Self {
        Self { share: share.max(1), inner: Arc::default() }
    }

    /// A place among the expert's runs, or `None`: it is busy.
    pub async fn enter(&self, expert: &ExpertId) -> Option<Place> {
        let places = {
            let mut experts = lock(&self.inner.experts);
            let new = || Arc::new(Semaphore::new(self.share));
            experts.entry(expert.clone()).or_insert_with(new).clone()
        };
        let Ok(Ok(permit)) = timeout(PATIENCE, places.acquire_owned()).await else {
            lock(&self.inner.refused).insert(expert.clone());
            return None;
        };
        Some(Place { expert: expert.clone(), inner: self.inner.clone(), permit: Some(permit) })
    }

    /// The experts that were busy and have a place again.
    pub async fn freed(&self) -> BTreeSet<ExpertId> {
        loop {
            self.inner.freed.notified().await;
            let freed = std::mem::take(&mut *lock(&self.inner.refused));
            if !freed.is_empty() {
                return freed;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.permit.take();
        if lock(&self.inner.refused).contains(&self.expert) {
            self.inner.freed.notify_one();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        assert_eq!(bulkhead.freed().await, BTreeSet::from([slow.clone()]));
        assert!(bulkhead.enter(&slow).await.is_some());
    }
}
