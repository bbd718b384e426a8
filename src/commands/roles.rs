//! The roles as processes of their own, sharing one NATS and one PostgreSQL.
//!
//! Puts the parts together and starts them; each role ends by its own drain. What a role does is its
//! own: nothing is decided here.

use std::sync::Arc;

use anyhow::Context as _;

use super::Failure;
use super::parts::Parts;
use super::process::live;
use crate::config::Config;
use crate::context::body::Readers;
use crate::context::{Clock, Context, files};
use crate::edge::order::Order;
use crate::edge::{Edge, owner, room, stream};
use crate::io::admin::Admin;
use crate::io::dingtalk::media::Downloads;
use crate::io::dingtalk::send::{self, Sender};
use crate::io::dingtalk::token::Tokens;
use crate::io::egress::Egress;
use crate::io::governor::Governor;
use crate::io::journal::Journal;
use crate::io::live::Live;
use crate::io::otlp::Collector;
use crate::io::presence;
use crate::io::runtime::Runtimes;
use crate::io::store::events::Recorder;
use crate::io::store::writer::Writer;
use crate::reply::{self, Replies};
use crate::telemetry::health;
use crate::worker::{self, Stage};

const STARTED: &str = "started";
/// How long DingTalk may take for one send.
const SEND_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

pub async fn edge(config: &Config) -> Result<(), Failure> {
    role("edge", config, async |context: &Context, parts: &Parts| {
        start_edge(context, config, parts).await.map(drop)
    })
    .await
}

pub async fn worker(config: &Config, stages: Vec<Stage>) -> Result<(), Failure> {
    let stages = if stages.is_empty() { Stage::ALL.to_vec() } else { stages };
    role("worker", config, async |context: &Context, parts: &Parts| {
        start_worker(context, config, parts, stages.clone());
        Ok(())
    })
    .await
}

pub async fn console(config: &Config) -> Result<(), Failure> {
    role("console", config, async |context: &Context, parts: &Parts| {
        start_console(context, config, parts).await?;
        context.spawn(crate::console::database::watch(context.clone(), parts.store.clone()));
        Ok(())
    })
    .await
}

async fn role(
    name: &'static str,
    config: &Config,
    start: impl AsyncFn(&Context, &Parts) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut context = Context::new(Clock::system());
    trace(&mut context, name, config)?;
    let starting = async {
        serve_health(&context, config).await?;
        let parts = Parts::connect(&context, config).await?;
        start(&context, &parts).await?;
        started(&context);
        Ok(parts)
    };
    live(&context, config.drain, starting).await.map(drop)
}

