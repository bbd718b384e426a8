//! `/api/triggers`: publishing, which binds an integration to an expert.
//!
//! The checklist is for people; whether an integration is free and there, the database decides in the
//! transaction that publishes. Unpublishing leaves the runtime: conversations that run still need it.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::body::{Body, Expert, Query};
use super::checklist::{self, Item};
use super::lists::{List, Paging, one_more};
use super::new_integration::one_of;
use super::problem::Problem;
use super::runtimes::{self, NewRuntime};
use super::views::{self, TriggerView};
use crate::domain::binding::{ActBy, BusyPolicy, QueuedNotice, RuntimeKind, Trigger};
use crate::domain::id::{ExpertId, IntegrationId};
use crate::io::routing::Change;
use crate::io::store::{Error, triggers};

const SESSION_TIMEOUT_S: i64 = 3600;
const SUMMARY_WINDOW_S: i64 = 0;
const ALLOWED_MAX: usize = 1000;
const ALLOWED_MAX_CHARS: usize = 256;

/// The body of `POST /api/triggers/validate`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Proposal {
    xpert_id: Option<String>,
    enabled: Option<bool>,
    integration_id: Option<String>,
    session_timeout_seconds: Option<i64>,
    summary_window_seconds: Option<i64>,
    busy_policy: Option<String>,
}

/// The body of `PUT /api/triggers/{xpertId}`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Publish {
    enabled: Option<bool>,
    integration_id: Option<String>,
    session_timeout_seconds: Option<i64>,
    summary_window_seconds: Option<i64>,
    busy_policy: Option<String>,
    queued_notice: Option<String>,
    allow_conversations: Option<Vec<String>>,
    allow_senders: Option<Vec<String>>,
    mention_asker: Option<bool>,
    act_by: Option<String>,
    runtime: Option<NewRuntime>,
}

/// What the checklist looks at, with the defaults filled in.
pub(super) struct Draft {
    pub(super) is_enabled: bool,
    pub(super) integration_id: String,
    pub(super) session_timeout_s: i64,
    pub(super) summary_window_s: i64,
    pub(super) busy_policy: BusyPolicy,
    /// What is registered in the same step.
    pub(super) runtime: Option<RuntimeKind>,
}

pub(super) async fn validate(
    State(state): State<super::State>,
    Body(proposal): Body<Proposal>,
) -> Result<Json<Value>, Problem> {
    let expert = proposal
        .xpert_id
        .filter(|id| !id.is_empty())
        .map(|id| ExpertId::parse(&id))
        .transpose()
        .map_err(|error| Problem::field("xpertId", error.to_string()))?;
    let draft = Draft {
        is_enabled: proposal.enabled.unwrap_or(true),
        integration_id: proposal.integration_id.unwrap_or_default(),
        session_timeout_s: proposal.session_timeout_seconds.unwrap_or(SESSION_TIMEOUT_S),
        summary_window_s: proposal.summary_window_seconds.unwrap_or(SUMMARY_WINDOW_S),
        busy_policy: busy_policy(proposal.busy_policy.as_deref())?,
        runtime: None,
    };
    let items = checklist::check(&state, expert.as_ref(), &draft).await?;
    Ok(Json(json!({ "items": items })))
}

pub(super) async fn publish(
    State(state): State<super::State>,
    Expert(expert): Expert,
    Body(body): Body<Publish>,
) -> Result<Json<Published>, Problem> {
    let runtime = match &body.runtime {
        Some(new) => Some(new.runtime(&expert, "runtime.")?),
        None => None,
    };
    let kind = runtime.as_ref().map(|runtime| runtime.kind.clone());
    let (trigger, warnings) = body.trigger(&state, &expert, kind).await?;
    let before = state.store.trigger(&expert).await?.map(|record| record.trigger.integration);
    let detail = json!({
        "integrationId": trigger.integration.as_str(),
        "enabled": trigger.is_enabled,
        "runtime": runtime.is_some(),
    });
    let note = state.note("trigger.publish", expert.as_str(), &detail);
    let id = trigger.integration.as_str();
    match state.store.publish(&trigger, runtime.as_ref(), &note).await {
        Ok(()) => {}
        Err(Error::Conflict { .. }) => return Err(Problem::checklist(vec![Item::conflict(id)])),
        Err(Error::Missing { .. }) => return Err(Problem::checklist(vec![Item::not_found(id)])),
        Err(error) => return Err(error.into()),
    }
    if let Some(before) = before.filter(|before| *before != trigger.integration) {
        state.routing.announce(Change::Trigger(before)).await;
    }
    state.routing.announce(Change::Trigger(trigger.integration.clone())).await;
    if let Some(runtime) = &runtime {
        runtimes::registered(&state, runtime).await?;
    }
    let Json(shown) = stored(&state, &expert).await?;
    Ok(Json(Published { shown, items: warnings }))
}

/// The binding, and what its publisher should know of it.
#[derive(Serialize)]
pub(super) struct Published {
    #[serde(flatten)]
    shown: TriggerView,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    items: Vec<Item>,
}

