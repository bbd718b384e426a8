//! Control entries while a run works: hints wake the run of their conversation at once.
//!
//! A hint that comes before the run is kept for it for a while. Hints may be lost: a renewal asks the log
//! anyway.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::context::Context;
use crate::domain::id::Conversation;
use crate::io::nats::Nats;
use crate::protocol::subject;

/// How long a hint is kept for a run that has not begun.
const KEPT: Duration = Duration::from_secs(30);
/// More than these are not kept: renewals find what they hinted at.
const KEPT_MAX: usize = 10_000;

type Shared = Arc<Mutex<Hints>>;

#[derive(Default)]
struct Hints {
    watched: BTreeMap<Conversation, Arc<Notify>>,
    /// Hints that nobody was there for.
    kept: BTreeMap<Conversation, Instant>,
}

impl Hints {
    fn came(&mut self, conversation: Conversation) {
        if let Some(hint) = self.watched.get(&conversation) {
            hint.notify_one();
            return;
        }
        if self.kept.len() >= KEPT_MAX {
            self.kept.retain(|_, at| at.elapsed() < KEPT);
        }
        if self.kept.len() < KEPT_MAX {
            self.kept.insert(conversation, Instant::now());
        }
    }

    fn watch(&mut self, conversation: &Conversation) -> Arc<Notify> {
        let hint = Arc::new(Notify::new());
        if self.kept.remove(conversation).is_some_and(|at| at.elapsed() < KEPT) {
            hint.notify_one();
        }
        self.watched.insert(conversation.clone(), hint.clone());
        hint
    }
}

/// Cheap to clone; all clones share one subscription.
#[derive(Clone)]
pub struct Watch {
    hints: Shared,
}

/// Ends the watch of a conversation with its value.
pub struct Watching {
    hints: Shared,
    conversation: Conversation,
    hint: Arc<Notify>,
}

impl Watch {
    pub fn start(context: &Context, nats: &Nats) -> Self {
        let watch = Self { hints: Arc::default() };
        let (shared, client, stop) =
            (watch.hints.clone(), nats.client().clone(), context.stop().clone());
        context.spawn(async move {
            let mut hints = match client.subscribe("dt.control.>").await {
                Ok(hints) => hints,
                Err(error) => {
                    tracing::warn!(%error, "no hints of control entries; renewals look for them");
                    return;
                }
            };
            loop {
                // Cancel safe: what is not taken stays in the subscription.
                let hint = tokio::select! {
                    () = stop.cancelled() => return,
                    hint = hints.next() => hint,
                };
                let Some(message) = hint else { return };
                let Some(conversation) = subject::conversation_of(&message.subject) else {
                    continue;
                };
                shared.lock().unwrap_or_else(PoisonError::into_inner).came(conversation);
            }
        });
        watch
    }

    pub fn conversation(&self, conversation: &Conversation) -> Watching {
        let hint = self.hints.lock().unwrap_or_else(PoisonError::into_inner).watch(conversation);
        Watching { hints: self.hints.clone(), conversation: conversation.clone(), hint }
    }
}

impl Watching {
    pub async fn hinted(&self) {
        self.hint.notified().await;
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut hints = self.hints.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = |hint: &Arc<Notify>| Arc::ptr_eq(hint, &self.hint);
        if hints.watched.get(&self.conversation).is_some_and(mine) {
            hints.watched.remove(&self.conversation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_hint_is_heard_by_the_run_it_came_before_and_not_by_a_much_later_one() {
        let conversation = Conversation {
            integration: "robot".parse().unwrap(),
            key: "a".repeat(26).parse().unwrap(),
        };
        let is_hinted = async |hint: Arc<Notify>| {
            tokio::time::timeout(Duration::from_millis(1), hint.notified()).await.is_ok()
        };
        let mut hints = Hints::default();
        hints.came(conversation.clone());
        assert!(is_hinted(hints.watch(&conversation)).await);
        assert!(!is_hinted(hints.watch(&conversation)).await, "once");
        hints.watched.clear();
        hints.came(conversation.clone());
        tokio::time::advance(KEPT).await;
        assert!(!is_hinted(hints.watch(&conversation)).await, "late");
    }
}