/// Spans go to the operator's collector, where there is one.
pub fn trace(context: &mut Context, role: &'static str, config: &Config) -> Result<(), Failure> {
    let Some(settings) = &config.otlp else { return Ok(()) };
    let egress = Egress::new(&config.egress()).context("start the HTTP client")?;
    let resource = vec![
        ("service.name", env!("CARGO_PKG_NAME").to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", config.pod.clone()),
        ("role", role.to_owned()),
    ];
    let outlet = context.trace();
    let collector = Collector::new(context, &egress, settings, resource);
    let collector = collector.context("read OTEL_EXPORTER_OTLP_ENDPOINT")?;
    // It outlives the context whose last spans it sends; closing the traces waits for it.
    Context::new(context.clock.clone()).spawn(collector.follow(outlet));
    Ok(())
}

/// Not ready until [`started`]: it listens before anything else does. Gives the address that was bound.
pub async fn serve_health(
    context: &Context,
    config: &Config,
) -> Result<std::net::SocketAddr, Failure> {
    context.health.lacks(STARTED, "the process is starting");
    let listener = config.health_listener();
    // It outlives the context that it speaks of: a process that drains says so.
    let life = Context::new(context.clock.clone());
    let bound = health::serve(context, &life, &listener).await;
    let bound =
        bound.with_context(|| format!("listen on DT_HEALTH_ADDR {}", config.health_address))?;
    tracing::info!(%bound, "health endpoint");
    Ok(bound)
}

/// Everything the process offers listens now.
pub fn started(context: &Context) {
    context.health.has(STARTED);
}

pub async fn start_edge(
    context: &Context,
    config: &Config,
    parts: &Parts,
) -> Result<std::net::SocketAddr, Failure> {
    let edge = Edge {
        context: context.clone(),
        log: parts.log.clone(),
        journal: Journal::new(&parts.nats),
        routing: parts.routing.clone(),
        recorder: Recorder::start(context, parts.store.clone()),
        action_key: parts.links.clone(),
        body_max_bytes: config.limits.body_max_bytes,
        readers: Readers::default(),
        dedupe_window: config.topology.dedupe_window,
        order: Order::default(),
    };
    let address = &config.edge_address;
    let listener = config.listener(address, files::limit());
    // At the edge only signatures answer turns, unless the operator says otherwise.
    let token = config.admin_token.clone().filter(|_| config.edge_admin_token);
    let late = replies(context, config, parts, Admin::new(token, context.metrics.clone()));
    let bound = crate::edge::serve(edge.clone(), &listener, late).await;
    let bound = bound.with_context(|| format!("listen on DT_EDGE_ADDR {address}"))?;
    tracing::info!(%bound, "edge");
    let entry_max_bytes = config.limits.entry_max_bytes;
    context.spawn(room::watch(context.clone(), parts.nats.clone(), entry_max_bytes));
    let owner = owner::Config {
        owners: config.limits.stream_owners,
        // The same after a restart, so that a killed pod is not missed by its own successor.
        ..owner::Config::new(format!("{}-{}", config.pod, bound.port()))
    };
    let stream = stream::Parts {
        context: context.clone(),
        live: Live::new(&parts.nats),
        gateway: parts.gateway(config)?,
        owner,
        config: stream::Config {
            frames_in_flight: config.limits.frames_in_flight,
            frame_max_bytes: config.limits.frame_max_bytes,
            ..stream::Config::default()
        },
    };
    stream::serve(edge, stream);
    Ok(bound)
}

pub fn start_worker(context: &Context, config: &Config, parts: &Parts, stages: Vec<Stage>) {
    presence::announce(context, Live::new(&parts.nats), "worker", &config.pod);
    let governor = Governor::new(context.clone(), &parts.nats, config.governor());
    let tokens = Tokens::new(context.clone(), parts.egress.clone(), &config.dingtalk_api_url);
    let sending = send::Config {
        api_url: config.dingtalk_api_url.clone(),
        reply_hosts: config.reply_hosts.clone(),
        timeout: SEND_TIMEOUT,
    };
    let egress = parts.egress.clone();
    let made = worker::Parts {
        nats: parts.nats.clone(),
        store: parts.store.clone(),
        log: parts.log.clone(),
        routing: parts.routing.clone(),
        downloads: Downloads::new(context.clone(), egress.clone(), tokens.clone(), config.media()),
        runtimes: Runtimes::new(context.clone(), egress.clone(), config.runtime()),
        sender: Sender::new(context.clone(), egress, tokens, governor, sending)
            .recorded_by(Recorder::start(context, parts.store.clone())),
        writer: Writer::start(context, parts.store.clone()),
        links: parts.links.clone(),
    };
    let settings = worker::Config {
        stages,
        dispatch: config.dispatch(),
        share: config.limits.share,
        dedupe_window: config.topology.dedupe_window,
        sweep_every: config.limits.sweep_every,
    };
    worker::start(context, &made, &settings);
}

pub async fn start_console(
    context: &Context,
    config: &Config,
    parts: &Parts,
) -> Result<std::net::SocketAddr, Failure> {
    let token = config.admin_token.clone();
    let token = token.ok_or_else(|| Failure::Configuration("set DT_ADMIN_TOKEN".to_owned()))?;
    let admin = Admin::new(Some(token), context.metrics.clone());
    let state = crate::console::State {
        context: context.clone(),
        store: parts.store.clone(),
        routing: parts.routing.clone(),
        log: parts.log.clone(),
        nats: parts.nats.clone(),
        live: Live::new(&parts.nats),
        gateway: parts.gateway(config)?,
        egress: parts.egress.clone(),
        config: Arc::new(crate::console::Config {
            listener: config.listener(&config.console_address, files::limit()),
            admin: admin.clone(),
            hosts: config.console_hosts.clone(),
            public_url: config.public_url.clone(),
            dingtalk_api_url: config.dingtalk_api_url.clone(),
            language: config.language,
        }),
    };
    let address = &config.console_address;
    let bound = crate::console::serve(state, replies(context, config, parts, admin)).await;
    let bound = bound.with_context(|| format!("listen on DT_CONSOLE_ADDR {address}"))?;
    presence::announce(context, Live::new(&parts.nats), "console", &config.pod);
    tracing::info!(%bound, "admin API");
    Ok(bound)
}

/// Late answers come to the edge, whose address `replyUrl` names, or to the console.
fn replies(context: &Context, config: &Config, parts: &Parts, admin: Admin) -> axum::Router {
    let settings = config.dispatch();
    reply::router(Replies {
        context: context.clone(),
        nats: parts.nats.clone(),
        routing: parts.routing.clone(),
        readers: Readers::default(),
        config: Arc::new(reply::Config {
            admin,
            reply: settings.reply,
            answer_max_bytes: config.limits.answer_max_bytes,
            policy: settings.policy,
        }),
    })
}
