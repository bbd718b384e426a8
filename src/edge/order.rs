//! One conversation's publishes wait for each other within this process.
//!
//! Two messages of one person that arrive together must enter the log in the order of their arrival.
//! Guarantees that a conversation without a publish under way takes no memory, also when a waiting
//! request was given up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::domain::id::{Conversation, ConversationKey};

/// Cheap to clone; all clones keep one order.
#[derive(Clone, Default)]
pub struct Order {
    /// By the key alone: the integration is in its hash.
    queues: Arc<Mutex<BTreeMap<ConversationKey, Queue>>>,
}

#[derive(Default)]
struct Queue {
    lock: Arc<tokio::sync::Mutex<()>>,
    /// How many hold it or wait for it.
    count: usize,
}

/// While it lives, nobody else publishes to the conversation.
pub struct Turn {
    // The guard goes first, so that the place is given up by someone who no longer holds it.
    _held: OwnedMutexGuard<()>,
    _place: Place,
}

/// A place among those who hold or wait.
struct Place {
    order: Order,
    key: ConversationKey,
}

impl Order {
    pub async fn enter(&self, conversation: &Conversation) -> Turn {
        let lock = {
            let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            let queue = queues.entry(conversation.key.clone()).or_default();
            queue.count += 1;
            queue.lock.clone()
        };
        // Made before the wait: a request that is given up while it waits leaves through it.
        let place = Place { order: self.clone(), key: conversation.key.clone() };
        Turn { _held: lock.lock_owned().await, _place: place }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut queues = self.order.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get_mut(&self.key) {
            queue.count -= 1;
            if queue.count == 0 {
                queues.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::IntegrationId;
    use crate::protocol::subject;
    use futures_util::FutureExt;

    fn conversation(id: &str) -> Conversation {
        subject::conversation(&IntegrationId::parse("robot").unwrap(), id, None)
    }

    #[tokio::test]
    async fn one_conversation_waits_and_another_does_not() {
        let (order, a) = (Order::default(), conversation("a"));
        let first = order.enter(&a).await;
        let mut second = Box::pin(order.enter(&a));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(order.enter(&conversation("b")).now_or_never().is_some());
        drop(first);
        assert!(second.now_or_never().is_some());
    }

    #[tokio::test]
    async fn those_who_wait_go_in_the_order_of_arrival() {
        let (order, a) = (Order::default(), conversation("a"));
        let first = order.enter(&a).await;
        let mut second = Box::pin(order.enter(&a));
        let mut third = Box::pin(order.enter(&a));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        assert!(third.as_mut().now_or_never().is_none());
        drop(second.await);
        assert!(third.now_or_never().is_some());
    }

    #[tokio::test]
    async fn nothing_is_left_behind_even_by_those_who_gave_up() {
        let (order, a) = (Order::default(), conversation("a"));
        let first = order.enter(&a).await;
        let mut second = Box::pin(order.enter(&a));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        drop(second);
        drop(order.enter(&conversation("b")).await);
        assert!(order.queues.lock().unwrap().is_empty());
    }
}
