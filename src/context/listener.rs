//! The HTTP listener of a role: one accept loop for all of them, with a limit on everything that a client
//! can keep.
//!
//! Guarantees that the address is bound before [`serve`] returns, that a connection which sends no complete
//! request in time is closed, that a listener never holds more than its connections, and that a stop closes
//! every connection whose request is not complete. A request that is complete is answered to its end: how
//! long an answer may take is decided by its route.

mod connection;
mod phase;
mod roster;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tower_service::Service;

use self::roster::Roster;
use super::Context;

/// How often the limits of time are looked at; they are that much inexact.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// After an error of the system, which most often lacks files.
const AFTER_ERROR: Duration = Duration::from_millis(50);

#[derive(Debug, Clone)]
pub struct Config {
    pub address: String,
    pub limits: Limits,
}

impl Config {
    /// With the default limits.
    pub fn new(address: &str) -> Self {
        Self { address: address.to_owned(), limits: Limits::default() }
    }
}

/// What one listener gives its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `DT_CONNECTIONS_MAX`, or `DT_HEALTH_CONNECTIONS_MAX` for the health listener.
    pub connections_max: usize,
    /// `DT_HEAD_TIMEOUT`: from the first byte of a request to the end of its head, and from a new
    /// connection to its first byte.
    pub head_timeout: Duration,
    /// `DT_RECEIVE_TIMEOUT`: from the first byte of a request to its last.
    pub receive_timeout: Duration,
    /// `DT_IDLE_TIMEOUT`: a connection between two requests.
    pub idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            head_timeout: Duration::from_secs(5),
            receive_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
        }
    }
}

/// `what` names the listener in the log. Gives the address that was bound.
pub async fn serve<A>(
    context: &Context,
    config: &Config,
    app: A,
    what: &'static str,
) -> std::io::Result<SocketAddr>
where
    A: Service<Request, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    let listener = TcpListener::bind(&config.address).await?;
    let bound = listener.local_addr()?;
    let roster = Arc::new(Roster::new(config.limits, context.metrics.clone(), what));
    let door = Door { context: context.clone(), roster, app, what };
    drop(context.spawn(door.keep(listener)));
    Ok(bound)
}

struct Door<A> {
    context: Context,
    roster: Arc<Roster>,
    app: A,
    what: &'static str,
}

impl<A> Door<A>
where
    A: Service<Request, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    /// Accepts until the process stops, then waits until the last connection is closed.
    async fn keep(self, listener: TcpListener) {
        let stop = self.context.stop().clone();
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // All three are cancel safe: what is not taken now is there the next time.
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.admit(stream),
                    Err(error) => {
                        tracing::debug!(%error, what = self.what, "failed to accept a connection");
                        self.roster.make_room();
                        sleep(AFTER_ERROR).await;
                    }
                },
                _ = look.tick() => self.roster.close_overdue(),
                () = stop.cancelled() => break,
            }
        }
        // From here on the system refuses new connections.
        drop(listener);
        self.roster.drain();
        while !self.roster.is_empty() {
            look.tick().await;
            self.roster.close_overdue();
        }
    }

    fn admit(&self, stream: TcpStream) {
        // Without a seat the stream is dropped, which closes it.
        let Some(seat) = self.roster.seat() else { return };
        stream.set_nodelay(true).ok(); // without it answers are only slower
        let stop = self.context.stop().clone();
        drop(self.context.spawn(connection::serve(stream, seat, self.app.clone(), stop)));
    }
}
