//! Logs: one line an event, filtered by `DT_LOG`, JSON where nobody watches a terminal.
//!
//! Set up once in a process. What may be logged at all, and at which level, is the business of each
//! call: no text of a message, no token, no name. Other crates do not keep to that below `info`: the client
//! of the broker logs passwords and whole messages. So no filter lifts them above `info`.

use std::io::IsTerminal;

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What is wrong with a filter.
pub fn check(filter: &str) -> Result<(), String> {
    read(filter).map(drop)
}

fn read(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter).map_err(|e| format!("must be a tracing filter such as `info`: {e}"))
}

/// Our own lines at any level, those of other crates up to `info`.
fn may_be_logged(line: &Metadata<'_>) -> bool {
    let is_ours = line.target().split("::").next() == Some("dingtalk_trigger");
    is_ours || *line.level() <= Level::INFO
}

/// Fails where the process has a log already, or the filter was not checked.
pub fn init(filter: &str) -> Result<(), String> {
    let filter = read(filter)?;
    let registry = tracing_subscriber::registry().with(filter).with(filter_fn(may_be_logged));
    let outcome = if std::io::stderr().is_terminal() {
        let layer = tracing_subscriber::fmt::layer().compact().with_writer(std::io::stderr);
        registry.with(layer).try_init()
    } else {
        let layer = tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr);
        registry.with(layer).try_init()
    };
    outcome.map_err(|e| format!("logging could not start: {e}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_filter_lifts_another_crate_above_info() {
        let kept = Kept::default();
        let writer = kept.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let filter = read("trace,hyper=trace").unwrap();
        let stack =
            tracing_subscriber::registry().with(filter).with(filter_fn(may_be_logged)).with(layer);
        tracing::subscriber::with_default(stack, || {
            tracing::trace!("ours");
            tracing::trace!(target: "dingtalk_trigger", "the crate itself");
            tracing::info!(target: "hyper::client", "others at info");
            tracing::debug!(target: "hyper::proto", "a password");
            tracing::trace!(target: "dingtalk_trigger_like", "a text");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        for (line, is_there) in [
            ("ours", true),
            ("the crate itself", true),
            ("others at info", true),
            ("a password", false),
            ("a text", false),
        ] {
            assert_eq!(text.contains(line), is_there, "{line} in {text}");
        }
    }
}
