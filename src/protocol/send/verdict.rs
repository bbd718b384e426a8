//! What DingTalk's answer means for the message that it answers.
//!
//! DingTalk says 200 to much that it does not do; only what [`Verdict::Delivered`] stands for was
//! delivered. An answer that this release does not know is worth a few attempts: DingTalk documents
//! neither all its codes nor all its statuses.

use std::time::Duration;

use serde_json::Value;

use super::codes::{self, Class};
use crate::protocol::http::excerpt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// With the key that recalls it, if the API gives one.
    Delivered { query_key: Option<String> },
    /// For operators, `detail` is what DingTalk said.
    Failed { class: Class, detail: String },
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Webhook,
    Api,
}

/// An answer, taken apart once.
struct Answer<'a> {
    status: u16,
    /// `Retry-After`.
    after: Option<Duration>,
    body: &'a [u8],
    value: Option<Value>,
}

/// The answer of a session webhook: mostly 200, with the truth in `errcode`.
pub fn judge_webhook(status: u16, after: Option<Duration>, body: &[u8]) -> Verdict {
    Answer::new(status, after, body).judge(Route::Webhook)
}

/// The answer of `api.dingtalk.com`. `staff_id` is whom a direct message was for.
pub fn judge_api(
    status: u16,
    after: Option<Duration>,
    body: &[u8],
    staff_id: Option<&str>,
) -> Verdict {
    let answer = Answer::new(status, after, body);
    if let (200..300, Some(staff_id)) = (status, staff_id) {
        if answer.lists("flowControlledStaffIdList", staff_id) {
            return answer.failed(codes::FAST);
        }
        if answer.lists("invalidStaffIdList", staff_id)
            || answer.lists("filteredStaffIdList", staff_id)
        {
            return answer.failed(Class::Permanent(codes::Cause::Other));
        }
    }
    answer.judge(Route::Api)
}

/// The answer of a card's API.
pub fn judge_card(status: u16, after: Option<Duration>, body: &[u8]) -> Verdict {
    let answer = Answer::new(status, after, body);
    let code = answer.code().unwrap_or_default();
    // The template has no such variable: the same again would fail again.
    if status == 500 && code.eq_ignore_ascii_case("unknownError") {
        return answer.failed(Class::Template);
    }
    // A second update of one card within half a second, or while the first is under way.
    let is_known = answer.class().is_some() || answer.is_ban();
    if status == 403 && answer.value.is_some() && !is_known {
        return answer.failed(codes::FAST_CARD);
    }
    answer.judge(Route::Api)
}

impl<'a> Answer<'a> {
    fn new(status: u16, after: Option<Duration>, body: &'a [u8]) -> Self {
        Self { status, after, body, value: serde_json::from_slice(body).ok() }
    }

    fn judge(&self, route: Route) -> Verdict {
        if self.is_ban() {
            return self.failed(codes::BAN);
        }
        if let Some(class) = self.class() {
            return self.failed(class);
        }
        let is_success = (200..300).contains(&self.status);
        if is_success && self.is_done() {
            let query_key = self.text(&["processQueryKey"]).map(ToOwned::to_owned);
            return Verdict::Delivered { query_key };
        }
        self.failed(self.by_status(route))
    }

    fn failed(&self, class: Class) -> Verdict {
        let class = match (class, self.after) {
            (Class::Rate { scope, .. }, Some(after)) => Class::Rate { after, scope },
            (class, _) => class,
        };
        Verdict::Failed { class, detail: self.detail() }
    }

    /// Status and body, with the permissions first that the app lacks.
    fn detail(&self) -> String {
        let scopes = self.value.as_ref().and_then(|value| {
            let detail = ["accessdenieddetail", "accessDeniedDetail", "AccessDeniedDetail"];
            let detail = detail.iter().find_map(|name| value.get(name))?;
            detail.get("requiredScopes")?.as_array()
        });
        let scopes: Vec<_> = scopes.into_iter().flatten().filter_map(Value::as_str).collect();
        let said = excerpt(self.body);
        match scopes.join(", ") {
            scopes if scopes.is_empty() => format!("{}: {said}", self.status),
            scopes => format!("{} ({}): {said}", self.status, excerpt(scopes.as_bytes())),
        }
    }

