//! What happens to the servers that the service stands on: the nodes of the broker, its streams, and the
//! database.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::stream::Config;
use tokio::time::sleep;

use super::{one_of, pause};
use crate::postgres::Postgres;
use crate::support::cluster::{Cluster, NODES};
use crate::support::rng::Rng;
use crate::support::wait::wait_until;

pub(crate) const STREAMS: [&str; 5] = ["DT_IN", "DT_TIMER", "DT_RUN", "DT_JOURNAL", "DT_HANDOFF"];
const LIMIT: Duration = Duration::from_secs(90);
const OUTAGE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    KillNode,
    /// The one that leads a stream.
    KillLeader,
    /// One node after the other, each when the one before has caught up.
    RollingRestart,
    KillAllNodes,
    /// Every stream gets another leader.
    StepDown,
    /// A stream takes nothing more: `discard new`.
    Full(&'static str),
    RestartDatabase,
    DatabaseOutage,
}

pub(crate) const ALL: [(&str, Fault); 9] = [
    ("NATS node killed", Fault::KillNode),
    ("NATS leader of a stream killed", Fault::KillLeader),
    ("NATS nodes restarted in turn", Fault::RollingRestart),
    ("all NATS nodes killed", Fault::KillAllNodes),
    ("all streams change their leader", Fault::StepDown),
    ("log full", Fault::Full("DT_IN")),
    ("journal full", Fault::Full("DT_JOURNAL")),
    ("PostgreSQL killed and restarted", Fault::RestartDatabase),
    ("PostgreSQL away for 10 s", Fault::DatabaseOutage),
];

pub(crate) struct Servers {
    pub(crate) cluster: Cluster,
    pub(crate) database: Postgres,
}

pub(crate) async fn strike(servers: &mut Servers, fault: Fault, rng: &mut Rng) {
    let Servers { cluster, database } = servers;
    match fault {
        Fault::KillNode => {
            let node = one_of(&[0, 1, 2], rng);
            cluster.kill(node);
            pause(rng, 500, 8000).await;
            cluster.restart(node).await;
            caught_up(cluster).await;
        }
        Fault::KillLeader => {
            let node = cluster.leader(one_of(&STREAMS, rng)).await;
            cluster.kill(node);
            pause(rng, 500, 4000).await;
            cluster.restart(node).await;
            caught_up(cluster).await;
        }
        Fault::RollingRestart => {
            for node in 0..NODES {
                cluster.terminate(node).await;
                cluster.restart(node).await;
                caught_up(cluster).await;
            }
        }
        Fault::KillAllNodes => {
            for node in 0..NODES {
                cluster.kill(node);
            }
            pause(rng, 100, 2000).await;
            for node in 0..NODES {
                cluster.restart(node).await;
            }
            caught_up(cluster).await;
        }
        Fault::StepDown => {
            for stream in STREAMS {
                cluster.step_down(stream).await;
            }
            caught_up(cluster).await;
        }
        Fault::Full(stream) => {
            let full = cluster.max_bytes(stream).await;
            cluster.set_max_bytes(stream, full.held).await;
            pause(rng, 4000, 8000).await;
            cluster.set_max_bytes(stream, full.allowed).await;
        }
        Fault::RestartDatabase => {
            database.kill();
            database.restart().await;
        }
        Fault::DatabaseOutage => {
            database.kill();
            sleep(OUTAGE).await;
            database.restart().await;
        }
    }
}

/// Every replica of every stream has what its leader has.
async fn caught_up(cluster: &Cluster) {
    let context = cluster.jetstream().await;
    wait_until("all replicas are current", LIMIT, async || {
        for name in STREAMS {
            let Ok(stream) = context.get_stream(name).await else { return false };
            let Some(group) = &stream.cached_info().cluster else { return false };
            let is_whole = group.leader.is_some()
                && group.replicas.len() + 1 == NODES
                && group.replicas.iter().all(|replica| replica.current && !replica.offline);
            if !is_whole {
                sleep(Duration::from_millis(200)).await;
                return false;
            }
        }
        true
    })
    .await;
}

/// What a stream may hold and what it does hold, in bytes.
#[derive(Debug, Clone, Copy)]
struct Bytes {
    allowed: i64,
    held: i64,
}

impl Cluster {
    async fn max_bytes(&self, name: &str) -> Bytes {
        let context = self.jetstream().await;
        let mut found = None;
        wait_until("the stream can be read", LIMIT, async || {
            let Ok(stream) = context.get_stream(name).await else { return false };
            let info = stream.cached_info();
            let held = i64::try_from(info.state.bytes).expect("a small stream");
            found = Some(Bytes { allowed: info.config.max_bytes, held });
            true
        })
        .await;
        found.expect("it was read")
    }

    /// As `nats stream edit --max-bytes` does.
    async fn set_max_bytes(&self, name: &str, max_bytes: i64) {
        let context: jetstream::Context = self.jetstream().await;
        wait_until("the stream is edited", LIMIT, async || {
            let Ok(stream) = context.get_stream(name).await else { return false };
            let config = Config { max_bytes, ..stream.cached_info().config.clone() };
            context.update_stream(config).await.is_ok()
        })
        .await;
    }
}
