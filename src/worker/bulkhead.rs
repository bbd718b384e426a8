//! The bulkhead: an expert may use only a share of a worker's runs, so that one slow or broken expert
//! never starves the others.
//!
//! A run that finds no permit within a moment parks as busy. If conversations of the expert wait in the
//! index, a freed permit is kept for the oldest of them: [`super::waker`] claims that conversation by
//! offering its slot, and its run finds the permit here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::domain::id::{Conversation, ExpertId, Seq};
use crate::domain::share::Share;

/// A run that finds its expert busy waits this long before it parks: parking costs the broker more
/// than a fast expert needs to become free.
const PATIENCE: Duration = Duration::from_millis(250);
/// Permits of one expert that are kept and not yet claimed. With a fast expert and a slow broker more
/// would stand idle; what is over goes to runs that are here already.
const KEPT_MAX: usize = 64;
/// A claim whose slot is not taken within this time lapses: its worker may have died. The slot stays
/// offered and runs without a permit of its own.
const CLAIM_MAX: Duration = Duration::from_secs(10);

/// Cheap to clone; all clones count together.
#[derive(Clone)]
pub struct Bulkhead {
    shared: Arc<Shared>,
}

struct Shared {
    share: Share,
    state: Mutex<State>,
    /// A permit was kept for the index.
    kept: Notify,
}

#[derive(Default)]
struct State {
    /// Permits given out, kept and claimed; so for each expert.
    used: usize,
    experts: BTreeMap<ExpertId, Expert>,
    claims: BTreeMap<Conversation, Claim>,
}

#[derive(Default)]
struct Expert {
    used: usize,
    /// Runs that wait here for a moment, in the order of their coming.
    queue: VecDeque<oneshot::Sender<()>>,
    /// When the last of them parks.
    queue_until: Option<Instant>,
    /// Conversations may wait in the index.
    has_waiting: bool,
    /// Kept for the index, and not yet claimed.
    kept: usize,
    is_claiming: bool,
    /// Entries of the index up to here are claimed, or cannot run now.
    cursor: Seq,
    /// The lowest entry that came back while claims are made: the cursor must not pass it.
    came_back: Option<Seq>,
    /// Counts the entries that came: a look at the index that began before one did not see it.
    version: u64,
}

struct Claim {
    expert: ExpertId,
    entry: Seq,
    at: Instant,
}

/// One permit of an expert, free again with its value.
pub struct Permit {
    expert: ExpertId,
    shared: Arc<Shared>,
}

/// Permits kept for the oldest conversations of an expert's index after `after`.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept {
    pub expert: ExpertId,
    pub count: usize,
    pub after: Seq,
    pub version: u64,
}

