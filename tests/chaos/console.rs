//! The admin API of a console that may be dead, or without its database, when it is called: a call is
//! made until it succeeds.

use std::time::Duration;

use serde_json::{Value, json};

use crate::faults::pause;
use crate::fleet::ADMIN_TOKEN;
use crate::load::Robot;
use crate::support::outside::Outside;
use crate::support::rng::Rng;
use crate::support::service::{AES_KEY, TOKEN, callback, xpert};
use crate::support::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(120);

pub(crate) struct Console {
    address: String,
    http: reqwest::Client,
}

impl Console {
    pub(crate) fn new(address: String) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).build();
        Self { address, http: http.expect("build a client") }
    }

    pub(crate) async fn done(&self, method: &str, path: &str, body: &Value) {
        let url = format!("http://{}{path}", self.address);
        let mut last = String::new();
        wait_until(&format!("{method} {path}"), LIMIT, async || {
            let verb = method.parse().expect("a method");
            let request = self.http.request(verb, &url).bearer_auth(ADMIN_TOKEN);
            let request = if body.is_null() { request } else { request.json(body) };
            let Ok(answer) = request.send().await else { return false };
            let status = answer.status();
            last = answer.text().await.unwrap_or_default();
            // What a lost answer had done is not there to be done again.
            let is_done = status.is_success() || matches!(status.as_u16(), 404 | 409);
            assert!(is_done || status.is_server_error(), "{method} {path}: {status} {last}");
            is_done
        })
        .await;
    }

    /// Pauses what `path` names and resumes it.
    pub(crate) async fn pause(&self, path: &str, rng: &mut Rng) {
        self.done("POST", &format!("{path}/pause"), &Value::Null).await;
        pause(rng, 2000, 5000).await;
        self.done("POST", &format!("{path}/resume"), &Value::Null).await;
    }

    /// The robot's integration, its trigger, and the runtime of its expert.
    pub(crate) async fn publish(&self, outside: &Outside, robot: Robot) {
        let mut fields = json!({
            "id": robot.name, "name": robot.name, "clientId": robot.name,
            "clientSecret": "app-secret", "mode": if robot.is_stream { "stream" } else { "http" },
        });
        if !robot.is_stream {
            fields["callbackToken"] = json!(TOKEN);
            fields["callbackAesKey"] = json!(AES_KEY);
        }
        self.done("POST", "/api/integrations", &fields).await;
        let trigger = json!({
            "integrationId": robot.name, "summaryWindowSeconds": robot.window_s,
            "queuedNotice": "none", "runtime": Self::runtime(outside, robot),
        });
        self.done("PUT", &format!("/api/triggers/{}", robot.expert), &trigger).await;
    }

    pub(crate) fn runtime(outside: &Outside, robot: Robot) -> Value {
        if robot.is_xpert { xpert(outside) } else { callback(outside) }
    }
}
