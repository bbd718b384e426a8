//! The metrics of contract 4, by name. Exposed as Prometheus text by `telemetry::health`.
//!
//! Names and labels are promises to dashboards. Labels take few values, all of them our own words, but
//! for the integration's id.

use std::fmt::Write as _;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::event;

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Inbound {
    pub integration: String,
    pub mode: &'static str,
    /// `accepted`, `duplicate`, `ignored_<why>`, or the error code of a refusal.
    pub result: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Event {
    pub integration: String,
    /// DingTalk's own word for it.
    pub kind: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Stage {
    pub stage: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct StageOutcome {
    pub stage: &'static str,
    pub outcome: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Outcome {
    pub result: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByIntegration {
    pub integration: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Send {
    /// `webhook`, `oto`, `group`, `card`.
    pub route: &'static str,
    pub result: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Dead {
    pub stage: &'static str,
    pub reason: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Reason {
    /// `missing`, `busy`, `paused`.
    pub reason: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Limit {
    pub limit: &'static str,
}

#[derive(Clone)]
pub struct Seconds;

impl MetricConstructor<Histogram> for Seconds {
    fn new_metric(&self) -> Histogram {
        // 1 ms to about 17 minutes.
        Histogram::new(exponential_buckets(0.001, 2.0, 21))
    }
}

pub struct Metrics {
    registry: Registry,
    pub inbound: Family<Inbound, Counter>,
    pub events: Family<Event, Counter>,
    pub accept_seconds: Histogram,
    pub stage_seconds: Family<Stage, Histogram, Seconds>,
    pub stage_outcomes: Family<StageOutcome, Counter>,
    pub turns: Family<Outcome, Counter>,
    pub turn_seconds: Histogram,
    pub consumer_pending: Family<Stage, Gauge>,
    pub stream_connected: Family<ByIntegration, Gauge>,
    pub stream_last_frame_seconds: Family<ByIntegration, Gauge>,
    pub sends: Family<Send, Counter>,
    pub ambiguous_sends: Counter,
    pub dead: Family<Dead, Counter>,
    pub parked: Family<Reason, Gauge>,
    pub parked_oldest: Family<Reason, Gauge>,
    pub stage_oldest: Family<Stage, Gauge>,
    pub limit_breaches: Family<Limit, Counter>,
    pub admin_refused: Counter,
    /// Files of messages, by what became of them.
    pub media: Family<Outcome, Counter>,
    pub entries_gone: Counter,
    pub runs_lost: Counter,
    pub newer_left: Family<Stage, Counter>,
    /// Spans for the collector, by what became of them.
    pub spans: Family<Outcome, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            inbound: Family::default(),
            events: Family::default(),
            accept_seconds: Seconds.new_metric(),
            stage_seconds: Family::new_with_constructor(Seconds),
            stage_outcomes: Family::default(),
            turns: Family::default(),
            turn_seconds: Seconds.new_metric(),
            consumer_pending: Family::default(),
            stream_connected: Family::default(),
            stream_last_frame_seconds: Family::default(),
            sends: Family::default(),
            ambiguous_sends: Counter::default(),
            dead: Family::default(),
            parked: Family::default(),
            parked_oldest: Family::default(),
            stage_oldest: Family::default(),
            limit_breaches: Family::default(),
            admin_refused: Counter::default(),
            media: Family::default(),
            entries_gone: Counter::default(),
            runs_lost: Counter::default(),
            newer_left: Family::default(),
            spans: Family::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    /// A counter's name is registered without `_total`: the encoder adds it.
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("dt_inbound", "What DingTalk sent, by result", self.inbound.clone());
        r.register("dt_events", "Events answered and left, by type", self.events.clone());
        r.register(
            "dt_accept_seconds",
            "Received to confirmed by the log",
            self.accept_seconds.clone(),
        );
        r.register("dt_stage_seconds", "One delivery in a stage", self.stage_seconds.clone());
        r.register("dt_stage_outcomes", "How a stage settled", self.stage_outcomes.clone());
        r.register("dt_turns", "Ended turns, by result", self.turns.clone());
        r.register("dt_turn_seconds", "Accepted to delivered", self.turn_seconds.clone());
        r.register(
            "dt_consumer_pending",
            "Messages a stage has yet to take",
            self.consumer_pending.clone(),
        );
        r.register(
            "dt_stream_connected",
            "Live Stream connections of this pod",
            self.stream_connected.clone(),
        );
        r.register(
            "dt_stream_last_frame_seconds",
            "Unix time of the last frame",
            self.stream_last_frame_seconds.clone(),
        );
        r.register("dt_sends", "Posts to DingTalk, by route and result", self.sends.clone());
        r.register(
            "dt_ambiguous_sends",
            "Posts sent again because their outcome was unknown",
            self.ambiguous_sends.clone(),
        );
        r.register("dt_dead", "Buried turns", self.dead.clone());
        self.register_waiting();
        let r = &mut self.registry;
        r.register("dt_limit_breaches", "Limits met", self.limit_breaches.clone());
        r.register("dt_admin_refused", "Wrong admin tokens", self.admin_refused.clone());
        r.register("dt_media", "Files of messages, by result", self.media.clone());
        r.register("dt_entries_gone", "Entries missing from the log", self.entries_gone.clone());
        r.register("dt_runs_lost", "Runs stopped by the fence", self.runs_lost.clone());
        r.register("dt_newer_left", "Records left to a newer release", self.newer_left.clone());
        r.register("dt_spans", "Spans for the collector, by result", self.spans.clone());
    }

    /// What waits, and for how long: the same in every worker.
    fn register_waiting(&mut self) {
        let r = &mut self.registry;
        r.register("dt_parked", "Conversations that wait for an expert", self.parked.clone());
        r.register(
            "dt_parked_oldest_seconds",
            "Age of the oldest wait for an expert",
            self.parked_oldest.clone(),
        );
        r.register(
            "dt_stage_oldest_seconds",
            "Age of the oldest message that a stage has yet to take",
            self.stage_oldest.clone(),
        );
    }

    /// The exposition text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
            write!(text, "# metrics could not be encoded\n# EOF\n").ok();
        }
        text
    }

    /// An event that was answered and left.
    pub fn event_left(&self, integration: &str, kind: &str) {
        let labels = Event { integration: integration.to_owned(), kind: event::label(kind) };
        self.events.get_or_create(&labels).inc();
    }

    pub fn limit_breached(&self, limit: &'static str) {
        self.limit_breaches.get_or_create(&Limit { limit }).inc();
    }
}
