//! The admin token: `Authorization: Bearer …`.
//!
//! Guarantees that nothing behind it runs without the token, and that the comparison takes the same
//! time however much of it is right. That the token is long enough is checked with the settings.

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::problem::Problem;

pub(super) async fn require(
    State(state): State<super::State>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let header = request.headers().get(header::AUTHORIZATION);
    let given = header.and_then(|value| value.to_str().ok()).and_then(bearer).unwrap_or_default();
    // Digests are of one length, so the comparison does not tell how long the token is.
    let given = Sha256::digest(given);
    let expected = Sha256::digest(state.config.admin_token.expose());
    if bool::from(given.ct_eq(&expected)) {
        Ok(next.run(request).await)
    } else {
        Err(Problem::unauthorized())
    }
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
