//! The run that an earlier try of a turn may have started, where its name was never recorded.
//!
//! Runs carry the server's own time, so it is compared by the server's own clock: each answer is stamped
//! with it, in whole seconds. Where a second is too coarse, the server is asked until the next begins.

use std::time::Duration;

use tokio::time::sleep;

use crate::domain::answer::Failure;
use crate::domain::invocation::TurnRequest;
use crate::domain::skew::{Order, Skew};
use crate::domain::time::Timestamp;
use crate::io::runtime::Call;
use crate::protocol::xpert::Run;

use super::server::Server;

const ASK_EVERY: Duration = Duration::from_millis(50);
/// A second has turned by then, however slow the answers are.
const ASKS_MAX: u32 = 30;

/// The newest run that is not older than the turn. A thread has one run at a time, so it is this turn's
/// or there is none.
pub(super) async fn started_run(
    call: &Call<'_>,
    server: &Server<'_>,
    turn: &TurnRequest,
) -> Result<Option<String>, Failure> {
    let mut skew = Skew::UNKNOWN;
    for _ in 1..ASKS_MAX {
        let (runs, stamp) = server.runs_stamped(call, &turn.session.thread_id).await?;
        let Some(newest) = newest(runs) else { return Ok(None) };
        // Without a stamp the clocks are taken for one.
        let Some(stamp) = stamp else { return Ok(likely(Skew::UNKNOWN, newest, turn)) };
        skew = skew.narrowed(stamp);
        match skew.order(newest.0, turn.started_at) {
            Order::Before => return Ok(None),
            Order::After => return Ok(Some(newest.1)),
            Order::Unsure => sleep(ASK_EVERY).await,
        }
    }
    let runs = server.runs(call, &turn.session.thread_id).await?;
    Ok(newest(runs).and_then(|newest| likely(skew, newest, turn)))
}

fn newest(runs: Vec<Run>) -> Option<(Timestamp, String)> {
    runs.into_iter().filter_map(|run| Some((run.created_at?, run.id))).max()
}

fn likely(skew: Skew, (at, run): (Timestamp, String), turn: &TurnRequest) -> Option<String> {
    (skew.likely_order(at, turn.started_at) == Order::After).then_some(run)
}
