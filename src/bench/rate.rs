//! Doing something many times with so many in flight, and counting.
//!
//! Guarantees only that the load is bounded and that every call is counted once; what a call does, and
//! what a figure is compared with, is the scenario's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::Instant;

use crate::context::Context;

/// Calls `work` with 0..`total`, `in_flight` at once. Gives calls a second.
pub async fn measure<W, F>(
    context: &Context,
    total: usize,
    in_flight: usize,
    work: W,
) -> anyhow::Result<f64>
where
    W: Fn(usize, usize) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let lanes: Vec<_> = (0..in_flight)
        .map(|lane| {
            let (next, work) = (next.clone(), work.clone());
            context.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= total {
                        return anyhow::Ok(());
                    }
                    work(lane, number).await?;
                }
            })
        })
        .collect();
    for lane in lanes {
        lane.await??;
    }
    Ok(per_second(total, began.elapsed().as_secs_f64()))
}

pub fn per_second(count: usize, seconds: f64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / seconds
}

/// The middle of several figures.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// The figure that so many in a hundred do not exceed.
pub fn percentile(figures: &[f64], percent: usize) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}
