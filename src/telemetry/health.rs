//! `/livez`, `/readyz` and `/metrics` of every role.
//!
//! Ready is a board of named reasons not to be: a role posts one when it lacks something and takes it
//! down again. Experts, triggers and Stream connections never post here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::json;

use crate::context::{Context, listener};

/// The reasons why this process is not ready, by what is missing.
#[derive(Default)]
pub struct Health {
    missing: Mutex<BTreeMap<&'static str, String>>,
}

impl Health {
    pub fn lacks(&self, what: &'static str, why: impl Into<String>) {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).insert(what, why.into());
    }

    pub fn has(&self, what: &'static str) {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).remove(what);
    }

    pub fn missing(&self) -> BTreeMap<&'static str, String> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Serves what `context` says of itself, also while it drains: until `life` stops, or the process ends.
pub async fn serve(
    context: &Context,
    life: &Context,
    listener: &listener::Config,
) -> std::io::Result<SocketAddr> {
    let app = Router::new()
        .route("/livez", get(async || "alive"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(context.clone()));
    listener::serve(life, listener, app, "health endpoint").await
}

async fn ready(State(context): State<Arc<Context>>) -> impl IntoResponse {
    let mut missing = context.health.missing();
    if context.is_stopping() {
        missing.insert("running", "the process is draining".to_owned());
    }
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": missing.is_empty(), "missing": missing })))
}

async fn metrics(State(context): State<Arc<Context>>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], context.metrics.render())
}
