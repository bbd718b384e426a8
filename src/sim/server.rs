//! Serves a router over real sockets, with one thing that `axum::serve` cannot do: a handler may ask
//! that its caller hears nothing, and the connection is cut without an answer.
//!
//! Guarantees that every connection ends when the process stops. Leaves what is answered to the router.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::Router;
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::context::Context;

/// Marks a response that is never sent: the connection is closed instead.
#[derive(Debug, Clone, Copy)]
pub struct Cut;

/// The answer of a handler that lets its caller wonder.
pub fn cut() -> Response {
    let mut response = ().into_response();
    response.extensions_mut().insert(Cut);
    response
}

/// A bound listener, so that its address is known before anything is served.
pub struct Bound {
    listener: TcpListener,
    pub address: SocketAddr,
}

impl Bound {
    /// `http://host:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

pub async fn bind(address: &str) -> std::io::Result<Bound> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    Ok(Bound { listener, address })
}

/// Serves until `stop`; connections that are open then are dropped.
pub fn serve(context: &Context, bound: Bound, router: Router, stop: CancellationToken) {
    let spawner = context.clone();
    context.spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = bound.listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let connection = connection(stream, router.clone(), stop.clone());
                    drop(spawner.spawn(connection));
                }
                Err(error) => tracing::warn!(%error, "simulated server could not accept"),
            }
        }
    });
}

#[derive(Debug, thiserror::Error)]
#[error("the connection was cut on purpose")]
struct CutOnPurpose;

async fn connection(stream: TcpStream, router: Router, stop: CancellationToken) {
    stream.set_nodelay(true).ok(); // without it answers are only slower
    let inner = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = inner.call(request);
        async move {
            let response = answer.await.unwrap_or_else(|never: Infallible| match never {});
            if response.extensions().get::<Cut>().is_some() {
                return Err(CutOnPurpose);
            }
            Ok(response)
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        outcome = served => if let Err(error) = outcome {
            // A caller that was killed, or gave up: of these there are hundreds where faults are tried.
            tracing::trace!(%error, "simulated server's connection ended");
        },
        () = stop.cancelled() => {}
    }
}
