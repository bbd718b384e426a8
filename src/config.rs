//! The environment, read once, into every module's `Config`. The only reader of the environment.
//!
//! Every bad setting is named at once, with its remedy. Secrets may come as `NAME_FILE`.

pub mod settings;
pub mod reader;

use std::path::PathBuf;
use std::time::Duration;

use reader::Reader;

use crate::context::listener;
use crate::domain::binding::Language;
use crate::domain::plan;
use crate::domain::reply;
use crate::domain::secret::Secret;
use crate::domain::share::Share;
use crate::domain::turn::Policy;
use crate::io::dingtalk::media;
use crate::io::egress::host::{HostList, Scheme};
use crate::io::egress::{self, proxy};
use crate::io::log::PageLimits;
use crate::io::{governor, nats, otlp, runtime, store, topology};
use crate::protocol::host::Hosts;
use crate::worker::dispatch::{self, attaching};

/// A variable of the environment.
#[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What every command reads; which of it a command needs, it says by asking.
#[derive(Debug, Clone)]
pub struct Config {
    pub nats: nats::Config,
    pub topology: topology::Config,
    pub store: Option<store::Config>,
    pub data_dir: PathBuf,
    pub nats_server: Option<PathBuf>,
    pub edge_address: String,
    pub console_address: String,
    pub health_address: String,
    pub connections: listener::Limits,
    pub health_connections_max: usize,
    pub sim_address: String,
    pub public_url: String,
    pub admin_token: Option<Secret>,
    /// The edge takes late answers with the admin token, too.
    pub edge_admin_token: bool,
    pub console_hosts: Hosts,
    pub dingtalk_api_url: String,
    pub reply_hosts: HostList,
    pub download_hosts: HostList,
    pub proxies: proxy::Config,
    pub language: Language,
    pub drain: Duration,
    pub log_filter: String,
    pub otlp: Option<otlp::Config>,
    pub pod: String,
    pub limits: Limits,
}

/// Every limit of the design.
#[derive(Debug, Clone)]
pub struct Limits {
    pub body_max_bytes: usize,
    pub entry_max_bytes: usize,
    pub turn_messages_max: usize,
    pub turn_max_bytes: usize,
    pub turn_files_max: usize,
    pub media_max_bytes: u64,
    pub media_inline_max_bytes: u64,
    pub media_timeout: Duration,
    pub media_downloads_max: usize,
    pub share: Share,
    pub answer_max_bytes: usize,
    pub segments_max: usize,
    pub segment_max_bytes: usize,
    pub send_rate: u32,
    pub webhook_rate: u32,
    pub handoff_age_max: Duration,
    pub entry_age_max: Duration,
    pub newer_age_max: Duration,
    pub window_max_wait: Duration,
    pub runtime_timeout: Duration,
    pub runtime_idle: Duration,
    pub frames_in_flight: usize,
    pub frame_max_bytes: usize,
    pub stream_owners: usize,
    pub sweep_every: Duration,
}

/// What a command cannot do without, although others can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Database,
    /// By several processes: they cannot share a SQLite file.
    SharedDatabase,
    AdminToken,
}

