//! The tables of routing in memory, and how two readings of them differ.
//!
//! A trigger carries the organisation of its integration, whichever of the two was read last. A value that is
//! read again unchanged keeps its address, so that holders can compare by it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Change;
use crate::domain::binding::{Integration, Runtime, Trigger};
use crate::domain::id::{ExpertId, IntegrationId};

#[derive(Default)]
pub(super) struct Tables {
    pub(super) integrations: BTreeMap<IntegrationId, Arc<Integration>>,
    /// The enabled ones, by integration.
    pub(super) triggers: BTreeMap<IntegrationId, Arc<Trigger>>,
    pub(super) runtimes: BTreeMap<ExpertId, Arc<Runtime>>,
}

impl Tables {
    pub(super) fn put_integration(&mut self, id: &IntegrationId, row: Option<Integration>) {
        put(&mut self.integrations, id, row);
        let trigger = self.triggers.get(id).map(|trigger| (**trigger).clone());
        self.put_trigger(id, trigger);
    }

    /// With the organisation of its integration, which is known by now or comes with it later.
    pub(super) fn put_trigger(&mut self, id: &IntegrationId, row: Option<Trigger>) {
        let corp_id = self.integrations.get(id).and_then(|known| known.corp_id.clone());
        put(&mut self.triggers, id, row.map(|row| Trigger { corp_id, ..row }));
    }
}

pub(super) fn put<K: Ord + Clone, V: PartialEq>(
    map: &mut BTreeMap<K, Arc<V>>,
    id: &K,
    row: Option<V>,
) {
    match row {
        // An equal value keeps its address, so that holders can compare by it.
        Some(row) if map.get(id).is_some_and(|known| **known == row) => {}
        Some(row) => {
            map.insert(id.clone(), Arc::new(row));
        }
        None => {
            map.remove(id);
        }
    }
}

pub(super) fn differences(before: &Tables, after: &Tables) -> Vec<Change> {
    let integrations = differing(&before.integrations, &after.integrations);
    let triggers = differing(&before.triggers, &after.triggers);
    let runtimes = differing(&before.runtimes, &after.runtimes);
    integrations
        .into_iter()
        .map(Change::Integration)
        .chain(triggers.into_iter().map(Change::Trigger))
        .chain(runtimes.into_iter().map(Change::Runtime))
        .collect()
}

fn differing<K: Ord + Clone, V: PartialEq>(
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
) -> Vec<K> {
    let gone = before.keys().filter(|id| !after.contains_key(id));
    let new = after.iter().filter(|(id, row)| before.get(id) != Some(row)).map(|(id, _)| id);
    gone.chain(new).cloned().collect()
}
