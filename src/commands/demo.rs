//! `sim`, and what `up --demo` adds: a simulated DingTalk with a chat page, a robot, and an expert.
//!
//! The chat page talks to the simulated cloud only; every message crosses the real edge, NATS and a
//! worker.

use std::time::Duration;

use anyhow::Context as _;
use data_encoding::BASE64;
use serde_json::json;

use super::Failure;
use super::parts::Parts;
use super::process::{live, say};
use crate::config::Config;
use crate::context::{Clock, Context};
use crate::domain::binding::{
    ActBy, BusyPolicy, Integration, Mode, QueuedNotice, Runtime, RuntimeKind, Scope, Trigger,
};
use crate::domain::id::{ExpertId, IntegrationId};
use crate::domain::secret::Secret;
use crate::io::egress::host::{HostList, Scheme};
use crate::io::routing::Change;
use crate::io::store::Page;
use crate::io::store::audit::Note;
use crate::sim::dingtalk::app::App;
use crate::sim::{self, Running};

const CLIENT_ID: &str = "dingdemo";
const INTEGRATION: &str = "demo";
const EXPERT: &str = "demo-expert";

/// What plays around the service.
pub struct Played {
    running: Running,
    client_secret: Secret,
    expert_secret: Secret,
}

/// The command `sim`.
pub async fn sim(config: &Config) -> Result<(), Failure> {
    let context = Context::new(Clock::system());
    let (settings, client_secret) = settings(config);
    let start = async {
        let running = sim::start(&context, settings.clone()).await?;
        // These guard nothing: who tries a service here needs them, in the words of the admin API.
        let robot = json!({
            "mode": "stream", "clientId": CLIENT_ID, "clientSecret": client_secret.expose(),
        });
        let xpert = json!({
            "kind": "xpert", "baseUrl": running.xpert_url,
            "apiKey": settings.xpert_api_key.expose(),
        });
        let expert = json!({
            "kind": "callback", "url": running.expert_url,
            "secret": settings.expert_secret.expose(),
        });
        say(&format!("DingTalk: {} (chat page in a browser)", running.dingtalk_url));
        say(&format!("robot:    {robot}"));
        say(&format!("Xpert:    {xpert}"));
        say(&format!("expert:   {expert}"));
        Ok(running)
    };
    live(&context, config.drain, start).await.map(drop)
}

/// Starts the simulated outside, and points the configuration at it.
pub async fn play(outside: &Context, mut config: Config) -> Result<(Config, Played), Failure> {
    let (settings, client_secret) = settings(&config);
    let expert_secret = settings.expert_secret.clone();
    let running = sim::start(outside, settings).await?;
    config.dingtalk_api_url.clone_from(&running.dingtalk_url);
    let only = |scheme| {
        let mut hosts = HostList::none(scheme);
        hosts.trust(&running.dingtalk_url);
        hosts
    };
    config.reply_hosts = only(Scheme::HttpsOnly);
    config.download_hosts = only(Scheme::HttpToo);
    Ok((config, Played { running, client_secret, expert_secret }))
}

fn settings(config: &Config) -> (sim::Config, Secret) {
    let client_secret = Secret::new("demo-secret");
    let settings = sim::Config {
        address: config.sim_address.clone(),
        xpert_address: "127.0.0.1:0".to_owned(),
        expert_address: "127.0.0.1:0".to_owned(),
        apps: vec![App::stream(CLIENT_ID, client_secret.expose())],
        xpert_api_key: Secret::new("sk-x-demo"),
        expert_secret: Secret::new(format!("whsec_{}", BASE64.encode(&rand::random::<[u8; 32]>()))),
    };
    (settings, client_secret)
}

/// The robot, its expert, and the published trigger. What a person changed since the first start stays;
/// only where the expert is, is told anew.
pub async fn configure(
    context: &Context,
    config: &Config,
    parts: &Parts,
    played: &Played,
) -> Result<(), Failure> {
    let id = IntegrationId::parse(INTEGRATION).context("name the robot")?;
    let expert = ExpertId::parse(EXPERT).context("name the expert")?;
    let note = |action| Note {
        at: context.clock.now(),
        actor: "demo".to_owned(),
        action,
        subject: INTEGRATION.to_owned(),
        detail: "{}".to_owned(),
    };
    let kind = RuntimeKind::Callback {
        url: played.running.expert_url.clone(),
        secret: played.expert_secret.clone(),
    };
    let runtime = Runtime { expert: expert.clone(), kind, lease: None, is_paused: false };
    let known = parts.store.integration(&id).await.context("read the robot")?;
    if known.is_some() {
        let stored = parts.store.put_runtime(&runtime, &note("runtime.put")).await;
        stored.context("register the expert")?;
    } else {
        refuse_real_robots(parts).await?;
        let robot = robot(id.clone(), config, played);
        let created = parts.store.create_integration(&robot, &note("integration.create")).await;
        created.context("create the robot")?;
        let trigger = trigger(expert.clone(), id.clone());
        let note = note("trigger.publish");
        let published = parts.store.publish(&trigger, Some(&runtime), &note).await;
        published.context("publish the trigger")?;
    }
    for change in [Change::Integration(id.clone()), Change::Trigger(id), Change::Runtime(expert)] {
        parts.routing.announce(change).await;
    }
    Ok(())
}

/// The demo's DingTalk would be given their secrets, and they would hear nothing of the real one.
async fn refuse_real_robots(parts: &Parts) -> Result<(), Failure> {
    let first = Page { after: None, limit: 1 };
    if parts.store.integrations(&first).await.context("read the robots")?.is_empty() {
        return Ok(());
    }
    let remedy = "there are robots here that are not the demo's: set DT_DATA_DIR to another \
                  directory, or DATABASE_URL to another database";
    Err(Failure::Configuration(remedy.to_owned()))
}

fn trigger(expert: ExpertId, integration: IntegrationId) -> Trigger {
    Trigger {
        expert,
        integration,
        is_enabled: true,
        session_timeout: Duration::from_secs(3600),
        summary_window: Duration::ZERO,
        former_window: None,
        busy_policy: BusyPolicy::Queue,
        queued_notice: QueuedNotice::Reaction,
        allow_conversations: vec![],
        allow_senders: vec![],
        corp_id: None,
        mention_asker: true,
        act_by: ActBy::Asker,
    }
}

fn robot(id: IntegrationId, config: &Config, played: &Played) -> Integration {
    Integration {
        id,
        name: "Demo robot".to_owned(),
        mode: Mode::Stream,
        client_id: CLIENT_ID.to_owned(),
        client_secret: played.client_secret.clone(),
        robot_code: None,
        callback_token: None,
        callback_aes_key: None,
        // The simulated cloud draws any template, so that questions are seen as cards.
        card_template_id: Some("demo.schema".to_owned()),
        language: config.language,
        receiver_id: None,
        corp_id: None,
        scope: Scope::Sender,
        is_paused: false,
    }
}

pub fn introduce(played: &Played) {
    say(&format!("chat page: {}", played.running.dingtalk_url));
}
