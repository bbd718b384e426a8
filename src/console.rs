//! The admin API (contract 5): what operators configure, see and end.
//!
//! Guarantees that every call carries the admin token, that a field it does not know is refused by
//! name, that no answer holds a secret, and that each change has its line in the audit log. A change
//! is announced after its commit, so this process acts on it when the call answers.

mod auth;
mod body;
mod checklist;
mod conversations;
pub mod database;
mod dead;
mod history;
mod integrations;
mod links;
mod lists;
mod new_integration;
mod overview;
mod pauses;
mod probe;
mod problem;
mod runtimes;
mod selects;
mod status;
mod triggers;
mod views;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{delete, get, post, put};

use crate::context::{Context, listener};
use crate::domain::binding::Language;
use crate::io::admin::Admin;
use crate::io::egress::Egress;
use crate::io::gateway::Gateway;
use crate::io::live::Live;
use crate::io::log::Log;
use crate::io::nats::Nats;
use crate::io::routing::Routing;
use crate::io::store::Store;
use crate::io::store::audit::Note;
use crate::protocol::host::Hosts;

const BODY_MAX_BYTES: usize = 1024 * 1024;

#[derive(Clone)]
pub struct Config {
    /// `DT_CONSOLE_ADDR`.
    pub listener: listener::Config,
    /// `DT_ADMIN_TOKEN`.
    pub admin: Admin,
    /// `DT_CONSOLE_URL` and `DT_CONSOLE_HOSTS`.
    pub hosts: Hosts,
    /// `DT_PUBLIC_URL`: where DingTalk reaches the edge, without a slash at the end.
    pub public_url: String,
    /// `DT_DINGTALK_API_URL`, without a slash at the end.
    pub dingtalk_api_url: String,
    /// `DT_LANGUAGE`: of integrations that name none.
    pub language: Language,
}

/// What every call is given. Cheap to clone.
#[derive(Clone)]
pub struct State {
    pub context: Context,
    pub store: Store,
    pub routing: Routing,
    pub log: Log,
    pub nats: Nats,
    pub live: Live,
    pub gateway: Gateway,
    pub egress: Egress,
    pub config: Arc<Config>,
}

impl State {
    /// A line of the audit log for a change that happens now.
    fn note(&self, action: &'static str, subject: &str, detail: &serde_json::Value) -> Note {
        Note {
            at: self.context.clock.now(),
            actor: "admin-token".to_owned(),
            action,
            subject: subject.to_owned(),
            detail: detail.to_string(),
        }
    }

    fn callback_url(&self, integration: &str) -> String {
        format!("{}/api/dingtalk/webhook/{integration}", self.config.public_url)
    }
}

pub fn router(state: State) -> Router {
    let api = Router::new()
        .route("/api/integrations", get(integrations::list).post(integrations::create))
        .route(
            "/api/integrations/{id}",
            get(integrations::show).patch(integrations::update).delete(integrations::remove),
        )
        .route("/api/integrations/{id}/test", post(probe::test))
        .route("/api/integrations/{id}/status", get(status::show))
        .route("/api/integrations/{id}/pause", post(pauses::pause_integration))
        .route("/api/integrations/{id}/resume", post(pauses::resume_integration))
        .route("/api/triggers", get(triggers::list))
        .route("/api/triggers/validate", post(triggers::validate))
        .route(
            "/api/triggers/{id}",
            put(triggers::publish).get(triggers::show).delete(triggers::unpublish),
        )
        .route("/api/runtimes", get(runtimes::list))
        .route(
            "/api/runtimes/{id}",
            put(runtimes::register).get(runtimes::show).delete(runtimes::unregister),
        )
        .route("/api/runtimes/{id}/heartbeat", post(runtimes::heartbeat))
        .route("/api/runtimes/{id}/pause", post(pauses::pause_runtime))
        .route("/api/runtimes/{id}/resume", post(pauses::resume_runtime))
        .route("/api/conversations", get(conversations::list).delete(conversations::end_all))
        .route("/api/conversations/{key}", delete(conversations::end))
        .route("/api/conversations/{key}/timeline", get(history::timeline))
        .route("/api/messages/{integration}/{message}", get(history::trace))
        .route("/api/dead", get(dead::list))
        .route("/api/dead/replay", post(dead::replay::press))
        .route("/api/dead/{id}", get(dead::show).delete(dead::drop))
        .route("/api/status", get(overview::show))
        .route("/api/dingtalk/callback-config", get(selects::callback_config))
        .route("/api/dingtalk/integration-select-options", get(selects::integration_options))
        .fallback(problem::no_such_call)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES));
    api.layer(middleware::from_fn_with_state(state.clone(), auth::require))
        .layer(middleware::from_fn_with_state(state.clone(), auth::meant))
        .with_state(state)
}

/// Serves until the process stops, and `beside` on the same address, which asks for no admin token here;
/// the listener is bound before this returns.
pub async fn serve(state: State, beside: Router) -> std::io::Result<SocketAddr> {
    let (context, config) = (state.context.clone(), state.config.clone());
    listener::serve(&context, &config.listener, beside.merge(router(state)), "admin API").await
}
