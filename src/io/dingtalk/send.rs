//! One segment to one conversation: the route that is open, the permit, the post, the verdict. Cards
//! are sent in [`super::card`], by the same calls.
//!
//! Nothing is tried twice here but what cannot have been delivered: another route when this one refuses,
//! another token when this one is refused. Whether and when to try again is the caller's, who knows the
//! journal; an unknown outcome is marked for it. A refusal that an operator can mend becomes the
//! integration's last error.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, RequestBuilder};

use crate::context::Context;
use crate::domain::binding::Integration;
use crate::domain::entry::Origin;
use crate::domain::id::MsgId;
use crate::domain::reply::Segment;
use crate::domain::route::{Route, Webhook, routes};
use crate::io::dingtalk::card::Registered;
use crate::io::dingtalk::failure::{SendClass, SendError, permanent, retryable};
use crate::io::dingtalk::token::Tokens;
use crate::io::egress::host::HostList;
use crate::io::egress::{API_ANSWER_MAX_BYTES, Egress, read, retry_after};
use crate::io::governor::{Api, Governor, Permit};
use crate::io::store::events::{Recorder, Seen};
use crate::protocol::reaction;
use crate::protocol::send::codes::{Cause, Class};
use crate::protocol::send::verdict::{Verdict, judge_api, judge_webhook};
use crate::protocol::send::{direct_body, group_body, webhook_body};
use crate::telemetry::metrics;

/// A complaint holds back an app's other sends for at most this long.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Before each attempt at a reaction: DingTalk refuses it on a message that it has not stored yet.
const REACTION_WAITS: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(400), Duration::from_millis(1200)];

pub struct Config {
    /// `DT_DINGTALK_API_URL`.
    pub api_url: String,
    /// `DT_REPLY_HOSTS`.
    pub reply_hosts: HostList,
    pub timeout: Duration,
}

/// How a segment went out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// `webhook`, `oto`, `group`.
    pub route: &'static str,
    /// What recalls the message, where the API gives it.
    pub query_key: Option<String>,
}

/// Whether somebody may still speak.
pub type Hold = Arc<dyn Fn() -> bool + Send + Sync>;

#[derive(Clone)]
pub struct Sender {
    pub(super) context: Context,
    egress: Egress,
    tokens: Tokens,
    governor: Governor,
    config: Arc<Config>,
    pub(super) registered: Arc<Registered>,
    hold: Option<Hold>,
    recorder: Option<Recorder>,
}

/// A call of DingTalk's API.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Behind the address of the API, e.g. `/v1.0/robot/emotion/reply`.
    pub(super) path: &'a str,
    pub(super) body: Vec<u8>,
}

/// What came back from one post.
pub(super) enum Posted {
    Judged(Verdict),
    /// No answer: `is_ambiguous` unless the request surely was not written.
    Unanswered {
        is_ambiguous: bool,
        detail: String,
    },
}

impl Sender {
    pub fn new(
        context: Context,
        egress: Egress,
        tokens: Tokens,
        governor: Governor,
        config: Config,
    ) -> Self {
        let (config, registered) = (Arc::new(config), Arc::default());
        let (hold, recorder) = (None, None);
        Self { context, egress, tokens, governor, config, registered, hold, recorder }
    }

    /// The same, which tells `recorder` what an operator can mend.
    pub fn recorded_by(self, recorder: Recorder) -> Self {
        Self { recorder: Some(recorder), ..self }
    }

    /// The same for somebody who may speak while `hold` says so. It is asked when there is a permit and
    /// a token, directly before each post: either may take longer than the hold lasts.
    pub fn while_held(&self, hold: Hold) -> Self {
        Self { hold: Some(hold), ..self.clone() }
    }

    pub async fn send(
        &self,
        integration: &Integration,
        origin: &Origin,
        segment: &Segment,
    ) -> Result<Sent, SendError> {
        let webhook = self.webhook_of(origin);
        if webhook == Webhook::Unusable {
            self.context.metrics.limit_breached("reply_hosts");
        }
        let routes = routes(origin, webhook, self.context.clock.now());
        let mut refused: Option<SendError> = None;
        for route in routes.map_err(|why| permanent(why.to_string()))? {
            match self.send_by(&route, integration, origin, segment).await {
                Ok(query_key) => return Ok(Sent { route: route.as_str(), query_key }),
                Err(error) if error.is_of_route => refused = Some(error.after(refused)),
                Err(error) => return Err(error.after(refused)),
            }
        }
        Err(refused.unwrap_or_else(|| permanent("no route is open".into())))
    }

