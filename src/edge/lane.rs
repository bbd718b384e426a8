//! The lane of callbacks: most requests by far, and past everything that only the others need.
//!
//! A router takes a request apart for handlers of any kind and boxes each of its layers; a callback has
//! one handler and needs its integration's id. Whatever is not plainly one goes to the router, which has
//! the same handler and the last word on methods and spellings.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::response::Response;
use tower_service::Service;

use super::{Edge, webhook};

#[derive(Clone)]
pub(super) struct Lane {
    pub(super) edge: Arc<Edge>,
    pub(super) rest: Router,
}

impl Service<Request> for Lane {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // As axum's own: it is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if request.method() == Method::POST
            && let Some(id) = webhook::id(request.uri().path())
        {
            let edge = self.edge.clone();
            return Box::pin(async move { Ok(webhook::answer(&edge, Some(id), request).await) });
        }
        Box::pin(self.rest.call(request))
    }
}