    /// The page that meets an address which called too often.
    fn is_ban(&self) -> bool {
        self.value.as_ref().and_then(|value| value.get("status")).and_then(number) == Some(1111)
    }

    /// The class of the code in the body. `None`: the body has no code, or says success.
    fn class(&self) -> Option<Class> {
        let value = self.value.as_ref()?;
        let unknown = || self.by_phrase().unwrap_or(Class::Unknown { is_ambiguous: false });
        if let Some(code) = value.get("errcode").filter(|code| !code.is_null()) {
            return match number(code) {
                Some(0) => None,
                Some(88) => {
                    let names = ["sub_code", "subCode", "subcode"];
                    let sub_code = names.iter().find_map(|name| number(value.get(name)?));
                    Some(codes::authentication(sub_code))
                }
                code => Some(code.and_then(codes::by_number).unwrap_or_else(unknown)),
            };
        }
        let code = self.code()?;
        if let Some(class) = codes::by_word(code).or_else(|| self.by_phrase()) {
            return Some(class);
        }
        // Behind an error status, the status says more than a code that is not known.
        let is_success = (200..300).contains(&self.status);
        let is_fine = ["0", "200", "ok", "success"].iter().any(|it| code.eq_ignore_ascii_case(it));
        (is_success && !is_fine).then_some(Class::Unknown { is_ambiguous: false })
    }

    fn by_phrase(&self) -> Option<Class> {
        codes::by_phrase(self.text(&["errmsg", "message", "Message"])?)
    }

    fn code(&self) -> Option<&str> {
        self.text(&["code", "Code", "errorCode", "errCode"])
    }

    /// A body that says nothing else behind a 200: an object, nothing, or one plain word.
    fn is_done(&self) -> bool {
        match &self.value {
            Some(Value::Object(object)) => object.get("success") != Some(&Value::Bool(false)),
            Some(Value::String(word)) => is_yes(word),
            Some(Value::Bool(is_done)) => *is_done,
            Some(Value::Null | Value::Number(_) | Value::Array(_)) => false,
            None => std::str::from_utf8(self.body).is_ok_and(is_yes),
        }
    }

    fn by_status(&self, route: Route) -> Class {
        match (self.status, route) {
            (200..300, _) if self.value.is_some() => self.said_no(),
            // A page in place of an answer: the message may have passed, or met a proxy.
            (200..300, _) => codes::FAULT,
            (401, _) => Class::Token,
            (429, _) => codes::FAST,
            (503, _) => codes::BUSY,
            // What failed there may have failed behind the delivery.
            (500..600, _) => codes::FAULT,
            (408 | 409 | 425, _) => codes::BUSY,
            // A refusal that DingTalk did not write, e.g. the HTML of a proxy or of a ban.
            (403, _) if self.value.is_none() => codes::BAN,
            (400..500, Route::Webhook) => Class::Next(codes::Cause::Address),
            (400..500, Route::Api) => self.by_phrase().unwrap_or(UNKNOWN),
            _ => codes::BUSY,
        }
    }

    /// JSON behind a 200 that does not say success.
    fn said_no(&self) -> Class {
        match self.value {
            Some(Value::Object(_) | Value::Bool(_)) => UNKNOWN,
            _ => Class::Unknown { is_ambiguous: true },
        }
    }

    fn text(&self, names: &[&str]) -> Option<&str> {
        let value = self.value.as_ref()?;
        let found = names.iter().find_map(|name| value.get(name)?.as_str());
        found.filter(|text| !text.is_empty())
    }

    fn lists(&self, name: &str, staff_id: &str) -> bool {
        let list = self.value.as_ref().and_then(|value| value.get(name)).and_then(Value::as_array);
        list.is_some_and(|list| list.iter().any(|id| id.as_str() == Some(staff_id)))
    }
}

const UNKNOWN: Class = Class::Unknown { is_ambiguous: false };

/// A gateway's plain yes. An empty answer behind a 200 is one.
fn is_yes(body: &str) -> bool {
    let word = body.trim();
    word.is_empty() || ["ok", "success", "true"].iter().any(|yes| word.eq_ignore_ascii_case(yes))
}

/// DingTalk writes its codes as numbers and as strings.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

#[cfg(test)]
mod tests;