    async fn send_by(
        &self,
        route: &Route,
        integration: &Integration,
        origin: &Origin,
        segment: &Segment,
    ) -> Result<Option<String>, SendError> {
        self.pass(integration, api(route)).await?;
        let posted = match route {
            Route::Webhook { url } => self.post_webhook(url, segment).await?,
            Route::Direct { .. } | Route::Group { .. } => {
                self.post_api(integration, origin, route, segment).await?
            }
        };
        self.settle(integration, api(route), posted).await
    }

    /// Whether a segment would go by the session webhook, which has a rate of its own.
    pub fn is_by_webhook(&self, origin: &Origin) -> bool {
        let routes = routes(origin, self.webhook_of(origin), self.context.clock.now());
        routes.is_ok_and(|routes| matches!(routes.first(), Some(Route::Webhook { .. })))
    }

    /// The webhook of a message is followed only to a host that the operator allows.
    fn webhook_of(&self, origin: &Origin) -> Webhook {
        let url = origin.webhook.as_ref().map(|session| session.url.as_str());
        let is_refused =
            url.is_some_and(|url| self.egress.allow(&self.config.reply_hosts, url).is_err());
        if is_refused { Webhook::Unusable } else { Webhook::Usable }
    }

    pub(super) async fn pass(&self, integration: &Integration, api: Api) -> Result<(), SendError> {
        match self.governor.permit(&integration.id, api).await {
            Ok(Permit::Granted) => Ok(()),
            Ok(Permit::Wait(wait)) => Err(SendError {
                class: SendClass::Wait(wait),
                ..retryable(None, "the app's rate is used up".into())
            }),
            Err(error) => Err(retryable(None, error.to_string())),
        }
    }

    async fn post_webhook(&self, url: &str, segment: &Segment) -> Result<Posted, SendError> {
        let allowed = self
            .egress
            .allow(&self.config.reply_hosts, url)
            .map_err(|error| permanent(error.to_string()))?;
        let request = allowed.client.post(allowed.url).body(webhook_body(segment));
        Ok(self.post(request, judge_webhook).await)
    }

    async fn post_api(
        &self,
        integration: &Integration,
        origin: &Origin,
        route: &Route,
        segment: &Segment,
    ) -> Result<Posted, SendError> {
        let robot = origin.robot_code.as_deref().unwrap_or_else(|| integration.robot_code());
        let (path, body, staff_id) = match route {
            Route::Direct { staff_id } => (
                "/v1.0/robot/oToMessages/batchSend",
                direct_body(robot, staff_id, segment),
                Some(staff_id.as_str()),
            ),
            Route::Group { conversation_id } => (
                "/v1.0/robot/groupMessages/send",
                group_body(robot, conversation_id, segment),
                None,
            ),
            Route::Webhook { .. } => return Err(permanent("a webhook is no API".into())),
        };
        let call = Call { method: Method::POST, path, body };
        let judge = |status, after, body: &[u8]| judge_api(status, after, body, staff_id);
        self.call(integration, call, judge).await
    }

    /// A small sign on the person's own message, where the app's rate allows it at once.
    pub async fn react(
        &self,
        integration: &Integration,
        origin: &Origin,
        message: &MsgId,
    ) -> Result<(), SendError> {
        let robot = origin.robot_code.as_deref().unwrap_or_else(|| integration.robot_code());
        let body = reaction::body(robot, message.as_str(), &origin.place.id);
        let mut last = permanent("no attempt was made".into());
        for wait in REACTION_WAITS {
            tokio::time::sleep(wait).await;
            match self.governor.permit(&integration.id, Api::Reaction).await {
                Ok(Permit::Granted) => {}
                Ok(Permit::Wait(_)) => return Err(permanent("the app's rate is used up".into())),
                Err(error) => return Err(retryable(None, error.to_string())),
            }
            let call = Call {
                method: Method::POST,
                path: "/v1.0/robot/emotion/reply",
                body: body.clone(),
            };
            let posted = self.call(integration, call, reaction::judge).await?;
            match self.settle(integration, Api::Reaction, posted).await {
                Ok(_) => return Ok(()),
                Err(error) if error.class == SendClass::Permanent => return Err(error),
                Err(error) => last = error,
            }
            if !matches!(last.class, SendClass::Retryable { after: None } | SendClass::Unknown) {
                break;
            }
        }
        Err(last)
    }