impl Publish {
    /// With the warnings of its checklist.
    async fn trigger(
        &self,
        state: &super::State,
        expert: &ExpertId,
        runtime: Option<RuntimeKind>,
    ) -> Result<(Trigger, Vec<Item>), Problem> {
        let draft = Draft {
            is_enabled: self.enabled.unwrap_or(true),
            integration_id: self.integration_id.clone().unwrap_or_default(),
            session_timeout_s: self.session_timeout_seconds.unwrap_or(SESSION_TIMEOUT_S),
            summary_window_s: self.summary_window_seconds.unwrap_or(SUMMARY_WINDOW_S),
            busy_policy: busy_policy(self.busy_policy.as_deref())?,
            runtime,
        };
        let queued_notice =
            self.queued_notice.as_deref().unwrap_or(QueuedNotice::Reaction.as_str());
        let act_by = self.act_by.as_deref().unwrap_or(ActBy::Asker.as_str());
        let policy = (
            draft.busy_policy,
            one_of("queuedNotice", queued_notice, QueuedNotice::parse, QueuedNotice::WORDS)?,
            one_of("actBy", act_by, ActBy::parse, ActBy::WORDS)?,
        );
        let allow_conversations =
            allowed("allowConversations", self.allow_conversations.as_deref())?;
        let allow_senders = allowed("allowSenders", self.allow_senders.as_deref())?;
        let items = checklist::check(state, Some(expert), &draft).await?;
        // A conflict alone is left to the database: it may be gone by then.
        let (warnings, items): (Vec<_>, Vec<_>) = items.into_iter().partition(Item::is_warning);
        if items.iter().any(|item| !item.is_conflict()) {
            return Err(Problem::checklist(items));
        }
        let integration = IntegrationId::parse(&draft.integration_id)
            .map_err(|_| Problem::checklist(vec![Item::not_found(&draft.integration_id)]))?;
        let trigger = Trigger {
            expert: expert.clone(),
            integration,
            is_enabled: draft.is_enabled,
            session_timeout: seconds(draft.session_timeout_s),
            summary_window: seconds(draft.summary_window_s),
            // The store knows.
            former_window: None,
            busy_policy: policy.0,
            queued_notice: policy.1,
            allow_conversations,
            allow_senders,
            corp_id: None,
            mention_asker: self.mention_asker.unwrap_or(true),
            act_by: policy.2,
        };
        Ok((trigger, warnings))
    }
}

fn busy_policy(word: Option<&str>) -> Result<BusyPolicy, Problem> {
    let word = word.unwrap_or(BusyPolicy::Queue.as_str());
    one_of("busyPolicy", word, BusyPolicy::parse, BusyPolicy::WORDS)
}

fn seconds(number: i64) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(0))
}

fn allowed(field: &'static str, list: Option<&[String]>) -> Result<Vec<String>, Problem> {
    let list = list.unwrap_or_default();
    let is_valid = |id: &String| {
        (1..=ALLOWED_MAX_CHARS).contains(&id.chars().count()) && !id.chars().any(char::is_control)
    };
    if list.len() <= ALLOWED_MAX && list.iter().all(is_valid) {
        Ok(list.to_vec())
    } else {
        let message = format!(
            "{field} must hold at most {ALLOWED_MAX} ids of 1 to {ALLOWED_MAX_CHARS} characters"
        );
        Err(Problem::field(field, message))
    }
}

pub(super) async fn list(
    State(state): State<super::State>,
    Query(paging): Query<Paging>,
) -> Result<Json<List<TriggerView>>, Problem> {
    let page = paging.page()?;
    let rows = state.store.triggers(&one_more(&page)).await?;
    let experts: Vec<_> = rows.iter().map(|row| row.trigger.expert.to_string()).collect();
    let shown = try_join_all(rows.into_iter().map(|row| view(&state, row))).await?;
    let rows = experts.into_iter().zip(shown).collect();
    Ok(List::of(rows, page.limit, |(expert, _): &(String, _)| expert.clone(), |(_, shown)| shown))
}

/// A trigger with its runtime, as the routing has it.
pub(super) async fn view(
    state: &super::State,
    record: triggers::Record,
) -> Result<TriggerView, Problem> {
    let runtime = match state.routing.runtime(&record.trigger.expert).await? {
        Some(runtime) => Some(runtimes::view(state, &runtime).await),
        None => None,
    };
    Ok(views::trigger(record, runtime))
}

pub(super) async fn show(
    State(state): State<super::State>,
    Expert(expert): Expert,
) -> Result<Json<TriggerView>, Problem> {
    stored(&state, &expert).await
}

pub(super) async fn unpublish(
    State(state): State<super::State>,
    Expert(expert): Expert,
) -> Result<StatusCode, Problem> {
    let note = state.note("trigger.unpublish", expert.as_str(), &json!({}));
    let was = state.store.unpublish(&expert, &note).await.map_err(|error| match error {
        Error::Missing { .. } => absent(),
        other => other.into(),
    })?;
    state.routing.announce(Change::Trigger(was.integration)).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn stored(state: &super::State, expert: &ExpertId) -> Result<Json<TriggerView>, Problem> {
    let record = state.store.trigger(expert).await?.ok_or_else(absent)?;
    let runtime = match state.store.runtime(expert).await? {
        Some(row) => Some(runtimes::view(state, &row.runtime).await),
        None => None,
    };
    Ok(Json(views::trigger(record, runtime)))
}

fn absent() -> Problem {
    Problem::missing("TRIGGER_NOT_FOUND", "this xpert has no trigger")
}
