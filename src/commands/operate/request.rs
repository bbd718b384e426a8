//! From a command to its calls of the admin API.
//!
//! Pure: no call is made here. A command that is several calls lists them in order; what cannot be
//! asked for is refused before the first one.

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::arguments::{
    Binding, ConversationCommand, DeadCommand, IntegrationCommand, Narrow, NewIntegration,
    NewRuntime, Operate, Page, Pausable, RuntimeCommand, TriggerCommand,
};
use crate::ops::client::{part, query};

/// One call, and the columns of a list that it answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub method: Method,
    pub path: String,
    pub body: Option<Value>,
    pub columns: &'static [&'static str],
}

const INTEGRATIONS: &[&str] = &["id", "name", "mode", "clientId", "scope", "paused"];
const TRIGGERS: &[&str] = &["xpertId", "integrationId", "enabled", "summaryWindowSeconds"];
const ITEMS: &[&str] = &["level", "ruleCode", "field", "value"];
const CONVERSATIONS: &[&str] = &["key", "integrationId", "xpertId", "state", "lastActivityAt"];
const DEAD: &[&str] =
    &["id", "at", "stage", "reason", "integrationId", "xpertId", "turnId", "attempts", "state"];

/// Robots and triggers are few enough to be shown together, as many as the API gives at once.
const LIMIT_MAX: &str = "200";

/// The error says what is wrong with the arguments.
pub fn of(command: Operate) -> Result<Vec<Request>, String> {
    match command {
        Operate::Integration(command) => integration(command).map(one),
        Operate::Trigger(command) => Ok(one(trigger(command))),
        Operate::Runtime(command) => runtime(command).map(one),
        Operate::Conversation(command) => Ok(one(conversation(command))),
        Operate::Dead(command) => dead(command),
        Operate::Pause(what) => Ok(one(post(format!("{}/pause", pausable(&what)), None))),
        Operate::Resume(what) => Ok(one(post(format!("{}/resume", pausable(&what)), None))),
        Operate::Trace { integration, msg_id } => {
            let path = format!("/api/messages/{}/{}", part(&integration), part(&msg_id));
            Ok(one(get(path, &[])))
        }
        // Examined by many calls elsewhere.
        Operate::Doctor { .. } => Ok(vec![]),
    }
}

fn integration(command: IntegrationCommand) -> Result<Request, String> {
    let of = |id: &str| format!("/api/integrations/{}", part(id));
    Ok(match command {
        IntegrationCommand::Add(new) => {
            post("/api/integrations".to_owned(), Some(new_integration(*new)?))
        }
        IntegrationCommand::List(page) => {
            let path = format!("/api/integrations{}", query(&paged(&page, Some(LIMIT_MAX))));
            get(path, INTEGRATIONS)
        }
        IntegrationCommand::Show { id } => get(of(&id), &[]),
        IntegrationCommand::Test { id } => post(format!("{}/test", of(&id)), None),
        IntegrationCommand::Remove { id } => delete(of(&id)),
    })
}

fn new_integration(new: NewIntegration) -> Result<Value, String> {
    Ok(object([
        ("id", text(new.id)),
        ("name", json!(new.name)),
        ("mode", json!(new.mode)),
        ("clientId", json!(new.client_id)),
        ("clientSecret", secret(Some(new.client_secret))?),
        ("robotCode", text(new.robot_code)),
        ("callbackToken", secret(new.callback_token)?),
        ("callbackAesKey", secret(new.callback_aes_key)?),
        ("cardTemplateId", text(new.card_template_id)),
        ("language", text(new.language)),
        ("receiverId", text(new.receiver_id)),
        ("corpId", text(new.corp_id)),
        ("scope", text(new.scope)),
    ]))
}

fn trigger(command: TriggerCommand) -> Request {
    let of = |id: &str| format!("/api/triggers/{}", part(id));
    match command {
        TriggerCommand::Publish {
            binding,
            queued_notice,
            act_by,
            allow_conversations,
            allow_senders,
            mention_asker,
        } => {
            let path = of(&binding.xpert_id);
            let mut fields = bound(&binding);
            fields.push(("queuedNotice", text(queued_notice)));
            fields.push(("actBy", text(act_by)));
            fields.push(("allowConversations", list(allow_conversations)));
            fields.push(("allowSenders", list(allow_senders)));
            fields.push(("mentionAsker", json!(mention_asker)));
            let body = Some(object(fields));
            Request { method: Method::PUT, path, body, columns: &[] }
        }
        TriggerCommand::Validate(binding) => {
            let mut fields = bound(&binding);
            fields.push(("xpertId", json!(binding.xpert_id)));
            let path = "/api/triggers/validate".to_owned();
            Request { columns: ITEMS, ..post(path, Some(object(fields))) }
        }
        TriggerCommand::Show { xpert_id: Some(id), .. } => get(of(&id), &[]),
        TriggerCommand::Show { xpert_id: None, page } => {
            let path = format!("/api/triggers{}", query(&paged(&page, Some(LIMIT_MAX))));
            get(path, TRIGGERS)
        }
        TriggerCommand::Unpublish { xpert_id } => delete(of(&xpert_id)),
    }
}

fn bound(binding: &Binding) -> Vec<(&'static str, Value)> {
    let enabled = (binding.enabled || binding.disabled).then_some(binding.enabled);
    vec![
        ("enabled", json!(enabled)),
        ("integrationId", text(binding.integration.clone())),
        ("sessionTimeoutSeconds", json!(binding.session_timeout_seconds)),
        ("summaryWindowSeconds", json!(binding.summary_window_seconds)),
        ("busyPolicy", text(binding.busy_policy.clone())),
    ]
}

