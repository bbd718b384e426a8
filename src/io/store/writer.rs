//! The one writer of the projections in a process: rows come in, statements of 100 rows go out.
//!
//! Guarantees that offering a row never waits and never fails a turn. While SQL is away rows wait in
//! a bounded queue; what no longer fits is dropped and counted, and the sweep repairs what lists show of
//! sessions. At the end of the process what was offered is written, as far as SQL answers.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;

use super::conversations::Session;
use super::messages::Trace;
use super::{Error, Store};
use crate::context::Context;
use crate::domain::id::ConversationKey;

const QUEUE_MAX: usize = 10_000;
const BATCH_MAX: usize = 100;
const BATCH_WAIT: Duration = Duration::from_millis(20);
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub enum Row {
    Conversation(Session),
    Message(Trace),
}

/// Cheap to clone; all clones feed one task.
#[derive(Clone)]
pub struct Writer {
    context: Context,
    rows: mpsc::Sender<Row>,
}

impl Writer {
    pub fn start(context: &Context, store: Store) -> Self {
        let (rows, queue) = mpsc::channel(QUEUE_MAX);
        context.spawn(run(context.clone(), store, queue));
        Self { context: context.clone(), rows }
    }

    pub fn offer(&self, row: Row) {
        if self.rows.try_send(row).is_err() {
            self.context.metrics.limit_breached("projection_queue");
        }
    }

    /// A row that is most likely stored already: it takes no room from those that are not.
    pub fn repair(&self, row: Row) {
        if self.rows.capacity() > QUEUE_MAX / 2 {
            self.offer(row);
        }
    }
}

async fn run(context: Context, store: Store, mut queue: mpsc::Receiver<Row>) {
    let mut rows = Vec::with_capacity(BATCH_MAX);
    loop {
        // Both arms are cancel safe: `recv_many` takes nothing unless it completes.
        tokio::select! {
            biased;
            count = queue.recv_many(&mut rows, BATCH_MAX) => {
                if count == 0 {
                    return;
                }
            }
            () = context.stop().cancelled() => queue.close(),
        }
        fill(&mut rows, &mut queue).await;
        let batch = Batch::from_rows(rows.drain(..));
        while let Err(error) = write(&store, &batch).await {
            tracing::warn!(%error, "projections wait for the database");
            if context.is_stopping() {
                return;
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }
}

/// Waits a little for more, so that one statement carries many.
async fn fill(rows: &mut Vec<Row>, queue: &mut mpsc::Receiver<Row>) {
    let until = tokio::time::Instant::now() + BATCH_WAIT;
    while !rows.is_empty() && rows.len() < BATCH_MAX && !queue.is_closed() {
        let space = BATCH_MAX - rows.len();
        match tokio::time::timeout_at(until, queue.recv_many(rows, space)).await {
            Ok(count) if count > 0 => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// Each row of a table once, the newest of several: a statement must not touch a row twice.
#[derive(Default)]
struct Batch {
    sessions: Vec<Session>,
    traces: Vec<Trace>,
}

impl Batch {
    fn from_rows(rows: impl Iterator<Item = Row>) -> Self {
        let mut sessions: BTreeMap<ConversationKey, Session> = BTreeMap::new();
        let mut traces: BTreeMap<_, Trace> = BTreeMap::new();
        for row in rows {
            match row {
                Row::Conversation(next) => merge_session(&mut sessions, next),
                Row::Message(mut next) => {
                    let id = (next.conversation.integration.clone(), next.msg_id.clone());
                    let before = traces.remove(&id).and_then(|before| before.turn);
                    next.turn = next.turn.or(before);
                    traces.insert(id, next);
                }
            }
        }
        Self { sessions: sessions.into_values().collect(), traces: traces.into_values().collect() }
    }
}

/// The rules of the upsert, for rows that meet before it.
fn merge_session(sessions: &mut BTreeMap<ConversationKey, Session>, mut next: Session) {
    let key = next.conversation.key.clone();
    if let Some(before) = sessions.get(&key) {
        if before.epoch > next.epoch {
            return;
        }
        if next.place_id.is_empty() {
            next.place_id.clone_from(&before.place_id);
            next.place_title.clone_from(&before.place_title);
            next.sender_id.clone_from(&before.sender_id);
            next.sender_name.clone_from(&before.sender_name);
        }
        if before.epoch == next.epoch {
            next.is_ended |= before.is_ended;
            next.last_activity = next.last_activity.max(before.last_activity);
        }
    }
    sessions.insert(key, next);
}

/// Fails only where trying again may help. A statement that is refused is written row by row, so
/// that one bad row costs itself alone.
async fn write(store: &Store, batch: &Batch) -> Result<(), Error> {
    match store.put_conversations(&batch.sessions).await {
        Err(Error::Refused(_)) => {
            for row in &batch.sessions {
                skip_refused(store.put_conversations(std::slice::from_ref(row)).await)?;
            }
        }
        outcome => outcome?,
    }
    match store.put_messages(&batch.traces).await {
        Err(Error::Refused(_)) => {
            for row in &batch.traces {
                skip_refused(store.put_messages(std::slice::from_ref(row)).await)?;
            }
        }
        outcome => outcome?,
    }
    Ok(())
}

fn skip_refused(outcome: Result<(), Error>) -> Result<(), Error> {
    match outcome {
        Err(error @ Error::Refused(_)) => {
            tracing::error!(%error, "a row of a projection was refused and is skipped");
            Ok(())
        }
        outcome => outcome,
    }
}
