//! Tells the fleet and the console how this pod's Stream connections are.
//!
//! A record goes out with each change, at once, and again every ten seconds, because it vanishes after
//! sixty; what could not be stored is tried again after a second. The metrics follow the same links.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::fleet::Links;
use super::link::View;
use crate::context::Context;
use crate::domain::id::IntegrationId;
use crate::io::live::Live;
use crate::protocol::live::{self as record, LinkState, link_key};
use crate::telemetry::metrics::ByIntegration;

const TTL: Duration = Duration::from_secs(60);
const REFRESH_EVERY: Duration = Duration::from_secs(10);
const RETRY_EVERY: Duration = Duration::from_secs(1);
const AT_ONCE: usize = 32;

pub struct Report {
    pub context: Context,
    pub live: Live,
    pub pod: String,
    pub links: Arc<Links>,
    pub changes: Arc<Notify>,
}

/// The last version that the broker confirmed, and when.
#[derive(Clone, Copy)]
struct Published {
    version: u64,
    at: Instant,
}

impl Report {
    pub async fn run(self) {
        let mut published: BTreeMap<IntegrationId, Published> = BTreeMap::new();
        loop {
            // Asked before the links are read: after a stop they are gone, and so are their records.
            let is_over = self.context.is_stopping() && self.views().is_empty();
            self.publish(&mut published).await;
            if is_over {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY_EVERY) => {}
                () = self.changes.notified() => {}
            }
        }
    }

    async fn publish(&self, published: &mut BTreeMap<IntegrationId, Published>) {
        let views = self.views();
        let gone: Vec<_> =
            published.keys().filter(|id| !views.contains_key(*id)).cloned().collect();
        for id in gone {
            let label = ByIntegration { integration: id.to_string() };
            self.context.metrics.stream_connected.remove(&label);
            self.context.metrics.stream_last_frame_seconds.remove(&label);
            if self.live.delete(&link_key(&id, &self.pod)).await.is_ok()
                || self.context.is_stopping()
            {
                published.remove(&id);
            }
        }
        let due = views.into_iter().filter(|(id, view)| {
            self.measure(id, view);
            published.get(id).is_none_or(|last| {
                last.version != view.version || last.at.elapsed() >= REFRESH_EVERY
            })
        });
        let due: Vec<_> = due.collect();
        let stored: Vec<_> =
            futures_util::stream::iter(due)
                .map(|(id, view)| async move {
                    self.store(&id, &view).await.then_some((id, view.version))
                })
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
        for (id, version) in stored.into_iter().flatten() {
            published.insert(id, Published { version, at: Instant::now() });
        }
    }

    async fn store(&self, id: &IntegrationId, view: &View) -> bool {
        let link = record::Link {
            pod: self.pod.clone(),
            state: view.state,
            since_ms: view.since.0,
            last_frame_at_ms: view.last_frame_at.map(|at| at.0),
            last_error: view.last_error.clone(),
        };
        let stored = self.live.put(&link_key(id, &self.pod), record::write(&link), TTL).await;
        if let Err(error) = &stored {
            tracing::debug!(%error, "stream state not stored");
        }
        stored.is_ok()
    }

    fn measure(&self, id: &IntegrationId, view: &View) {
        let label = ByIntegration { integration: id.to_string() };
        let is_connected = view.state == LinkState::Connected;
        self.context.metrics.stream_connected.get_or_create(&label).set(i64::from(is_connected));
        if let Some(at) = view.last_frame_at {
            let gauge = &self.context.metrics.stream_last_frame_seconds;
            gauge.get_or_create(&label).set(at.0 / 1000);
        }
    }

    fn views(&self) -> BTreeMap<IntegrationId, View> {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.iter().map(|(id, link)| (id.clone(), link.view())).collect()
    }
}
