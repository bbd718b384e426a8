//! `doctor`: what a person checks when a robot is silent, in words.
//!
//! Asks the same API as anybody and changes nothing. Each check says what was found; one that fails
//! does not keep the others from being made, unless there is no such robot.

use anyhow::ensure;
use axum::http::Method;
use serde::Serialize;
use serde_json::Value;

use super::client::{Answer, Client, part};

/// More than this waits to be taken: something is behind.
const LAG_MAX: u64 = 1000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: String,
    pub ok: bool,
    pub message: String,
}

/// The checks of one integration, from the API to the expert.
pub async fn examine(client: &Client, integration: &str) -> anyhow::Result<Vec<Check>> {
    let path = format!("/api/integrations/{}", part(integration));
    let shown = client.get(&path).await?;
    ensure!(shown.status != 401, "{}", shown.message());
    let mut checks = vec![check("reachable", true, "the admin API answers")];
    if !shown.is_success() {
        checks.push(check("integration", false, shown.message()));
        return Ok(checks);
    }
    let paused = shown.body["paused"].as_bool() == Some(true);
    let word = if paused { "paused: messages wait until it is resumed" } else { "not paused" };
    checks.push(check(
        "integration",
        !paused,
        format!("mode {}, {word}", text(&shown.body["mode"])),
    ));
    checks.extend(tried(&client.call(Method::POST, &format!("{path}/test"), None).await?));
    let status = client.get(&format!("{path}/status")).await?;
    if status.is_success() {
        checks.push(connection(&status.body));
        checks.extend(expert(client, &status.body["trigger"]).await?);
    } else {
        checks.push(check("connection", false, status.message()));
    }
    checks.push(lag(&client.get("/api/status").await?.body));
    Ok(checks)
}

/// What the service has tried for itself; that it could not try is a failure as well.
fn tried(tested: &Answer) -> Vec<Check> {
    let shown = |one: &Value| {
        let ok = one["ok"].as_bool() == Some(true);
        check(&text(&one["name"]), ok, text(&one["message"]))
    };
    match tested.body["checks"].as_array() {
        Some(checks) => checks.iter().map(shown).collect(),
        None => vec![check("test", false, tested.message())],
    }
}

fn connection(status: &Value) -> Check {
    let state = text(&status["state"]);
    let last = text(&status["lastEventAt"]);
    let last =
        if last.is_empty() { "nothing came yet".to_owned() } else { format!("last event {last}") };
    let error = text(&status["lastError"]);
    let error = if error.is_empty() { String::new() } else { format!("; last error: {error}") };
    let ok = matches!(state.as_str(), "connected" | "http");
    check("connection", ok, format!("{state}; {last}{error}"))
}

/// Who is bound, and whether it can be asked.
async fn expert(client: &Client, trigger: &Value) -> anyhow::Result<Vec<Check>> {
    let Some(expert) = trigger["xpertId"].as_str() else {
        let message = "no enabled trigger names this integration: publish one";
        return Ok(vec![check("trigger", false, message)]);
    };
    let bound = check("trigger", true, format!("bound to xpert {expert}"));
    let runtime = client.get(&format!("/api/runtimes/{}", part(expert))).await?;
    let registered = match (runtime.is_success(), runtime.body["paused"].as_bool()) {
        (false, _) => check("runtime", false, format!("xpert {expert}: {}", runtime.message())),
        (true, Some(true)) => check("runtime", false, format!("xpert {expert} is paused")),
        (true, _) if runtime.body["alive"] == false => {
            let seconds = &runtime.body["leaseSeconds"];
            let message = format!(
                "the lease of xpert {expert} has lapsed, so messages wait: it must POST \
                 /api/runtimes/{expert}/heartbeat within every {seconds} s"
            );
            check("runtime", false, message)
        }
        (true, _) => {
            check("runtime", true, format!("registered, kind {}", text(&runtime.body["kind"])))
        }
    };
    Ok(vec![bound, registered])
}

fn lag(status: &Value) -> Check {
    let stages = status["lag"].as_object();
    let words: Vec<_> = stages
        .into_iter()
        .flatten()
        .map(|(stage, count)| match count.as_u64() {
            Some(count) => (format!("{stage} {count}"), count <= LAG_MAX),
            None => (format!("{stage} unknown"), false),
        })
        .collect();
    let ok = !words.is_empty() && words.iter().all(|(_, ok)| *ok);
    let words: Vec<_> = words.into_iter().map(|(word, _)| word).collect();
    check("lag", ok, format!("waiting: {}", words.join(", ")))
}

fn check(name: &str, ok: bool, message: impl Into<String>) -> Check {
    Check { name: name.to_owned(), ok, message: message.into() }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tests_that_were_not_made_are_a_failure() {
        let checks = json!({ "checks": [{ "name": "token", "ok": true, "message": "m" }] });
        let away = json!({ "error": { "code": "UNAVAILABLE", "message": "the database is away" } });
        for (status, body, expected) in [
            (200, checks, check("token", true, "m")),
            (503, away, check("test", false, "the database is away")),
            (502, Value::Null, check("test", false, "the admin API answered 502")),
        ] {
            assert_eq!(tried(&Answer { status, body }), [expected]);
        }
    }
}
