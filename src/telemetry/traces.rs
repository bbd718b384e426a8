//! Spans: what was done for a message, where, and for how long. Off without a collector, and then
//! nothing is made at all.
//!
//! Guarantees that nobody ever waits for a collector: what does not fit into the queue is dropped and
//! counted. A span ends when its [`Work`] is dropped, however that came. Sending them is `io::otlp`'s.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::futures::TaskLocalFuture;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::metrics::{Metrics, Outcome};
use crate::context::Clock;
use crate::domain::span::{Kind, Moment, Span, SpanId, Spot, Value};

/// Finished spans that wait for the collector.
const QUEUE_MAX: usize = 8192;

tokio::task_local! {
    static CURRENT: Option<Spot>;
}

/// Where this task is in a trace, if anybody looks on.
pub fn current() -> Option<Spot> {
    CURRENT.try_with(|spot| *spot).ok().flatten()
}

/// What `work` begins stands below `spot`.
pub fn under<F: Future>(spot: Option<Spot>, work: F) -> TaskLocalFuture<Option<Spot>, F> {
    CURRENT.scope(spot, work)
}

/// Cheap to clone; all clones belong to one process.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Queue>>);

struct Queue {
    clock: Clock,
    metrics: Arc<Metrics>,
    spans: mpsc::Sender<Span>,
    closing: CancellationToken,
    closed: CancellationToken,
}

/// The other end of the queue: dropped once nothing more will be sent.
pub struct Outlet {
    pub spans: mpsc::Receiver<Span>,
    /// Cancelled once the process ends: what is queued is the last.
    pub closing: CancellationToken,
    _closed: DropGuard,
}

impl Traces {
    pub fn new(clock: Clock, metrics: Arc<Metrics>) -> (Self, Outlet) {
        let (sender, spans) = mpsc::channel(QUEUE_MAX);
        let (closing, closed) = (CancellationToken::new(), CancellationToken::new());
        let outlet =
            Outlet { spans, closing: closing.clone(), _closed: closed.clone().drop_guard() };
        (Self(Some(Arc::new(Queue { clock, metrics, spans: sender, closing, closed }))), outlet)
    }

    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Work that begins now, below `parent`; of no consequence where there is none.
    pub fn begin(
        &self,
        name: &'static str,
        kind: Kind,
        parent: impl FnOnce() -> Option<Spot>,
    ) -> Work {
        let Some(queue) = &self.0 else { return Work(None) };
        let Some(parent) = parent() else { return Work(None) };
        let spot = Spot { trace: parent.trace, span: SpanId(rand::random()) };
        let began_ns = queue.clock.now_ns();
        Work::new(queue, Span { parent: Some(parent.span), ..span(spot, name, kind, began_ns) })
    }

    /// Work that is the beginning of its trace, and began `ago`.
    pub fn root(&self, name: &'static str, kind: Kind, spot: Spot, ago: Duration) -> Work {
        let Some(queue) = &self.0 else { return Work(None) };
        let ago_ns = u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX);
        let began_ns = queue.clock.now_ns().saturating_sub(ago_ns);
        Work::new(queue, span(spot, name, kind, began_ns))
    }

    /// Work that began `ago` and belongs below the beginning of its trace.
    pub fn again(&self, name: &'static str, kind: Kind, root: Spot, ago: Duration) -> Work {
        let spot = Spot { trace: root.trace, span: SpanId(rand::random()) };
        let mut work = self.root(name, kind, spot, ago);
        if let Some(open) = &mut work.0 {
            open.span.parent = Some(root.span);
        }
        work
    }

    /// What is queued is sent, as far as that goes within `limit`; what ends later is dropped.
    pub async fn close(&self, limit: Duration) {
        let Some(queue) = &self.0 else { return };
        queue.closing.cancel();
        if tokio::time::timeout(limit, queue.closed.cancelled()).await.is_err() {
            tracing::warn!("the drain limit is over; spans were not sent");
        }
    }
}

fn span(spot: Spot, name: &'static str, kind: Kind, began_ns: u64) -> Span {
    Span {
        spot,
        parent: None,
        name,
        kind,
        began_ns,
        ended_ns: began_ns,
        attributes: vec![],
        moments: vec![],
        links: vec![],
        failure: None,
    }
}

/// A span that has not ended yet. Where nobody looks on it is nothing, and what is said of it costs
/// nothing.
pub struct Work(Option<Box<Open>>);

struct Open {
    span: Span,
    queue: Arc<Queue>,
}

