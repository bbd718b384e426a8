//! The admin token: `Authorization: Bearer …`.
//!
//! Guarantees that nothing behind it runs without the token: a request is refused by its head, before its body
//! is read. How it is compared and how guesses are slowed is [`crate::io::admin`]'s.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use super::problem::Problem;
use crate::io::admin::Shown;

/// Refuses what a page in a browser asks under a name of its own.
pub(super) async fn meant(
    State(state): State<super::State>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if state.config.hosts.has(request.headers()) {
        Ok(next.run(request).await)
    } else {
        Err(Problem::misdirected())
    }
}

pub(super) async fn require(
    State(state): State<super::State>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    match state.config.admin.check(request.headers()).await {
        Shown::Right => Ok(next.run(request).await),
        Shown::Wrong | Shown::Nothing => Err(Problem::unauthorized()),
    }
}