    /// With the app's token, and with another one where DingTalk refuses that.
    pub(super) async fn call(
        &self,
        integration: &Integration,
        call: Call<'_>,
        judge: impl Fn(u16, Option<Duration>, &[u8]) -> Verdict,
    ) -> Result<Posted, SendError> {
        let url = format!("{}{}", self.config.api_url.trim_end_matches('/'), call.path);
        let mut is_second = false;
        loop {
            let token = self.tokens.get(integration).await;
            let token = token.map_err(|error| SendError::of_token(&error))?;
            let request = self
                .egress
                .client()
                .request(call.method.clone(), &url)
                .header("x-acs-dingtalk-access-token", token.expose())
                .body(call.body.clone());
            match self.post(request, &judge).await {
                Posted::Judged(Verdict::Failed { class: Class::Token, .. }) if !is_second => {
                    self.tokens.refuse(&integration.id, &token).await;
                    is_second = true;
                }
                posted => return Ok(posted),
            }
        }
    }

    async fn post(
        &self,
        request: RequestBuilder,
        judge: impl Fn(u16, Option<Duration>, &[u8]) -> Verdict,
    ) -> Posted {
        if self.hold.as_ref().is_some_and(|hold| !hold()) {
            let detail = "somebody else speaks in this conversation by now".to_owned();
            return Posted::Unanswered { is_ambiguous: false, detail };
        }
        let request = request
            .header("content-type", "application/json; charset=utf-8")
            .header("accept", "application/json")
            .timeout(self.config.timeout);
        let unanswered = |error: reqwest::Error| Posted::Unanswered {
            is_ambiguous: !error.is_connect() && !error.is_builder(),
            detail: format!("DingTalk did not answer: {}", error.without_url()),
        };
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return unanswered(error),
        };
        let status = response.status().as_u16();
        let after = retry_after(&response, self.context.clock.now());
        match read(response, API_ANSWER_MAX_BYTES).await {
            Ok(body) => Posted::Judged(judge(status, after, &body)),
            Err(error) => Posted::Unanswered {
                is_ambiguous: true,
                detail: format!("DingTalk's answer could not be read: {error}"),
            },
        }
    }

    /// The key that recalls what was delivered, where the API gives one.
    pub(super) async fn settle(
        &self,
        integration: &Integration,
        api: Api,
        posted: Posted,
    ) -> Result<Option<String>, SendError> {
        let (class, detail) = match posted {
            Posted::Judged(Verdict::Delivered { query_key }) => {
                self.count(api, "ok");
                return Ok(query_key);
            }
            Posted::Judged(Verdict::Failed { class, detail }) => (class, detail),
            Posted::Unanswered { is_ambiguous, detail } => (Class::Retry { is_ambiguous }, detail),
        };
        self.count(api, result(class));
        if let Class::Rate { after, .. } = class {
            // One conversation's long wait must not stop the whole app.
            let pause = after.min(PAUSE_MAX);
            if let Err(error) = self.governor.slow_down(&integration.id, api, pause).await {
                tracing::warn!(%error, "the send bucket could not be slowed down");
            }
        }
        self.note(integration, class, &detail);
        Err(SendError::of(class, detail))
    }

    /// What an operator can mend is shown with the integration.
    fn note(&self, integration: &Integration, class: Class, detail: &str) {
        let (Some(recorder), Some(advice)) = (&self.recorder, class.advice()) else { return };
        let last_error = Some((self.context.clock.now(), format!("{advice}; {detail}")));
        recorder.record(&integration.id, Seen { last_error, ..Seen::default() });
    }

    fn count(&self, api: Api, result: &'static str) {
        let labels = metrics::Send { route: api.as_str(), result };
        self.context.metrics.sends.get_or_create(&labels).inc();
    }
}

fn api(route: &Route) -> Api {
    match route {
        Route::Webhook { .. } => Api::Webhook,
        Route::Direct { .. } => Api::Direct,
        Route::Group { .. } => Api::Group,
    }
}

/// The word for it in `dt_sends_total{result}`.
fn result(class: Class) -> &'static str {
    match class {
        Class::Rate { .. } => "too_fast",
        Class::Token => "token_invalid",
        Class::Retry { is_ambiguous: true } | Class::Unknown { is_ambiguous: true } => "unknown",
        Class::Retry { is_ambiguous: false } | Class::Unknown { is_ambiguous: false } => "failed",
        Class::Next(Cause::Session) => "session_gone",
        Class::Quota => "quota",
        Class::TooLong => "too_long",
        Class::Content => "content",
        Class::Next(_) | Class::Template | Class::Permanent(_) => "refused",
    }
}
