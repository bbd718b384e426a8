//! Thousands of people at once with one expert registered, as in an ordinary installation.
//!
//! A slow expert is compared with its share used to the full, a fast one with the rate of `pass` in the same
//! run. The messages that the service sends to the broker are printed for both: a wait must not become a storm.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use super::pass::offer;
use super::rate::{median, per_second};
use super::stand::{INTEGRATION, Stand};
use super::{Figure, pass};
use crate::domain::binding::{Runtime, RuntimeKind};
use crate::domain::id::ExpertId;
use crate::domain::secret::Secret;
use crate::io::routing::Change;
use crate::io::store::audit::Note;

const PEOPLE: usize = 3000;
const SLOW: Duration = Duration::from_secs(2);
const FAST: Duration = Duration::from_millis(50);
const ROUNDS: usize = 3;

pub async fn run() -> anyhow::Result<Vec<Figure>> {
    let mut slow = Vec::new();
    let (mut fast, mut rates) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        slow.push(burst(&format!("slow{round}"), SLOW).await?);
        rates.push(pass::pass(round).await?);
        fast.push(burst(&format!("fast{round}"), FAST).await?);
    }
    let share = slow.first().map_or(1, |first| first.share);
    let ideal = SLOW.as_secs_f64() * per_second(PEOPLE, per_second(share, 1.0));
    let ratios = fast.iter().zip(&rates).map(|(burst, rate)| burst.seconds * rate);
    let fast_ratio = median(ratios.map(|product| product / per_second(PEOPLE, 1.0)).collect());
    let by_rate = per_second(PEOPLE, median(rates));
    let seconds = |bursts: &[Burst]| median(bursts.iter().map(|burst| burst.seconds).collect());
    Ok(vec![
        figure("burst-slow", &slow, ideal, (seconds(&slow) / ideal, 1.3)),
        figure("burst-fast", &fast, by_rate, (fast_ratio, 1.5)),
    ])
}

struct Burst {
    seconds: f64,
    /// Messages that the service sent to the broker, for each person.
    messages: f64,
    /// Runs that one expert may have.
    share: usize,
}

fn figure(name: &'static str, bursts: &[Burst], ideal: f64, (ratio, asked): (f64, f64)) -> Figure {
    let seconds = median(bursts.iter().map(|burst| burst.seconds).collect());
    let messages = median(bursts.iter().map(|burst| burst.messages).collect());
    Figure {
        name,
        measured: format!("{seconds:.1} s, {messages:.1} msgs each"),
        baseline: format!("{ideal:.1} s"),
        ratio,
        asked,
        is_less_better: true,
    }
}

/// From the first entry to the last reply.
async fn burst(name: &str, takes: Duration) -> anyhow::Result<Burst> {
    let stand = Stand::start(&format!("burst-{name}")).await?;
    register(&stand, takes).await?;
    stand.start_worker();
    sleep(Duration::from_millis(500)).await;
    let sent = stand.parts.nats.client().statistics();
    let before = sent.out_messages.load(Ordering::Relaxed);
    let began = Instant::now();
    offer(&stand, PEOPLE, PEOPLE, name).await?;
    let all = u64::try_from(PEOPLE).unwrap_or(u64::MAX);
    stand.replies(all, Duration::from_secs(300)).await?;
    let seconds = began.elapsed().as_secs_f64();
    let messages = sent.out_messages.load(Ordering::Relaxed).saturating_sub(before);
    let messages = usize::try_from(messages).unwrap_or(usize::MAX);
    let share = stand.config.limits.share;
    let share = (0..share.runs_max).take_while(|&runs| share.has_room(runs, runs)).count();
    stand.end().await;
    Ok(Burst { seconds, messages: per_second(messages, per_second(PEOPLE, 1.0)), share })
}

/// A callback that answers after so long takes the echo's place.
async fn register(stand: &Stand, takes: Duration) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let answer = move || async move {
        sleep(takes).await;
        r#"{"text":"answer"}"#
    };
    let app = Router::new().route("/", post(answer));
    let stop = stand.context.stop().clone();
    stand.context.spawn(async move {
        axum::serve(listener, app)
            .with_graceful_shutdown(async move { stop.cancelled().await })
            .await
            .ok();
    });
    let secret = Secret::new("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=");
    let kind = RuntimeKind::Callback { url, secret };
    let expert = ExpertId::parse("echo")?;
    let runtime = Runtime { expert, kind, lease: None, is_paused: false };
    let note = Note {
        at: stand.context.clock.now(),
        actor: "bench".to_owned(),
        action: "bench",
        subject: INTEGRATION.to_owned(),
        detail: "{}".to_owned(),
    };
    stand.parts.store.put_runtime(&runtime, &note).await?;
    stand.parts.routing.announce(Change::Runtime(runtime.expert)).await;
    Ok(())
}
