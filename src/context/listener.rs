//! The HTTP listener of a role: bound before [`serve`] returns, served until its process stops.
//!
//! What is being answered when the process stops is answered to its end.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::ServiceExt;
use axum::extract::Request;
use axum::response::Response;
use tokio::net::TcpListener;
use tower_service::Service;

use super::Context;

/// `what` names the listener should it end by itself. Gives the address that was bound.
pub async fn serve<A>(
    context: &Context,
    address: &str,
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
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let stop = context.stop().clone();
    context.spawn(async move {
        let served = axum::serve(listener, app.into_make_service())
            .with_graceful_shutdown(async move { stop.cancelled().await })
            .await;
        if let Err(error) = served {
            tracing::error!(%error, what, "a listener ended");
        }
    });
    Ok(bound)
}
