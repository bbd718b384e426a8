//! A watch over what the code under test logs: an ERROR fails the test.
//!
//! Events are told apart by the tokio runtime they happen in, and each test has a runtime of its own, so
//! parallel tests do not see each other's, on whatever thread an event happens.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, Once, PoisonError};

use tokio::runtime::Handle;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use crate::support::env;

static START: Once = Once::new();
static RUNTIMES: Mutex<BTreeMap<String, Record>> = Mutex::new(BTreeMap::new());

#[derive(Default)]
struct Record {
    lines: Vec<String>,
    errors: Vec<String>,
    expected: Vec<String>,
}

/// Asserts when dropped that this test's runtime logged no error but the expected ones.
pub(crate) struct Logs {
    runtime: String,
}

impl Logs {
    /// Watches the runtime this is called in.
    pub(crate) fn watch() -> Self {
        START.call_once(|| {
            let printed = fmt::layer()
                .compact()
                .with_test_writer()
                .with_filter(EnvFilter::new(env::log_filter()));
            tracing_subscriber::registry().with(Collect).with(printed).init();
        });
        let runtime = Handle::current().id().to_string();
        with_record(&runtime, |_| ());
        Self { runtime }
    }

    /// An error whose line contains `part` is what this test is about.
    pub(crate) fn expect_error(&self, part: &str) {
        with_record(&self.runtime, |record| record.expected.push(part.to_owned()));
    }

    /// All that was logged so far, at any level: what must not be in it is the test's to assert.
    pub(crate) fn lines(&self) -> Vec<String> {
        with_record(&self.runtime, |record| record.lines.clone())
    }

    /// The errors nobody expected.
    pub(crate) fn unexpected(&self) -> Vec<String> {
        with_record(&self.runtime, |record| {
            let is_expected = |line: &String| record.expected.iter().any(|e| line.contains(e));
            record.errors.iter().filter(|line| !is_expected(line)).cloned().collect()
        })
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        let unexpected = self.unexpected();
        if !std::thread::panicking() {
            assert!(unexpected.is_empty(), "ERROR in the log:\n{}", unexpected.join("\n"));
        }
    }
}

fn with_record<T>(runtime: &str, use_it: impl FnOnce(&mut Record) -> T) -> T {
    let mut runtimes = RUNTIMES.lock().unwrap_or_else(PoisonError::into_inner);
    use_it(runtimes.entry(runtime.to_owned()).or_default())
}

/// Keeps our own events; a dependency's complaint about a server that a test killed is not an error of ours.
struct Collect;

impl<S: Subscriber> Layer<S> for Collect {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let target = event.metadata().target();
        let Ok(handle) = Handle::try_current() else { return };
        if !target.starts_with("dingtalk_trigger") {
            return;
        }
        let level = *event.metadata().level();
        let mut line = Line(format!("{level} {target}"));
        event.record(&mut line);
        with_record(&handle.id().to_string(), |record| {
            if level == Level::ERROR {
                record.errors.push(line.0.clone());
            }
            record.lines.push(line.0);
        });
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {field}={value:?}").ok();
    }
}
