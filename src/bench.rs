//! Benchmarks, each with its baseline in the same run: figures are ratios, because machines differ.
//!
//! The whole service runs in this process with a broker and a database of its own; DingTalk is a local
//! sink. Nothing here is part of the service.

pub mod stand;
pub mod rate;
pub mod http;
pub mod memory;
pub mod accept;
pub mod pass;
pub mod burst;
pub mod latency;
pub mod windows;
#[cfg(feature = "sim")]
pub mod stream;
#[cfg(feature = "sim")]
pub mod idle;

use clap::ValueEnum;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Signed HTTP callbacks to `PubAck`, against a handler that only publishes the body
    Accept,
    /// Turns through the whole worker, against the bare broker operations of a turn
    Pass,
    /// 3,000 people at once with one expert, against its share and against the rate of `pass`
    Burst,
    /// Accepted to reply at 200/s, against raw publish to deliver
    Latency,
    /// 100,000 windows open at once: their lateness, against the same timers bare, and the memory
    Windows,
    /// Stream frames acknowledged after their `PubAck`, against the official Python SDK's bare ack
    #[cfg(feature = "sim")]
    Stream,
    /// Memory of an edge with 1,000 idle Stream connections
    #[cfg(feature = "sim")]
    Idle,
}

impl Scenario {
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }
}

/// One line of the report: what was measured, against what, and what is asked.
#[derive(Debug)]
pub struct Figure {
    pub name: &'static str,
    pub measured: String,
    pub baseline: String,
    pub ratio: f64,
    /// The ratio must be at least this (or at most, where less is better).
    pub asked: f64,
    pub is_less_better: bool,
}

impl Figure {
    pub fn is_met(&self) -> bool {
        if self.is_less_better { self.ratio <= self.asked } else { self.ratio >= self.asked }
    }

    pub fn line(&self) -> String {
        let sign = if self.is_less_better { "<=" } else { ">=" };
        let verdict = if self.is_met() { "met" } else { "MISSED" };
        format!(
            "{:<10} {:>26}  against {:>24}  ratio {:>7.2}  asked {sign} {:.2}  {verdict}",
            self.name, self.measured, self.baseline, self.ratio, self.asked
        )
    }
}

pub async fn run(scenario: Scenario) -> anyhow::Result<Vec<Figure>> {
    match scenario {
        Scenario::Accept => accept::run().await,
        Scenario::Pass => pass::run().await,
        Scenario::Burst => burst::run().await,
        Scenario::Latency => latency::run().await,
        Scenario::Windows => windows::run().await,
        #[cfg(feature = "sim")]
        Scenario::Stream => stream::run().await,
        #[cfg(feature = "sim")]
        Scenario::Idle => idle::run().await,
    }
}
