//! The operator's commands: each is a call of the admin API, and its answer in words or as JSON.
//!
//! Address and token come from the settings, else the token of the `up` on this machine is used.

pub mod arguments;
pub mod request;

use axum::http::Method;
use serde_json::{Value, json};

use self::arguments::{IntegrationCommand, Operate, TriggerCommand};
use self::request::Request;
use super::Failure;
use super::process::say;
use crate::config::Config;
use crate::ops::client::{Answer, Client};
use crate::ops::{doctor, keys, shown};

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Words,
    Json,
}

pub async fn run(config: &Config, command: Operate, output: Output) -> Result<(), Failure> {
    let client = client(config)?;
    if let Operate::Doctor { integration } = &command {
        return examine(&client, integration, output).await;
    }
    let judge = Judge::of(&command);
    let is_publish = matches!(command, Operate::Trigger(TriggerCommand::Publish { .. }));
    for request in request::of(command).map_err(Failure::Configuration)? {
        let Request { method, path, mut body, columns } = request;
        if is_publish {
            // The call replaces the whole binding: an allow-list must not fall to a new time-out, nor
            // to a binding that could not be read.
            let stored = client.call(Method::GET, &path, None).await?;
            match stored.status {
                200 => body = body.map(|given| request::over(&stored.body, given)),
                404 => {}
                _ => return show(&stored, columns, output),
            }
        }
        let answer = client.call(method, &path, body.as_ref()).await?;
        show(&answer, columns, output)?;
        judge.judge(&answer)?;
    }
    Ok(())
}

fn client(config: &Config) -> Result<Client, Failure> {
    let token = match &config.admin_token {
        Some(token) => Some(token.clone()),
        None => keys::find_admin_token(&config.data_dir)?,
    };
    let token = token.ok_or_else(|| {
        let remedy = "set DT_ADMIN_TOKEN, or DT_DATA_DIR to where `up` keeps its token";
        Failure::Configuration(remedy.to_owned())
    })?;
    Ok(Client::new(&config.console_address, token)?)
}

async fn examine(client: &Client, integration: &str, output: Output) -> Result<(), Failure> {
    let checks = doctor::examine(client, integration).await?;
    let is_well = checks.iter().all(|check| check.ok);
    match output {
        Output::Json => say(&json!({ "ok": is_well, "checks": checks }).to_string()),
        Output::Words => {
            for check in &checks {
                let mark = if check.ok { "ok  " } else { "FAIL" };
                say(&format!("{mark}  {}: {}", check.name, check.message));
            }
        }
    }
    if is_well { Ok(()) } else { Err(Failure::Difference) }
}

/// Prints what the API answered; what it refused is the error.
fn show(answer: &Answer, columns: &[&str], output: Output) -> Result<(), Failure> {
    if output == Output::Json && !answer.body.is_null() {
        say(&answer.body.to_string());
    }
    if !answer.is_success() {
        // The caller's mistake is usage; what the service found is a failure.
        let is_usage =
            matches!(answer.status, 400 | 401 | 422) && answer.body.get("items").is_none();
        return Err(match is_usage {
            true => Failure::Configuration(answer.message()),
            false => Failure::Failed(anyhow::anyhow!("{}", answer.message())),
        });
    }
    if output == Output::Words {
        match &answer.body {
            Value::Null => say("done"),
            body => shown::lines(body, columns).iter().for_each(|line| say(line)),
        }
    }
    Ok(())
}

/// What of an answer makes the exit code 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judge {
    Nothing,
    /// `ok` is false.
    Test,
    /// An item is an error.
    Items,
}

impl Judge {
    fn of(command: &Operate) -> Self {
        match command {
            Operate::Integration(IntegrationCommand::Test { .. }) => Self::Test,
            Operate::Trigger(TriggerCommand::Validate(_)) => Self::Items,
            _ => Self::Nothing,
        }
    }

    fn judge(self, answer: &Answer) -> Result<(), Failure> {
        let is_bad = match self {
            Self::Nothing => false,
            Self::Test => answer.body["ok"].as_bool() != Some(true),
            Self::Items => {
                let items = answer.body["items"].as_array();
                items.into_iter().flatten().any(|item| item["level"] == "error")
            }
        };
        if is_bad { Err(Failure::Difference) } else { Ok(()) }
    }
}
