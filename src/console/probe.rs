//! `POST /api/integrations/{id}/test`: is what was typed in right, tried for real.
//!
//! A check that fails is an answer, not an error of the call.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::body::{Id, absent};
use super::problem::Problem;
use crate::domain::binding::{Integration, Mode};
use crate::domain::id::IntegrationId;
use crate::io::probe;
use crate::protocol::callback::{Envelopes, Stamp};

const WORD: &[u8] = b"success";

#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    ok: bool,
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    message: String,
}

pub(super) async fn test(
    State(state): State<super::State>,
    Id(id): Id<IntegrationId>,
) -> Result<Json<Outcome>, Problem> {
    let record = state.store.integration(&id).await?.ok_or_else(absent::<IntegrationId>)?;
    let integration = record.integration;
    let mut checks = vec![token(&state, &integration).await];
    match integration.mode {
        Mode::Stream => checks.push(stream(&state, &integration).await),
        Mode::Http => {
            checks.push(callback_url(&state, &integration).await);
            checks.push(callback_keys(&state, &integration));
        }
    }
    Ok(Json(Outcome { ok: checks.iter().all(|check| check.ok), checks }))
}

async fn token(state: &super::State, integration: &Integration) -> Check {
    let secret = integration.client_secret.expose();
    let api_url = &state.config.dingtalk_api_url;
    let tried = probe::token(&state.egress, api_url, &integration.client_id, secret).await;
    check("token", "DingTalk gives a token for clientId and clientSecret", tried)
}

async fn stream(state: &super::State, integration: &Integration) -> Check {
    let tried = state.gateway.open(&integration.client_id, &integration.client_secret).await;
    let closed = match tried {
        Ok(mut socket) => {
            socket.close().await;
            Ok(())
        }
        Err(error) => Err(error),
    };
    check("stream", "a Stream connection was opened and closed", closed)
}

async fn callback_url(state: &super::State, integration: &Integration) -> Check {
    let url = state.callback_url(integration.id.as_str());
    let said = format!("{url} answers; enter it as the message address in DingTalk's console");
    check("callbackUrl", &said, probe::callback(&state.egress, &url).await)
}

fn callback_keys(state: &super::State, integration: &Integration) -> Check {
    let tried = round_trip(integration, &state.context.clock.now().0.to_string());
    check("callbackKeys", "callbackToken and callbackAesKey sign, encrypt and read back", tried)
}

fn round_trip(integration: &Integration, timestamp: &str) -> Result<(), &'static str> {
    let envelopes = Envelopes::of(integration)
        .ok_or("callbackToken or callbackAesKey is missing or invalid")?;
    let sealed = envelopes.encrypt(WORD, rand::random(), timestamp, "probe");
    let stamp = Stamp {
        signature: &sealed.msg_signature,
        timestamp: &sealed.timestamp,
        nonce: &sealed.nonce,
    };
    match envelopes.decrypt(&stamp, &sealed.encrypt) {
        Ok(opened) if opened == WORD => Ok(()),
        Ok(_) | Err(_) => Err("what was encrypted does not read back"),
    }
}

fn check<E: std::fmt::Display>(name: &'static str, said: &str, outcome: Result<(), E>) -> Check {
    match outcome {
        Ok(()) => Check { name, ok: true, message: said.to_owned() },
        Err(error) => Check { name, ok: false, message: error.to_string() },
    }
}
