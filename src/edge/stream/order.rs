//! Lets what belongs to one conversation pass one at a time, in the order it arrived.
//!
//! A place in the line is taken without waiting, at the moment of arrival; whoever gives up a place, done
//! or not, lets the next one pass. Lines that are empty take no memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// All lines of a process; clones share them.
#[derive(Clone, Default)]
pub struct Order {
    lines: Arc<Mutex<Lines>>,
}

#[derive(Default)]
struct Lines {
    /// The last place of each line, and what tells that it was given up.
    tails: BTreeMap<String, (u64, oneshot::Receiver<()>)>,
    places: u64,
}

/// A place in a line.
pub struct Place {
    order: Order,
    key: String,
    number: u64,
    before: Option<oneshot::Receiver<()>>,
    /// Dropped with the place, which wakes the next.
    _given_up: oneshot::Sender<()>,
}

impl Order {
    pub fn enter(&self, key: String) -> Place {
        let (given_up, tail) = oneshot::channel();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.places += 1;
        let number = lines.places;
        let before = lines.tails.insert(key.clone(), (number, tail)).map(|(_, tail)| tail);
        Place { order: self.clone(), key, number, before, _given_up: given_up }
    }
}

impl Place {
    /// Waits until everyone before has given up their place.
    pub async fn reached(&mut self) {
        if let Some(before) = &mut self.before {
            // Nothing is ever sent: the error that the sender is gone is the signal.
            before.await.ok();
            self.before = None;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.order.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.tails.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            lines.tails.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn has_reached(place: &mut Place) -> bool {
        place.reached().now_or_never().is_some()
    }

    #[test]
    fn one_line_passes_in_order_and_lines_do_not_wait_for_each_other() {
        let order = Order::default();
        let mut first = order.enter("a".to_owned());
        let mut second = order.enter("a".to_owned());
        let mut third = order.enter("a".to_owned());
        let mut other = order.enter("b".to_owned());
        assert!(has_reached(&mut other));
        assert!(has_reached(&mut first));
        assert!(!has_reached(&mut second));
        drop(first);
        assert!(has_reached(&mut second) && !has_reached(&mut third));
        drop(second);
        assert!(has_reached(&mut third));
        drop((third, other));
        assert!(order.lines.lock().unwrap().tails.is_empty());
    }
}