fn runtime(command: RuntimeCommand) -> Result<Request, String> {
    let of = |id: &str| format!("/api/runtimes/{}", part(id));
    Ok(match command {
        RuntimeCommand::Set(new) => {
            let path = of(&new.xpert_id);
            Request { method: Method::PUT, path, body: Some(new_runtime(new)?), columns: &[] }
        }
        RuntimeCommand::Remove { xpert_id } => delete(of(&xpert_id)),
    })
}

fn new_runtime(new: NewRuntime) -> Result<Value, String> {
    Ok(object([
        ("kind", json!(new.kind)),
        ("baseUrl", text(new.base_url)),
        ("apiKey", secret(new.api_key)?),
        ("organizationId", text(new.organization_id)),
        ("url", text(new.url)),
        ("secret", secret(new.secret)?),
        ("leaseSeconds", json!(new.lease_seconds)),
    ]))
}

fn conversation(command: ConversationCommand) -> Request {
    let path = "/api/conversations";
    match command {
        ConversationCommand::List { integration, xpert, search, page } => {
            let pairs = [
                ("integrationId", integration.as_deref()),
                ("xpertId", xpert.as_deref()),
                ("q", search.as_deref()),
            ];
            let pairs = [pairs.as_slice(), &paged(&page, None)].concat();
            get(format!("{path}{}", query(&pairs)), CONVERSATIONS)
        }
        ConversationCommand::End { key: Some(key), .. } => delete(format!("{path}/{}", part(&key))),
        ConversationCommand::End { integration, xpert, .. } => {
            let pairs = [("integrationId", integration.as_deref()), ("xpertId", xpert.as_deref())];
            delete(format!("{path}{}", query(&pairs)))
        }
    }
}

fn dead(command: DeadCommand) -> Result<Vec<Request>, String> {
    let of = |id: &str| format!("/api/dead/{}", part(id));
    Ok(match command {
        DeadCommand::List { narrow, state, page } => {
            let mut pairs = narrowed(&narrow).to_vec();
            pairs.push(("state", state.as_deref()));
            pairs.extend(paged(&page, None));
            one(get(format!("/api/dead{}", query(&pairs)), DEAD))
        }
        DeadCommand::Show { id } => one(get(of(&id), &[])),
        DeadCommand::Replay { ids, narrow, all, dry_run } => {
            let pairs = narrowed(&narrow);
            let filter = object(pairs.map(|(name, value)| (name, json!(value))));
            let is_narrowed = pairs.iter().any(|(_, value)| value.is_some());
            let body = match (ids.is_empty(), is_narrowed || all) {
                (false, false) => json!({ "ids": ids, "dryRun": dry_run }),
                (true, true) => json!({ "filter": filter, "dryRun": dry_run }),
                _ => return Err("name ids, or narrow by options, or say --all".to_owned()),
            };
            one(post("/api/dead/replay".to_owned(), Some(body)))
        }
        DeadCommand::Drop { ids } => ids.iter().map(|id| delete(of(id))).collect(),
    })
}

fn narrowed(narrow: &Narrow) -> [(&'static str, Option<&str>); 6] {
    [
        ("stage", narrow.stage.as_deref()),
        ("integrationId", narrow.integration.as_deref()),
        ("xpertId", narrow.xpert.as_deref()),
        ("reason", narrow.reason.as_deref()),
        ("since", narrow.since.as_deref()),
        ("until", narrow.until.as_deref()),
    ]
}

/// `limit` is how many where nobody says.
fn paged<'a>(page: &'a Page, limit: Option<&'a str>) -> [(&'static str, Option<&'a str>); 2] {
    [("limit", page.limit.as_deref().or(limit)), ("after", page.after.as_deref())]
}

fn pausable(what: &Pausable) -> String {
    match what {
        Pausable::Integration { id } => format!("/api/integrations/{}", part(id)),
        Pausable::Runtime { xpert_id } => format!("/api/runtimes/{}", part(xpert_id)),
    }
}

fn one(request: Request) -> Vec<Request> {
    vec![request]
}

fn get(path: String, columns: &'static [&'static str]) -> Request {
    Request { method: Method::GET, path, body: None, columns }
}

fn post(path: String, body: Option<Value>) -> Request {
    Request { method: Method::POST, path, body, columns: &[] }
}

fn delete(path: String) -> Request {
    Request { method: Method::DELETE, path, body: None, columns: &[] }
}

fn text(given: Option<String>) -> Value {
    given.map_or(Value::Null, Value::String)
}

fn list(given: Option<Vec<String>>) -> Value {
    json!(given.map(|list| list.into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>()))
}

/// The fields of a binding that publishing replaces, as they are stored.
const BINDING: &[&str] = &[
    "enabled",
    "integrationId",
    "sessionTimeoutSeconds",
    "summaryWindowSeconds",
    "busyPolicy",
    "queuedNotice",
    "actBy",
    "allowConversations",
    "allowSenders",
    "mentionAsker",
];

/// A publish that leaves what it does not say as it is `stored`.
pub fn over(stored: &Value, given: Value) -> Value {
    let kept =
        BINDING.iter().filter_map(|name| Some(((*name).to_owned(), stored.get(name)?.clone())));
    let mut fields: Map<_, _> = kept.collect();
    if let Value::Object(given) = given {
        fields.extend(given);
    }
    Value::Object(fields)
}

/// What begins with @ is read from that file, so that a secret need not stand in the shell's history.
fn secret(given: Option<String>) -> Result<Value, String> {
    let Some(given) = given else { return Ok(Value::Null) };
    let Some(path) = given.strip_prefix('@') else { return Ok(Value::String(given)) };
    let read = std::fs::read_to_string(path).map_err(|e| format!("cannot read {path}: {e}"))?;
    Ok(Value::String(read.trim().to_owned()))
}

/// Without what was not given.
fn object(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let given = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(given.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}
