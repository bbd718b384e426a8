//! The admin API from a terminal: one call, its status and its JSON.
//!
//! The token goes into the header and nowhere else. An answer that is no JSON is still an answer, with
//! its status; what it means is the command's.

use std::time::Duration;

use anyhow::Context as _;
use axum::http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::domain::secret::Secret;
use crate::io::egress::{self, Egress};

/// Tests of an integration open real connections.
const LIMIT: Duration = Duration::from_secs(60);
/// A page of a list is the longest answer.
const ANSWER_MAX_BYTES: usize = 16 * 1024 * 1024;

pub struct Client {
    egress: Egress,
    url: String,
    token: Secret,
}

/// What a call answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    /// `null` where there is none.
    pub body: Value,
}

impl Answer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What the API says is wrong.
    pub fn message(&self) -> String {
        let said = self.body.pointer("/error/message").and_then(Value::as_str);
        said.map_or_else(|| format!("the admin API answered {}", self.status), str::to_owned)
    }
}

impl Client {
    /// `address` is where the console listens; every address of a machine is reached by loopback.
    pub fn new(address: &str, token: Secret) -> anyhow::Result<Self> {
        let egress = Egress::new(&egress::Config::default()).context("start the HTTP client")?;
        let address = address.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
        Ok(Self { egress, url: format!("http://{address}"), token })
    }

    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let request = self
            .egress
            .client()
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(self.token.expose())
            .timeout(LIMIT);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = request.send().await.with_context(|| {
            format!(
                "reach the admin API at {}: does it run, and is DT_CONSOLE_ADDR right",
                self.url
            )
        })?;
        let status = answer.status().as_u16();
        let text = egress::read(answer, ANSWER_MAX_BYTES).await;
        let text = text.context("read the admin API's answer")?;
        Ok(Answer { status, body: serde_json::from_slice(&text).unwrap_or(Value::Null) })
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.call(Method::GET, path, None).await
    }
}

/// An id as a part of a path.
pub fn part(id: &str) -> String {
    utf8_percent_encode(id, NON_ALPHANUMERIC).to_string()
}

/// `?a=b&c=d` of what is given.
pub fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let given: Vec<_> = pairs
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", part((*value)?))))
        .collect();
    if given.is_empty() { String::new() } else { format!("?{}", given.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_dingtalk_go_into_paths_and_queries() {
        assert_eq!(part("msg+/A=="), "msg%2B%2FA%3D%3D");
        assert_eq!(query(&[("a", Some("x y")), ("b", None), ("c", Some("1"))]), "?a=x%20y&c=1");
        assert_eq!(query(&[("b", None)]), "");
    }
}
