//! The worker role: stages that take from the broker, decide, and act.
//!
//! A pod owns nothing. Any worker may take any message of any stage at any time and may be killed at any
//! instruction; what is unfinished comes back by itself.

pub mod gate;
pub mod driver;
pub mod queued;
pub mod cards;
pub mod intake;
pub mod due;
pub mod lease;
pub mod run;
pub mod watch;
pub mod bulkhead;
pub mod waker;
pub mod resolve;
pub mod dispatch;
pub mod handoff;
pub mod sweep;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use self::bulkhead::Bulkhead;
use self::cards::Cards;
use self::dispatch::Dispatch;
use self::driver::{Source, drive};
use self::due::DueStage;
use self::gate::Gate;
use self::handoff::HandoffStage;
use self::intake::IntakeStage;
use self::queued::QueuedNotices;
use self::resolve::Resolver;
use self::sweep::Sweep;
use self::waker::Waker;
use self::watch::Watch;
use crate::context::Context;
use crate::domain::id::Seq;
use crate::domain::share::Share;
use crate::io::dead::DeadLetters;
use crate::io::dingtalk::media::Downloads;
use crate::io::dingtalk::send::Sender;
use crate::io::handoff::Handoffs;
use crate::io::journal::Journal;
use crate::io::live::Live;
use crate::io::log::Log;
use crate::io::nats::Nats;
use crate::io::routing::Routing;
use crate::io::runtime::Runtimes;
use crate::io::slot::Slots;
use crate::io::state;
use crate::io::store::Store;
use crate::io::store::writer::Writer;
use crate::io::tick::Ticks;
use crate::io::timer::Timers;
use crate::protocol::action;
use crate::telemetry::metrics::Stage as StageLabel;

const INTAKE: Source =
    Source { stage: "intake", stream: "DT_IN", consumer: "intake", concurrency: 256 };
/// Few abreast: the broker fires in bursts, latest first, and who waited longest is through first.
const DUE: Source = Source { stage: "due", stream: "DT_TIMER", consumer: "due", concurrency: 32 };
const DISPATCH: Source =
    Source { stage: "dispatch", stream: "DT_RUN", consumer: "dispatch", concurrency: 256 };

/// On the health board.
const CONSUMERS: &str = "consumers";
/// How often the lag of the stages is read.
const LAG_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Intake,
    Due,
    Dispatch,
    Handoff,
    Sweep,
}