impl Work {
    fn new(queue: &Arc<Queue>, span: Span) -> Self {
        Self(Some(Box::new(Open { span, queue: queue.clone() })))
    }

    pub fn spot(&self) -> Option<Spot> {
        self.0.as_ref().map(|open| open.span.spot)
    }

    /// An id or a word of ours: never what a person or an expert wrote, and no name.
    /// Said again, it replaces what was said before.
    pub fn note(&mut self, key: &'static str, value: impl Display) {
        if let Some(open) = &mut self.0 {
            open.set(key, Value::Text(value.to_string()));
        }
    }

    pub fn number(&mut self, key: &'static str, value: impl Into<i64>) {
        if let Some(open) = &mut self.0 {
            open.set(key, Value::Number(value.into()));
        }
    }

    pub fn moment(&mut self, name: &'static str) {
        if let Some(open) = &mut self.0 {
            let at_ns = open.queue.clock.now_ns();
            open.span.moments.push(Moment { name, at_ns });
        }
    }

    pub fn last_moment(&self) -> Option<&'static str> {
        self.0.as_ref()?.span.moments.last().map(|moment| moment.name)
    }

    pub fn link(&mut self, others: impl Iterator<Item = Spot>) {
        if let Some(open) = &mut self.0 {
            open.span.links.extend(others);
        }
    }

    pub fn failed(&mut self, why: &'static str) {
        if let Some(open) = &mut self.0 {
            open.span.failure = Some(why);
        }
    }
}

impl Open {
    fn set(&mut self, key: &'static str, value: Value) {
        self.span.attributes.retain(|(known, _)| *known != key);
        self.span.attributes.push((key, value));
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let Some(open) = self.0.take() else { return };
        let Open { mut span, queue } = *open;
        // A clock that was set back meanwhile makes no span end before it began.
        span.ended_ns = queue.clock.now_ns().max(span.began_ns);
        if queue.spans.try_send(span).is_err() {
            queue.metrics.spans.get_or_create(&Outcome { result: "dropped" }).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::span::TraceId;

    const SPOT: Spot = Spot { trace: TraceId([1; 16]), span: SpanId([2; 8]) };

    fn made() -> (Traces, Outlet, Arc<Metrics>) {
        let metrics = Arc::<Metrics>::default();
        let (traces, outlet) = Traces::new(Clock::system(), metrics.clone());
        (traces, outlet, metrics)
    }

    #[test]
    fn without_a_collector_nothing_is_made() {
        let traces = Traces::default();
        let mut work = traces.begin("run", Kind::Internal, || panic!("nobody asks for a parent"));
        work.link(std::iter::repeat_with(|| panic!("nobody asks for a link")));
        assert_eq!((traces.is_on(), work.spot()), (false, None));
    }

    #[tokio::test]
    async fn work_stands_below_what_it_was_begun_in_and_is_sent_when_it_ends() {
        let (traces, mut outlet, _) = made();
        let root = traces.root("accept", Kind::Server, SPOT, Duration::from_secs(1));
        under(root.spot(), async {
            let mut inner = traces.begin("run", Kind::Internal, current);
            inner.note("turn.id", "t");
            inner.moment("started");
        })
        .await;
        drop(root);
        let (run, accept) = (outlet.spans.try_recv().unwrap(), outlet.spans.try_recv().unwrap());
        assert_eq!((run.name, run.parent, run.spot.trace), ("run", Some(SPOT.span), SPOT.trace));
        assert_eq!((accept.spot, accept.parent), (SPOT, None));
        assert!(accept.began_ns <= run.began_ns && run.ended_ns <= accept.ended_ns);
        assert!(accept.ended_ns - accept.began_ns >= 1_000_000_000);
        assert_eq!(current(), None);
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let (traces, outlet, metrics) = made();
        for _ in 0..QUEUE_MAX + 3 {
            drop(traces.root("accept", Kind::Server, SPOT, Duration::ZERO));
        }
        let dropped = metrics.spans.get_or_create(&Outcome { result: "dropped" }).get();
        assert_eq!((dropped, outlet.spans.len()), (3, QUEUE_MAX));
    }

    #[tokio::test]
    async fn closing_waits_for_the_outlet_and_not_for_ever() {
        let (traces, outlet, _) = made();
        traces.close(Duration::from_millis(1)).await;
        assert!(outlet.closing.is_cancelled());
        drop(outlet);
        traces.close(Duration::from_secs(3600)).await;
    }
}
