//! What a process tells about itself: metrics, readiness, logs, traces.
//!
//! Metric names are written here and nowhere else. Labels have few values: integrations, stages,
//! results, never people or messages.

pub mod metrics;
pub mod event;
pub mod health;
pub mod log;
pub mod seldom;
pub mod traces;