impl Stage {
    pub const ALL: [Self; 5] =
        [Self::Intake, Self::Due, Self::Dispatch, Self::Handoff, Self::Sweep];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Due => "due",
            Self::Dispatch => "dispatch",
            Self::Handoff => "handoff",
            Self::Sweep => "sweep",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Config {
    pub stages: Vec<Stage>,
    pub dispatch: dispatch::Config,
    /// `DT_RUNS_MAX` and `DT_EXPERT_RUNS_MAX`.
    pub share: Share,
    pub dedupe_window: Duration,
    /// `DT_SWEEP_INTERVAL`.
    pub sweep_every: Duration,
}

/// What a worker is built of.
pub struct Parts {
    pub nats: Nats,
    pub store: Store,
    pub log: Log,
    pub routing: Routing,
    pub downloads: Downloads,
    pub runtimes: Runtimes,
    pub sender: Sender,
    pub writer: Writer,
    pub links: action::Key,
}

/// Starts the stages; they end when the process stops.
pub fn start(context: &Context, parts: &Parts, config: &Config) {
    let gate = Gate::start(context, &parts.nats);
    for stage in &config.stages {
        match stage {
            Stage::Intake => start_intake(context, parts, config, gate.clone()),
            Stage::Due => start_due(context, parts, config, gate.clone()),
            Stage::Dispatch => {
                let stage = dispatch(context, parts, config);
                context.spawn(stage.waker.clone().run());
                start_dispatch(context, &parts.nats, gate.clone(), stage, config.share.runs_max);
            }
            Stage::Handoff => start_handoff(context, parts),
            Stage::Sweep => start_sweep(context, parts, config, gate.clone()),
        }
    }
    context.spawn(lag(context.clone(), parts.nats.clone()));
}

fn start_intake(context: &Context, parts: &Parts, config: &Config, gate: Gate) {
    let stage = IntakeStage {
        context: context.clone(),
        nats: parts.nats.clone(),
        slots: Slots::new(&parts.nats),
        timers: Timers::new(&parts.nats),
        log: parts.log.clone(),
        journal: Journal::new(&parts.nats),
        routing: parts.routing.clone(),
        sender: parts.sender.clone(),
        notices: QueuedNotices::new(context, parts, &config.dispatch),
        writer: parts.writer.clone(),
        plan: config.dispatch.plan,
        page: config.dispatch.page,
    };
    let handle = move |delivery| stage.clone().handle(delivery);
    context.spawn(drive(context.clone(), parts.nats.clone(), gate, INTAKE, handle));
}

fn start_due(context: &Context, parts: &Parts, config: &Config, gate: Gate) {
    let stage = DueStage {
        context: context.clone(),
        log: parts.log.clone(),
        journal: Journal::new(&parts.nats),
        slots: Slots::new(&parts.nats),
        timers: Timers::new(&parts.nats),
        notices: QueuedNotices::new(context, parts, &config.dispatch),
        newer_age_max: config.dispatch.newer_age_max,
        wait_least: config.dispatch.wait_least,
    };
    let handle = move |delivery| stage.clone().handle(delivery);
    context.spawn(drive(context.clone(), parts.nats.clone(), gate, DUE, handle));
}

fn dispatch(context: &Context, parts: &Parts, config: &Config) -> Dispatch {
    let bulkhead = Bulkhead::new(config.share);
    let waker = Waker::new(context, &parts.nats, &parts.routing, bulkhead.clone());
    Dispatch {
        context: context.clone(),
        config: config.dispatch.clone(),
        nats: parts.nats.clone(),
        log: parts.log.clone(),
        journal: Journal::new(&parts.nats),
        slots: Slots::new(&parts.nats),
        timers: Timers::new(&parts.nats),
        handoffs: Handoffs::new(&parts.nats),
        dead: DeadLetters::new(&parts.nats),
        routing: parts.routing.clone(),
        resolver: Resolver {
            context: context.clone(),
            live: Live::new(&parts.nats),
            routing: parts.routing.clone(),
            bulkhead,
            dead: DeadLetters::new(&parts.nats),
            entry_age_max: config.dispatch.policy.entry_age_max,
        },
        downloads: parts.downloads.clone(),
        runtimes: parts.runtimes.clone(),
        sender: parts.sender.clone(),
        cards: Cards::new(context, &parts.sender),
        notices: QueuedNotices::new(context, parts, &config.dispatch),
        writer: parts.writer.clone(),
        watch: Watch::start(context, &parts.nats),
        waker,
        links: parts.links.clone(),
    }
}

fn start_dispatch(context: &Context, nats: &Nats, gate: Gate, stage: Dispatch, runs_max: usize) {
    let stage = Arc::new(stage);
    let handle = move |delivery| stage.clone().handle(delivery);
    let source = Source { concurrency: runs_max, ..DISPATCH };
    context.spawn(drive(context.clone(), nats.clone(), gate, source, handle));
}

fn start_handoff(context: &Context, parts: &Parts) {
    let stage = HandoffStage {
        context: context.clone(),
        handoffs: Handoffs::new(&parts.nats),
        journal: Journal::new(&parts.nats),
        timers: Timers::new(&parts.nats),
        ticks: Ticks::new(&parts.nats),
        routing: parts.routing.clone(),
        live: Live::new(&parts.nats),
    };
    context.spawn(stage.run());
}

fn start_sweep(context: &Context, parts: &Parts, config: &Config, gate: Gate) {
    let stage = Sweep {
        context: context.clone(),
        nats: parts.nats.clone(),
        store: parts.store.clone(),
        log: parts.log.clone(),
        journal: Journal::new(&parts.nats),
        slots: Slots::new(&parts.nats),
        timers: Timers::new(&parts.nats),
        ticks: Ticks::new(&parts.nats),
        routing: parts.routing.clone(),
        writer: parts.writer.clone(),
        every: config.sweep_every,
        dedupe_window: config.dedupe_window,
        gate,
    };
    context.spawn(stage.run());
}

/// The age of the oldest message that was never handed out; zero if the stage is up to date.
async fn oldest(
    context: &Context,
    nats: &Nats,
    stream: &str,
    read: &state::ConsumerState,
) -> Duration {
    if read.pending == 0 {
        return Duration::ZERO;
    }
    let filter = if stream == DUE.stream { "dt.due.>" } else { ">" };
    let first = nats.next(stream, Seq(read.delivered.0 + 1), filter).await.ok().flatten();
    first.map_or(Duration::ZERO, |first| context.clock.now().since(first.at))
}

/// How far the stages are behind, for scaling and alerts.
async fn lag(context: Context, nats: Nats) {
    let mut every = interval(LAG_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = context.stop().cancelled() => return,
            _ = every.tick() => {}
        }
        let mut missing = vec![];
        for Source { stage, stream, consumer, .. } in [INTAKE, DUE, DISPATCH] {
            match state::consumer(&nats, stream, consumer).await {
                Ok(read) => {
                    let pending = read.pending.saturating_add(read.ack_pending);
                    let label = StageLabel { stage };
                    let gauge = context.metrics.consumer_pending.get_or_create(&label).clone();
                    gauge.set(i64::try_from(pending).unwrap_or(i64::MAX));
                    let oldest = oldest(&context, &nats, stream, &read).await;
                    let gauge = context.metrics.stage_oldest.get_or_create(&label).clone();
                    gauge.set(i64::try_from(oldest.as_secs()).unwrap_or(i64::MAX));
                }
                Err(error) if error.is_not_found() => missing.push(format!("{stream}/{consumer}")),
                // The connection's own state says that the broker is away.
                Err(error) => tracing::debug!(%error, consumer, "its lag is read later"),
            }
        }
        if missing.is_empty() {
            context.health.has(CONSUMERS);
        } else {
            let missing = missing.join(", ");
            let why = format!("no consumer {missing}; run `dingtalk-trigger streams apply`");
            context.health.lacks(CONSUMERS, why);
        }
    }
}