impl Config {
    /// Reads through `variable`; the error names every bad setting, and every missing one of `needs`, one a
    /// line.
    pub fn read(
        variable: impl Fn(&str) -> Option<String>,
        needs: &[Need],
    ) -> Result<Self, Vec<String>> {
        let mut read = Reader::new(variable);
        let limits = limits(&mut read);
        let master_key = read.master_key("DT_MASTER_KEY");
        let [api, oapi] =
            ["DT_DINGTALK_API_URL", "DT_DINGTALK_OAPI_URL"].map(|it| read.operated(it));
        let edge_address = read.address("DT_EDGE_ADDR");
        let operated: Vec<_> = api.iter().chain(&oapi).map(String::as_str).collect();
        let config = Self {
            nats: nats::Config {
                url: read.broker("NATS_URL"),
                credentials: read.file("NATS_CREDS"),
                login: read.login("NATS_USER", "NATS_PASSWORD", "NATS_TOKEN"),
                name: read.pod("DT_POD"),
                request_timeout: Duration::from_secs(3),
            },
            topology: topology::Config {
                replicas: read.number("DT_REPLICAS", 1..=5),
                dedupe_window: read.duration("DT_DEDUPE_WINDOW", 1..=3600),
            },
            store: store_config(&mut read, master_key, needs),
            data_dir: PathBuf::from(read.text("DT_DATA_DIR")),
            nats_server: read.file("DT_NATS_SERVER"),
            public_url: read.reached("DT_PUBLIC_URL", &edge_address),
            edge_address,
            console_address: read.address("DT_CONSOLE_ADDR"),
            health_address: read.address("DT_HEALTH_ADDR"),
            connections: listener::Limits {
                connections_max: read.number("DT_CONNECTIONS_MAX", 1..=1_000_000),
                head_timeout: read.duration("DT_HEAD_TIMEOUT", 1..=60),
                receive_timeout: read.duration("DT_RECEIVE_TIMEOUT", 1..=600),
                idle_timeout: read.duration("DT_IDLE_TIMEOUT", 1..=3600),
            },
            health_connections_max: read.number("DT_HEALTH_CONNECTIONS_MAX", 1..=10_000),
            sim_address: read.address("DT_SIM_ADDR"),
            admin_token: read.admin_token("DT_ADMIN_TOKEN"),
            console_hosts: read.names("DT_CONSOLE_URL", "DT_CONSOLE_HOSTS"),
            edge_admin_token: read.switch("DT_EDGE_ADMIN_TOKEN"),
            dingtalk_api_url: api.clone().unwrap_or_else(|| read.text("DT_DINGTALK_API_URL")),
            reply_hosts: read.hosts("DT_REPLY_HOSTS", Scheme::HttpsOnly, &operated),
            download_hosts: read.hosts("DT_DOWNLOAD_HOSTS", Scheme::HttpToo, &operated),
            proxies: proxy::Config {
                https: read.proxy("HTTPS_PROXY"),
                no: read.text("NO_PROXY"),
                fetch: read.proxy("DT_FETCH_PROXY"),
            },
            language: read.language("DT_LANGUAGE"),
            drain: read.duration("DT_DRAIN_SECONDS", 0..=3600),
            log_filter: read.log_filter("DT_LOG"),
            otlp: otlp_config(&mut read),
            pod: read.pod("DT_POD"),
            limits,
        };
        if needs.contains(&Need::AdminToken) {
            read.require("DT_ADMIN_TOKEN", "16 characters or more");
        }
        read.finish(config)
    }

    /// A public listener or that of the admin API. `files` may be open in this process: each listener takes a
    /// quarter of them at most, so that the broker, the database and DingTalk keep theirs.
    pub fn listener(&self, address: &str, files: Option<usize>) -> listener::Config {
        let mut limits = self.connections;
        let share = files.map_or(usize::MAX, |files| (files / 4).max(1));
        limits.connections_max = limits.connections_max.min(share);
        listener::Config { address: address.to_owned(), limits }
    }

    /// The health listener has seats of its own, so that a full edge does not look like a dead process.
    pub fn health_listener(&self) -> listener::Config {
        let limits =
            listener::Limits { connections_max: self.health_connections_max, ..self.connections };
        listener::Config { address: self.health_address.clone(), limits }
    }

    pub fn dispatch(&self) -> dispatch::Config {
        let limits = &self.limits;
        dispatch::Config {
            plan: plan::Limits {
                messages_max: limits.turn_messages_max,
                bytes_max: limits.turn_max_bytes,
            },
            // Room for a full turn: questions to the service stand between its messages, and beside their
            // text what DingTalk says of them.
            page: PageLimits {
                entries_max: limits.turn_messages_max * 2,
                bytes_max: limits.turn_max_bytes * 2,
            },
            reply: reply::Limits {
                segment_max_bytes: limits.segment_max_bytes,
                segments_max: limits.segments_max,
            },
            files: attaching::Limits {
                files_max: limits.turn_files_max,
                inline_max_bytes: limits.media_inline_max_bytes,
                file_max_bytes: limits.media_max_bytes,
            },
            policy: Policy {
                handoff_age_max: limits.handoff_age_max,
                entry_age_max: limits.entry_age_max,
                runtime_timeout: limits.runtime_timeout,
            },
            wait_least: limits.window_max_wait,
            // A little less than the whole: the rest is for handing back what is left.
            drain: self.drain.mul_f64(0.8),
            webhook_rate: limits.webhook_rate,
            newer_age_max: limits.newer_age_max,
            public_url: self.public_url.trim_end_matches('/').to_owned(),
        }
    }

    pub fn egress(&self) -> egress::Config {
        egress::Config { proxies: self.proxies.clone(), ..egress::Config::default() }
    }

    pub fn media(&self) -> media::Config {
        media::Config {
            api_url: self.dingtalk_api_url.clone(),
            hosts: self.download_hosts.clone(),
            file_max_bytes: self.limits.media_max_bytes,
            timeout: self.limits.media_timeout,
            held_max: self.limits.media_downloads_max,
        }
    }

