//! Logs: one line an event, filtered by `DT_LOG`, JSON where nobody watches a terminal.
//!
//! Set up once in a process. What may be logged at all, and at which level, is the business of each
//! call: no text of a message, no token, no name.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What is wrong with a filter.
pub fn check(filter: &str) -> Result<(), String> {
    read(filter).map(drop)
}

fn read(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter).map_err(|e| format!("must be a tracing filter such as `info`: {e}"))
}

/// Fails where the process has a log already, or the filter was not checked.
pub fn init(filter: &str) -> Result<(), String> {
    let filter = read(filter)?;
    let registry = tracing_subscriber::registry().with(filter);
    let outcome = if std::io::stderr().is_terminal() {
        let layer = tracing_subscriber::fmt::layer().compact().with_writer(std::io::stderr);
        registry.with(layer).try_init()
    } else {
        let layer = tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr);
        registry.with(layer).try_init()
    };
    outcome.map_err(|e| format!("logging could not start: {e}"))
}
