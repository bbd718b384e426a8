//! What the admin API shows: JSON in camelCase, times in RFC 3339 and UTC.
//!
//! Guarantees that no secret is among it: of a secret only whether it is stored. The shapes are the
//! contract's and change with it alone.

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::domain::binding::{Integration, Runtime, RuntimeKind, Trigger};
use crate::domain::time::Timestamp;
use crate::io::store::{integrations, triggers};
use crate::protocol::mask;

pub(super) fn rfc3339(at: Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        // Only years beyond 9999 cannot be written.
        .unwrap_or_else(|| "9999-12-31T23:59:59Z".to_owned())
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IntegrationView {
    id: String,
    name: String,
    mode: &'static str,
    client_id: String,
    robot_code: Option<String>,
    card_template_id: Option<String>,
    language: &'static str,
    receiver_id: Option<String>,
    corp_id: Option<String>,
    scope: &'static str,
    paused: bool,
    callback_url: String,
    secrets: Secrets,
    created_at: String,
    updated_at: String,
}

/// Which secrets are stored.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Secrets {
    client_secret: bool,
    callback_token: bool,
    callback_aes_key: bool,
}

pub(super) fn integration(state: &super::State, record: integrations::Record) -> IntegrationView {
    let Integration { id, name, mode, client_id, robot_code, card_template_id, .. } =
        &record.integration;
    IntegrationView {
        id: id.to_string(),
        name: name.clone(),
        mode: mode.as_str(),
        client_id: client_id.clone(),
        robot_code: robot_code.clone(),
        card_template_id: card_template_id.clone(),
        language: record.integration.language.as_str(),
        scope: record.integration.scope.as_str(),
        paused: record.integration.is_paused,
        callback_url: state.callback_url(id.as_str()),
        secrets: Secrets {
            client_secret: true,
            callback_token: record.integration.callback_token.is_some(),
            callback_aes_key: record.integration.callback_aes_key.is_some(),
        },
        created_at: rfc3339(record.created_at),
        updated_at: rfc3339(record.updated_at),
        receiver_id: record.integration.receiver_id,
        corp_id: record.integration.corp_id,
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TriggerView {
    xpert_id: String,
    enabled: bool,
    integration_id: String,
    session_timeout_seconds: u64,
    summary_window_seconds: u64,
    busy_policy: &'static str,
    queued_notice: &'static str,
    allow_conversations: Vec<String>,
    allow_senders: Vec<String>,
    mention_asker: bool,
    act_by: &'static str,
    runtime: Option<RuntimeView>,
    created_at: String,
    updated_at: String,
}

pub(super) fn trigger(record: triggers::Record, runtime: Option<RuntimeView>) -> TriggerView {
    let Trigger { expert, integration, is_enabled, session_timeout, summary_window, .. } =
        &record.trigger;
    TriggerView {
        xpert_id: expert.to_string(),
        enabled: *is_enabled,
        integration_id: integration.to_string(),
        session_timeout_seconds: session_timeout.as_secs(),
        summary_window_seconds: summary_window.as_secs(),
        busy_policy: record.trigger.busy_policy.as_str(),
        queued_notice: record.trigger.queued_notice.as_str(),
        mention_asker: record.trigger.mention_asker,
        act_by: record.trigger.act_by.as_str(),
        runtime,
        created_at: rfc3339(record.created_at),
        updated_at: rfc3339(record.updated_at),
        allow_conversations: record.trigger.allow_conversations,
        allow_senders: record.trigger.allow_senders,
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RuntimeView {
    xpert_id: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    lease_seconds: Option<u64>,
    /// Whether it may be called: false where its lease has lapsed, null where the broker does not say.
    alive: Option<bool>,
    paused: bool,
    secrets: RuntimeSecrets,
}

/// Which secrets are stored; a kind has at most one of them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RuntimeSecrets {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    api_key: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    secret: bool,
}

pub(super) fn runtime(runtime: &Runtime, alive: Option<bool>) -> RuntimeView {
    let mut view = RuntimeView {
        xpert_id: runtime.expert.to_string(),
        kind: "echo",
        base_url: None,
        organization_id: None,
        url: None,
        lease_seconds: runtime.lease.map(|lease| lease.as_secs()),
        alive,
        paused: runtime.is_paused,
        secrets: RuntimeSecrets { api_key: false, secret: false },
    };
    match &runtime.kind {
        RuntimeKind::Xpert { base_url, organization_id, .. } => {
            view.kind = "xpert";
            view.base_url = Some(mask::address(base_url));
            view.organization_id.clone_from(organization_id);
            view.secrets.api_key = true;
        }
        RuntimeKind::Callback { url, .. } => {
            view.kind = "callback";
            view.url = Some(mask::address(url));
            view.secrets.secret = true;
        }
        RuntimeKind::Echo => {}
    }
    view
}
