//! Saying newer messages into the run at work.
//!
//! The server keeps what is said to a run at work until the run reads it, and then says so among the
//! run's events. What it does not read before its end it never does, and a message that found the run
//! ended is refused. So an offer is made once and its own answer decides nothing: the events do. Nothing
//! is offered behind what may not have arrived: the run would read it, and not what came before.

use std::convert::Infallible;
use std::future::pending;

use crate::domain::id::{Seq, TurnId};
use crate::domain::invocation::TurnRequest;
use crate::io::runtime::{Call, Fact, Steer};
use crate::protocol::xpert::{steer_body, steer_id};

use super::Joined;
use super::server::Server;

/// Runs beside the reading of the run, and ends with it.
pub(super) async fn steer(
    call: &Call<'_>,
    server: &Server<'_>,
    turn: &TurnRequest,
    joined: &Joined,
) -> Infallible {
    if joined.offered > turn.turn.last {
        // Offered by an earlier try, and not known to have arrived.
        return pending().await;
    }
    let mut offered = joined.offered;
    // Nobody else takes from this line while the turn is asked.
    let mut steers = call.line.steers.lock().await;
    while let Some(steer) = steers.recv().await {
        let Some((last, text)) = unsaid(steer, offered) else { continue };
        // On record before it is said: whoever goes on from there does not say it again.
        if call.learn(Fact::Run(joined.to_name(last))).await.is_err() {
            break;
        }
        offered = last;
        let name = steer_id(&TurnId { conversation: turn.turn.conversation.clone(), last });
        let body = steer_body(turn.expert.as_str(), &joined.run, &name, &text);
        if let Err(failure) = server.create_run(call, &turn.session.thread_id, &body).await {
            // It has its own turn if it was not read.
            tracing::debug!(reason = failure.reason.as_str(), "a message waits for the next turn");
            break;
        }
    }
    pending().await
}

/// What was not offered to the run before, as one text.
fn unsaid(steer: Steer, offered: Seq) -> Option<(Seq, String)> {
    let new: Vec<_> = steer.said.into_iter().filter(|(seq, _)| *seq > offered).collect();
    let (last, _) = new.last()?;
    let last = *last;
    let texts: Vec<_> = new.into_iter().map(|(_, text)| text).collect();
    Some((last, texts.join("\n")))
}