    pub fn runtime(&self) -> runtime::Config {
        runtime::Config {
            upload_timeout: self.limits.media_timeout,
            total_timeout: self.limits.runtime_timeout,
            idle_timeout: self.limits.runtime_idle,
            answer_max_bytes: self.limits.answer_max_bytes,
            ..runtime::Config::default()
        }
    }

    pub fn governor(&self) -> governor::Config {
        governor::Config { rate_per_s: self.limits.send_rate, ..governor::Config::default() }
    }
}

fn store_config<V: Fn(&str) -> Option<String>>(
    read: &mut Reader<V>,
    master_key: Option<Secret>,
    needs: &[Need],
) -> Option<store::Config> {
    // All are read before one that is missing ends it.
    let is_shared = needs.contains(&Need::SharedDatabase);
    let url = read.database("DATABASE_URL", is_shared);
    if is_shared || needs.contains(&Need::Database) {
        read.require("DATABASE_URL", "where the tables are");
        read.require("DT_MASTER_KEY", "32 bytes in base64");
    }
    let old_master_key = read.master_key("DT_MASTER_KEY_OLD");
    let connections_max = read.number("DT_SQL_CONNECTIONS", 1..=1000);
    Some(store::Config { url: url?, master_key: master_key?, old_master_key, connections_max })
}

fn otlp_config<V: Fn(&str) -> Option<String>>(read: &mut Reader<V>) -> Option<otlp::Config> {
    let endpoint = read.collector("OTEL_EXPORTER_OTLP_ENDPOINT");
    let headers = read.headers("OTEL_EXPORTER_OTLP_HEADERS");
    Some(otlp::Config { endpoint: endpoint?, headers })
}

fn limits<V: Fn(&str) -> Option<String>>(read: &mut Reader<V>) -> Limits {
    let runs_max = read.number("DT_RUNS_MAX", 1..=100_000);
    Limits {
        body_max_bytes: read.number("DT_BODY_MAX_BYTES", 1024..=64 << 20),
        entry_max_bytes: read.number("DT_ENTRY_MAX_BYTES", 1024..=900 << 10),
        turn_messages_max: read.number("DT_TURN_MAX_MESSAGES", 1..=1000),
        // A dead turn is one record: with all that DingTalk says of its messages it must fit the broker.
        turn_max_bytes: read.number("DT_TURN_MAX_BYTES", 1024..=256 << 10),
        turn_files_max: read.number("DT_TURN_MAX_FILES", 0..=1000),
        media_max_bytes: read.number("DT_MEDIA_MAX_BYTES", 1024..=1 << 30),
        media_inline_max_bytes: read.number("DT_MEDIA_INLINE_MAX_BYTES", 0..=64 << 20),
        media_timeout: read.duration("DT_MEDIA_TIMEOUT", 1..=3600),
        media_downloads_max: read.number("DT_MEDIA_DOWNLOADS_MAX", 1..=10_000),
        share: Share {
            runs_max,
            expert_runs_max: read.optional_number("DT_EXPERT_RUNS_MAX", 1..=runs_max),
        },
        answer_max_bytes: read.number("DT_ANSWER_MAX_BYTES", 1024..=700_000),
        segments_max: read.number("DT_SEGMENTS_MAX", 1..=1000),
        segment_max_bytes: read.number("DT_SEGMENT_MAX_BYTES", 2000..=15_000),
        send_rate: read.number("DT_SEND_RATE", 0..=10_000),
        webhook_rate: read.number("DT_WEBHOOK_RATE", 0..=10_000),
        handoff_age_max: read.duration("DT_HANDOFF_MAX_AGE", 1..=5 * 24 * 3600),
        // The log keeps an entry for a day longer.
        entry_age_max: read.duration("DT_ENTRY_MAX_AGE", 1..=6 * 24 * 3600),
        newer_age_max: read.duration("DT_NEWER_MAX_AGE", 1..=24 * 3600),
        window_max_wait: read.duration("DT_WINDOW_MAX_WAIT", 1..=3600),
        runtime_timeout: read.duration("DT_RUNTIME_TIMEOUT", 1..=3600),
        runtime_idle: read.duration("DT_RUNTIME_IDLE_TIMEOUT", 1..=3600),
        frames_in_flight: read.number("DT_FRAMES_IN_FLIGHT", 1..=10_000),
        frame_max_bytes: read.number("DT_STREAM_FRAME_MAX_BYTES", 64 << 10..=8 << 20),
        stream_owners: read.number("DT_STREAM_OWNERS", 1..=2),
        sweep_every: read.duration("DT_SWEEP_INTERVAL", 1..=600),
    }
}
