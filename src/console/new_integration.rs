//! From a request to an integration that is valid as a whole: what HTTP mode needs, what a key looks
//! like, which words there are.
//!
//! A value that passes can be stored and used; every complaint names its field. Whether DingTalk knows
//! the app is asked elsewhere.

use serde::Deserialize;
use uuid::Uuid;

use super::body::nullable;
use super::problem::Problem;
use crate::domain::binding::{Integration, Language, Mode, Scope, is_robot_code};
use crate::domain::id::IntegrationId;
use crate::domain::secret::Secret;
use crate::protocol::callback;

const TEXT_MAX_CHARS: usize = 256;
const ID_MAX_CHARS: usize = 40;
const MADE_ID_CHARS: usize = 12;

/// The body of `POST /api/integrations`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct New {
    id: Option<String>,
    name: String,
    mode: String,
    client_id: String,
    client_secret: String,
    robot_code: Option<String>,
    callback_token: Option<String>,
    callback_aes_key: Option<String>,
    card_template_id: Option<String>,
    language: Option<String>,
    receiver_id: Option<String>,
    corp_id: Option<String>,
    scope: Option<String>,
}

/// The body of `PATCH`: what is absent stays, `null` takes an optional field away.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Patch {
    name: Option<String>,
    mode: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    robot_code: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    callback_token: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    callback_aes_key: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    card_template_id: Option<Option<String>>,
    language: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    receiver_id: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    corp_id: Option<Option<String>>,
    scope: Option<String>,
}

impl New {
    pub(super) fn integration(self, language: Language) -> Result<Integration, Problem> {
        let id = match self.id {
            Some(id) => parse_id(&id)?,
            None => made_id()?,
        };
        let language = self.language.as_deref().unwrap_or(language.as_str());
        let scope = self.scope.as_deref().unwrap_or(Scope::Sender.as_str());
        let integration = Integration {
            id,
            name: name(&self.name)?,
            mode: one_of("mode", &self.mode, Mode::parse, Mode::WORDS)?,
            client_id: required("clientId", &self.client_id)?,
            client_secret: Secret::new(required("clientSecret", &self.client_secret)?),
            robot_code: robot_code(self.robot_code)?,
            callback_token: optional("callbackToken", self.callback_token)?.map(Secret::new),
            callback_aes_key: aes_key(self.callback_aes_key)?,
            card_template_id: optional("cardTemplateId", self.card_template_id)?,
            language: one_of("language", language, Language::parse, Language::WORDS)?,
            receiver_id: optional("receiverId", self.receiver_id)?,
            corp_id: optional("corpId", self.corp_id)?,
            scope: one_of("scope", scope, Scope::parse, Scope::WORDS)?,
            is_paused: false,
        };
        whole(integration)
    }
}

impl Patch {
    /// `integration` with the changes of this patch.
    pub(super) fn apply(&self, integration: &Integration) -> Result<Integration, Problem> {
        let mut next = integration.clone();
        if let Some(given) = &self.name {
            next.name = name(given)?;
        }
        if let Some(given) = &self.mode {
            next.mode = one_of("mode", given, Mode::parse, Mode::WORDS)?;
        }
        if let Some(given) = &self.client_id {
            next.client_id = required("clientId", given)?;
        }
        if let Some(given) = &self.client_secret {
            next.client_secret = Secret::new(required("clientSecret", given)?);
        }
        if let Some(given) = &self.robot_code {
            next.robot_code = robot_code(given.clone())?;
        }
        if let Some(given) = &self.callback_token {
            next.callback_token = optional("callbackToken", given.clone())?.map(Secret::new);
        }
        if let Some(given) = &self.callback_aes_key {
            next.callback_aes_key = aes_key(given.clone())?;
        }
        if let Some(given) = &self.card_template_id {
            next.card_template_id = optional("cardTemplateId", given.clone())?;
        }
        if let Some(given) = &self.language {
            next.language = one_of("language", given, Language::parse, Language::WORDS)?;
        }
        if let Some(given) = &self.receiver_id {
            next.receiver_id = optional("receiverId", given.clone())?;
        }
        if let Some(given) = &self.corp_id {
            next.corp_id = optional("corpId", given.clone())?;
        }
        if let Some(given) = &self.scope {
            next.scope = one_of("scope", given, Scope::parse, Scope::WORDS)?;
        }
        whole(next)
    }
}

/// What one field asks of another.
fn whole(integration: Integration) -> Result<Integration, Problem> {
    let missing = match integration.mode {
        Mode::Stream => None,
        Mode::Http if integration.callback_token.is_none() => Some("callbackToken"),
        Mode::Http if integration.callback_aes_key.is_none() => Some("callbackAesKey"),
        Mode::Http => None,
    };
    match missing {
        Some(field) => Err(Problem::field(field, format!("{field} is required in HTTP mode"))),
        None => Ok(integration),
    }
}

/// What ids of the log begin with that belong to no integration.
const RESERVED: [&str; 1] = ["replay"];

fn parse_id(text: &str) -> Result<IntegrationId, Problem> {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_valid = text.len() <= ID_MAX_CHARS
        && text.starts_with(is_word)
        && text.chars().all(|c| is_word(c) || c == '-');
    if RESERVED.contains(&text) {
        return Err(Problem::field("id", "this id is the service's own: choose another"));
    }
    let id = is_valid.then(|| IntegrationId::parse(text).ok()).flatten();
    id.ok_or_else(|| Problem::field("id", "id must match [a-z0-9][a-z0-9-]{0,39}"))
}

fn made_id() -> Result<IntegrationId, Problem> {
    let text: String = Uuid::new_v4().simple().to_string().chars().take(MADE_ID_CHARS).collect();
    parse_id(&text)
}

fn name(text: &str) -> Result<String, Problem> {
    let text = text.trim();
    let is_valid =
        (1..=TEXT_MAX_CHARS).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    let invalid = || Problem::field("name", "name must have 1 to 256 characters on one line");
    is_valid.then(|| text.to_owned()).ok_or_else(invalid)
}

fn required(field: &'static str, text: &str) -> Result<String, Problem> {
    let is_valid = (1..=TEXT_MAX_CHARS).contains(&text.chars().count())
        && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    let invalid =
        || Problem::field(field, format!("{field} must have 1 to 256 characters without spaces"));
    is_valid.then(|| text.to_owned()).ok_or_else(invalid)
}

fn optional(field: &'static str, text: Option<String>) -> Result<Option<String>, Problem> {
    text.filter(|text| !text.trim().is_empty()).map(|text| required(field, &text)).transpose()
}

fn robot_code(text: Option<String>) -> Result<Option<String>, Problem> {
    optional("robotCode", text.filter(|text| is_robot_code(text)))
}

fn aes_key(text: Option<String>) -> Result<Option<Secret>, Problem> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    match callback::aes_key(&text) {
        Some(_) => Ok(Some(Secret::new(text))),
        None => Err(Problem::field(
            "callbackAesKey",
            "callbackAesKey must have 43 characters of base64, as DingTalk's console shows it",
        )),
    }
}

pub(super) fn one_of<T>(
    field: &'static str,
    text: &str,
    parse: fn(&str) -> Option<T>,
    words: &[&str],
) -> Result<T, Problem> {
    let invalid = || Problem::field(field, format!("{field} must be one of {}", words.join(", ")));
    parse(text).ok_or_else(invalid)
}
