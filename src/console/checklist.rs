//! The checklist of a trigger: what stands in the way of publishing, in English and Chinese.
//!
//! What is of level `warning` stands in nobody's way. Rule codes, fields and texts of the integration's rules are those that Xpert's users know.

use serde::Serialize;
use serde_json::{Value, json};

use super::problem::Problem;
use super::triggers::Draft;
use crate::domain::binding::{BusyPolicy, RuntimeKind};
use crate::domain::id::{ExpertId, IntegrationId};
use crate::io::runtime::can_steer;

const ERROR: &str = "error";
const WARNING: &str = "warning";
const CONFLICT: &str = "TRIGGER_DINGTALK_INTEGRATION_CONFLICT";
const SESSION_TIMEOUT_MAX_S: i64 = 604_800;
const SUMMARY_WINDOW_MAX_S: i64 = 600;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Item {
    pub(super) rule_code: &'static str,
    pub(super) field: &'static str,
    value: Value,
    level: &'static str,
    pub(super) message: Message,
}

#[derive(Debug, Serialize)]
pub(super) struct Message {
    #[serde(rename = "en_US")]
    pub(super) en_us: String,
    #[serde(rename = "zh_Hans")]
    zh_hans: String,
}

impl Item {
    pub(super) fn is_conflict(&self) -> bool {
        self.rule_code == CONFLICT
    }

    pub(super) fn is_warning(&self) -> bool {
        self.level == WARNING
    }

    fn new(
        rule_code: &'static str,
        field: &'static str,
        value: Value,
        words: (String, String),
    ) -> Self {
        let message = Message { en_us: words.0, zh_hans: words.1 };
        Self { rule_code, field, value, level: ERROR, message }
    }

    fn required() -> Self {
        let words = ("DingTalk integration is required".to_owned(), "需要选择钉钉集成".to_owned());
        Self::new("TRIGGER_DINGTALK_INTEGRATION_REQUIRED", "integrationId", json!(""), words)
    }

    pub(super) fn not_found(id: &str) -> Self {
        let words = (
            format!("DingTalk integration \"{id}\" not found"),
            format!("钉钉集成 \"{id}\" 不存在"),
        );
        Self::new("TRIGGER_DINGTALK_INTEGRATION_NOT_FOUND", "integrationId", json!(id), words)
    }

    pub(super) fn conflict(id: &str) -> Self {
        let words = (
            format!("Integration \"{id}\" is already bound to another xpert"),
            format!("钉钉集成 \"{id}\" 已绑定到其他专家"),
        );
        Self::new(CONFLICT, "integrationId", json!(id), words)
    }

    /// The trigger works all the same: nothing is said into runs that cannot hear it.
    fn no_steering(kind: &RuntimeKind) -> Self {
        let kind = kind.as_str();
        let words = (
            format!(
                "A runtime of kind {kind} takes no messages while it answers, so \"steer\" acts like \
                 \"queue\"; register a runtime of kind xpert, or choose \"queue\" or \"interrupt\""
            ),
            format!(
                "{kind} 类型的运行时在回答期间不接收消息，因此 \"steer\" 等同于 \"queue\"；请注册 xpert \
                 类型的运行时，或选择 \"queue\" 或 \"interrupt\""
            ),
        );
        let steer = json!(BusyPolicy::Steer.as_str());
        let code = "TRIGGER_DINGTALK_STEER_UNSUPPORTED";
        Self { level: WARNING, ..Self::new(code, "busyPolicy", steer, words) }
    }

    fn session_timeout(value: i64) -> Self {
        let words = (
            format!("Session timeout must be between 1 and {SESSION_TIMEOUT_MAX_S} seconds"),
            format!("会话超时必须在 1 到 {SESSION_TIMEOUT_MAX_S} 秒之间"),
        );
        let code = "TRIGGER_DINGTALK_SESSION_TIMEOUT_OUT_OF_RANGE";
        Self::new(code, "sessionTimeoutSeconds", json!(value), words)
    }

    fn summary_window(value: i64) -> Self {
        let words = (
            format!("Summary window must be between 0 and {SUMMARY_WINDOW_MAX_S} seconds"),
            format!("汇总窗口必须在 0 到 {SUMMARY_WINDOW_MAX_S} 秒之间"),
        );
        let code = "TRIGGER_DINGTALK_SUMMARY_WINDOW_OUT_OF_RANGE";
        Self::new(code, "summaryWindowSeconds", json!(value), words)
    }
}

/// Everything found, the integration's rules first. A conflict found here is for people to read; the
/// database decides it.
pub(super) async fn check(
    state: &super::State,
    expert: Option<&ExpertId>,
    draft: &Draft,
) -> Result<Vec<Item>, Problem> {
    let mut items = Vec::new();
    let named = draft.integration_id.as_str();
    let integration = match IntegrationId::parse(named) {
        Ok(id) => state.store.integration(&id).await?,
        Err(_) => None,
    };
    match integration {
        _ if named.is_empty() => items.push(Item::required()),
        None => items.push(Item::not_found(named)),
        Some(record) if draft.is_enabled => {
            let bound = state.store.trigger_of(&record.integration.id).await?;
            if bound.is_some_and(|bound| Some(&bound.trigger.expert) != expert) {
                items.push(Item::conflict(named));
            }
        }
        Some(_) => {}
    }
    if !(1..=SESSION_TIMEOUT_MAX_S).contains(&draft.session_timeout_s) {
        items.push(Item::session_timeout(draft.session_timeout_s));
    }
    if !(0..=SUMMARY_WINDOW_MAX_S).contains(&draft.summary_window_s) {
        items.push(Item::summary_window(draft.summary_window_s));
    }
    if draft.busy_policy == BusyPolicy::Steer {
        let registered = match (expert, &draft.runtime) {
            (_, Some(kind)) => Some(kind.clone()),
            (Some(expert), None) => state.store.runtime(expert).await?.map(|row| row.runtime.kind),
            (None, None) => None,
        };
        // Who is not registered yet may turn out to be of either kind.
        items.extend(
            registered.filter(|kind| !can_steer(kind)).map(|kind| Item::no_steering(&kind)),
        );
    }
    Ok(items)
}
