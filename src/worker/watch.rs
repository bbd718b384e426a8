//! Control entries while a run works: hints wake the run of their conversation at once; a renewal asks
//! the log anyway, for hints that were lost.
//!
//! One subscription serves all runs of the worker.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use tokio::sync::Notify;

use crate::context::Context;
use crate::domain::id::Conversation;
use crate::io::nats::Nats;
use crate::protocol::subject;

type Watched = Arc<Mutex<BTreeMap<Conversation, Arc<Notify>>>>;

/// Cheap to clone; all clones share one subscription.
#[derive(Clone)]
pub struct Watch {
    watched: Watched,
}

/// Ends the watch of a conversation with its value.
pub struct Watching {
    watched: Watched,
    conversation: Conversation,
    hint: Arc<Notify>,
}

impl Watch {
    pub fn start(context: &Context, nats: &Nats) -> Self {
        let watch = Self { watched: Arc::default() };
        let (watched, client, stop) =
            (watch.watched.clone(), nats.client().clone(), context.stop().clone());
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
                let watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(hint) = watched.get(&conversation) {
                    hint.notify_one();
                }
            }
        });
        watch
    }

    pub fn conversation(&self, conversation: &Conversation) -> Watching {
        let hint = Arc::new(Notify::new());
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.insert(conversation.clone(), hint.clone());
        Watching { watched: self.watched.clone(), conversation: conversation.clone(), hint }
    }
}

impl Watching {
    pub async fn hinted(&self) {
        self.hint.notified().await;
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.get(&self.conversation).is_some_and(|hint| Arc::ptr_eq(hint, &self.hint)) {
            watched.remove(&self.conversation);
        }
    }
}