impl Bulkhead {
    pub fn new(share: Share) -> Self {
        let shared = Shared { share, state: Mutex::default(), kept: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// A permit for a run of `conversation`, or `None`: the expert is busy. A woken conversation finds the
    /// one that was kept for it.
    pub async fn enter(&self, conversation: &Conversation, expert: &ExpertId) -> Option<Permit> {
        let (mut turn, until) = {
            let mut state = self.shared.lock();
            if state.claims.get(conversation).is_some_and(|claim| claim.expert == *expert) {
                state.claims.remove(conversation);
                return Some(self.permit(expert));
            }
            if state.try_use(self.shared.share, expert) {
                return Some(self.permit(expert));
            }
            let waiting = state.expert(expert);
            // Behind runs that are about to park it parks after them, and not before.
            match (waiting.has_waiting, waiting.is_asked()) {
                (false, _) => waiting.queue_until = Some(Instant::now() + PATIENCE),
                (true, true) => {}
                (true, false) => return None,
            }
            let (sender, receiver) = oneshot::channel();
            waiting.queue.push_back(sender);
            (receiver, waiting.queue_until)
        };
        let until = until.unwrap_or_else(Instant::now);
        let given = matches!(timeout_at(until, &mut turn).await, Ok(Ok(())));
        // It may have been given in the moment that the wait ended.
        turn.close();
        (given || turn.try_recv().is_ok()).then(|| self.permit(expert))
    }

    /// The conversation is in the index at `entry`, because its expert was busy.
    pub fn parked(&self, expert: &ExpertId, entry: Seq) {
        let mut state = self.shared.lock();
        state.expert(expert).wait(Seq(entry.0.saturating_sub(1)));
        self.hand_on(&mut state);
    }

    /// Conversations of these experts are in the index: all of it is looked at again.
    pub fn look_again(&self, experts: impl IntoIterator<Item = ExpertId>) {
        let mut state = self.shared.lock();
        for expert in experts {
            state.expert(&expert).wait(Seq(0));
        }
        self.hand_on(&mut state);
    }

    /// Permits that wait for a claim, of experts whose index is not being claimed at the moment. For each of them
    /// [`Bulkhead::claimed_up_to`] or [`Bulkhead::none_waits`] must follow.
    pub async fn kept(&self) -> Vec<Kept> {
        loop {
            let kept = self.shared.lock().take_kept();
            if !kept.is_empty() {
                return kept;
            }
            self.shared.kept.notified().await;
        }
    }

    /// Binds a kept permit to the conversation whose slot is offered next. False: none is kept any more.
    pub fn claim(&self, expert: &ExpertId, conversation: &Conversation, entry: Seq) -> bool {
        let mut state = self.shared.lock();
        let waiting = state.expert(expert);
        if waiting.kept == 0 {
            return false;
        }
        waiting.kept -= 1;
        let claim = Claim { expert: expert.clone(), entry, at: Instant::now() };
        if let Some(before) = state.claims.insert(conversation.clone(), claim) {
            self.release(&mut state, &before.expert);
        }
        true
    }

    /// The slot was not to be had: its permit is kept for the next one.
    pub fn unclaim(&self, conversation: &Conversation, entry: Seq) {
        let mut state = self.shared.lock();
        if let Some(claim) = state.take_claim(conversation, entry) {
            state.expert(&claim.expert).kept += 1;
        }
    }

    /// The index was claimed up to this entry; more may follow.
    pub fn claimed_up_to(&self, expert: &ExpertId, entry: Seq) {
        let mut state = self.shared.lock();
        let waiting = state.expert(expert);
        waiting.is_claiming = false;
        waiting.cursor = waiting.came_back.take().map_or(entry, |low| low.min(entry));
        self.hand_on(&mut state);
        self.shared.kept.notify_one();
    }

    /// The index was empty behind the cursor when it was read, or the expert cannot be asked now: kept permits are free.
    pub fn none_waits(&self, kept: &Kept) {
        let mut state = self.shared.lock();
        let waiting = state.expert(&kept.expert);
        waiting.is_claiming = false;
        if waiting.version == kept.version {
            waiting.has_waiting = false;
            for _ in 0..std::mem::take(&mut waiting.kept) {
                self.release(&mut state, &kept.expert);
            }
        }
        self.hand_on(&mut state);
        self.shared.kept.notify_one();
    }

    /// A woken slot is here. If its permit is kept by another worker, or is no longer, it runs beside the
    /// share: never parked again for want of the permit that woke it.
    pub fn admit(&self, conversation: &Conversation, expert: &ExpertId, entry: Seq) {
        let mut state = self.shared.lock();
        if state.claims.contains_key(conversation) {
            return;
        }
        state.used += 1;
        state.expert(expert).used += 1;
        let claim = Claim { expert: expert.clone(), entry, at: Instant::now() };
        state.claims.insert(conversation.clone(), claim);
    }

    /// The woken run ended without its permit, or another worker has it.
    pub fn settle(&self, conversation: &Conversation, entry: Seq) {
        let mut state = self.shared.lock();
        if let Some(claim) = state.take_claim(conversation, entry) {
            self.release(&mut state, &claim.expert);
        }
    }

    /// Frees the permits of claims that no run took in time.
    pub fn lapse(&self) {
        let mut state = self.shared.lock();
        let late = |claim: &Claim| claim.at.elapsed() >= CLAIM_MAX;
        let lapsed: Vec<_> = state.claims.extract_if(.., |_, claim| late(claim)).collect();
        for (_, claim) in lapsed {
            self.release(&mut state, &claim.expert);
        }
    }

    fn permit(&self, expert: &ExpertId) -> Permit {
        Permit { expert: expert.clone(), shared: self.shared.clone() }
    }

    fn release(&self, state: &mut State, expert: &ExpertId) {
        state.give_back(expert);
        self.hand_on(state);
    }

    fn hand_on(&self, state: &mut State) {
        self.shared.hand_on(state);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives free permits to those who wait: the expert with the fewest runs first.
    fn hand_on(&self, state: &mut State) {
        while let Some(expert) = state.next_waiting(self.share) {
            state.used += 1;
            let waiting = state.expert(&expert);
            waiting.used += 1;
            if waiting.has_waiting {
                waiting.kept += 1;
                self.kept.notify_one();
            } else if waiting.queue.pop_front().is_none_or(|run| run.send(()).is_err()) {
                state.give_back(&expert);
            }
        }
    }
}

impl State {
    fn expert(&mut self, expert: &ExpertId) -> &mut Expert {
        self.experts.entry(expert.clone()).or_default()
    }

    fn try_use(&mut self, share: Share, expert: &ExpertId) -> bool {
        let of_all = self.used;
        let waiting = self.expert(expert);
        if !share.has_room(waiting.used, of_all) {
            return false;
        }
        waiting.used += 1;
        self.used += 1;
        true
    }

    fn give_back(&mut self, expert: &ExpertId) {
        self.used = self.used.saturating_sub(1);
        let waiting = self.expert(expert);
        waiting.used = waiting.used.saturating_sub(1);
        if waiting.is_idle() {
            self.experts.remove(expert);
        }
    }

    fn next_waiting(&self, share: Share) -> Option<ExpertId> {
        let waits = self.experts.iter().filter(|(_, expert)| {
            let wants = if expert.has_waiting { expert.kept < KEPT_MAX } else { expert.is_asked() };
            wants && share.has_room(expert.used, self.used)
        });
        waits.min_by_key(|(_, expert)| expert.used).map(|(id, _)| id.clone())
    }

    fn take_kept(&mut self) -> Vec<Kept> {
        let mut kept = vec![];
        for (id, expert) in &mut self.experts {
            if expert.kept == 0 || expert.is_claiming {
                continue;
            }
            expert.is_claiming = true;
            expert.came_back = None;
            let (count, after, version) = (expert.kept, expert.cursor, expert.version);
            kept.push(Kept { expert: id.clone(), count, after, version });
        }
        kept
    }

    fn take_claim(&mut self, conversation: &Conversation, entry: Seq) -> Option<Claim> {
        let is_it = self.claims.get(conversation).is_some_and(|claim| claim.entry == entry);
        is_it.then(|| self.claims.remove(conversation)).flatten()
    }
}

impl Expert {
    /// An entry waits behind `before`.
    fn wait(&mut self, before: Seq) {
        self.cursor = self.cursor.min(before);
        self.came_back = Some(self.came_back.map_or(before, |low| low.min(before)));
        self.has_waiting = true;
        self.version += 1;
    }

    fn is_asked(&self) -> bool {
        self.queue.iter().any(|run| !run.is_closed())
    }

    fn is_idle(&self) -> bool {
        self.used == 0 && !self.is_asked() && !self.has_waiting && !self.is_claiming
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.give_back(&self.expert);
        self.shared.hand_on(&mut state);
    }
}

#[cfg(test)]
mod tests;
