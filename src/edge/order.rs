//! One conversation's publishes wait for each other within this process.
//!
//! Two messages of one person that arrive together must enter the log in the order of their arrival.
//! Guarantees that a conversation without a publish under way takes no memory, also when a waiting
//! request was given up.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::domain::id::Conversation;

/// Those who wait for a conversation, the first first.
type Waiting = VecDeque<oneshot::Sender<Turn>>;

/// Cheap to clone; all clones keep one order.
#[derive(Clone, Default)]
pub struct Order {
    /// Held conversations, each by its hash: where two have the same, one waits for the other.
    held: Arc<Mutex<BTreeMap<u64, Waiting>>>,
}

/// While it lives, nobody else publishes to the conversation.
pub struct Turn {
    order: Order,
    key: u64,
}

impl Order {
    pub async fn enter(&self, conversation: &Conversation) -> Turn {
        let mut hasher = DefaultHasher::new();
        conversation.key.hash(&mut hasher);
        let key = hasher.finish();
        let waits = match self.held().entry(key) {
            Entry::Vacant(free) => {
                free.insert(Waiting::new());
                None
            }
            Entry::Occupied(mut waiting) => {
                let (next, turn) = oneshot::channel();
                waiting.get_mut().push_back(next);
                Some(turn)
            }
        };
        let own = || Turn { order: self.clone(), key };
        match waits {
            None => own(),
            // Whoever holds it hands it on to all who wait.
            Some(turn) => turn.await.unwrap_or_else(|_| own()),
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<u64, Waiting>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next who still waits; where there is none, the conversation is free.
    fn next(&self, key: u64) -> Option<oneshot::Sender<Turn>> {
        let mut held = self.held();
        let waiting = held.get_mut(&key)?;
        while let Some(next) = waiting.pop_front() {
            if !next.is_closed() {
                return Some(next);
            }
        }
        held.remove(&key);
        None
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(next) = self.order.next(self.key) {
            // Who gives up at this moment drops it, as we do.
            drop(next.send(Self { order: self.order.clone(), key: self.key }));
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
        let mut third = Box::pin(order.enter(&a));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        // It was handed to the second, who does not come for it.
        drop(first);
        drop(second);
        drop(third.now_or_never().expect("it was handed on"));
        let mut fourth = Box::pin(order.enter(&a));
        let mut fifth = Box::pin(order.enter(&a));
        let held = fourth.as_mut().now_or_never().expect("it is free");
        assert!(fifth.as_mut().now_or_never().is_none());
        drop(fifth);
        drop(held);
        drop(order.enter(&conversation("b")).await);
        assert!(order.held().is_empty());
    }
}
