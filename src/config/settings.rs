//! The settings by name, with their defaults and meaning: what `--help` and the README list.
//!
//! The one list of them: a default that stands here is the one that is read, and a test compares the
//! README. Ranges and meaning of values are `config`'s.

pub struct Setting {
    pub name: &'static str,
    /// Empty: required where it is needed, or off.
    pub default: &'static str,
    pub about: &'static str,
}

const fn setting(name: &'static str, default: &'static str, about: &'static str) -> Setting {
    Setting { name, default, about }
}

pub const SETTINGS: [Setting; 66] = [
    setting(
        "NATS_URL",
        "nats://127.0.0.1:4222",
        "the broker; `up` starts its own where this is not set",
    ),
    setting("NATS_CREDS", "", "credentials file of the broker"),
    setting("NATS_USER", "", "user at the broker, with NATS_PASSWORD; an address may hold both"),
    setting("NATS_PASSWORD", "", "password of NATS_USER; a secret"),
    setting("NATS_TOKEN", "", "token of the broker, instead of user and password; a secret"),
    setting("DATABASE_URL", "", "sqlite://… (only `up`, its default) or postgres://…"),
    setting("DT_SQL_CONNECTIONS", "10", "connections to the database"),
    setting(
        "DT_DATA_DIR",
        "./data",
        "where `up` keeps its files; `up --demo` in `demo` below it where this is not set",
    ),
    setting("DT_NATS_SERVER", "", "nats-server binary that `up` starts"),
    setting("DT_EDGE_ADDR", "0.0.0.0:8080", "the edge listens here"),
    setting("DT_CONSOLE_ADDR", "127.0.0.1:8081", "admin API"),
    setting("DT_CONSOLE_URL", "", "public address of the console, with its path"),
    setting(
        "DT_CONSOLE_HOSTS",
        "",
        "further names that the admin API answers to, with commas between; beside IP addresses and localhost",
    ),
    setting(
        "DT_HEALTH_ADDR",
        "0.0.0.0:9090",
        "/livez, /readyz, /metrics; without a password and with the ids of integrations: keep it behind a firewall",
    ),
    setting("DT_SIM_ADDR", "127.0.0.1:8090", "the simulated DingTalk"),
    setting(
        "DT_PUBLIC_URL",
        "http://127.0.0.1:8080",
        "how DingTalk and browsers reach the edge; where not set, at DT_EDGE_ADDR, on this machine",
    ),
    setting("DT_MASTER_KEY", "", "base64 of 32 bytes; seals secrets (`up` makes one)"),
    setting(
        "DT_MASTER_KEY_OLD",
        "",
        "opens what was sealed and verifies what was signed before a rotation",
    ),
    setting("DT_ADMIN_TOKEN", "", "token of the admin API, 16 characters or more (`up` makes one)"),
    setting(
        "DT_EDGE_ADMIN_TOKEN",
        "off",
        "on: the edge, too, takes late answers with the admin token; off: there only signatures answer turns",
    ),
    setting("DT_DINGTALK_API_URL", "https://api.dingtalk.com", "DingTalk's API"),
    setting(
        "DT_DINGTALK_OAPI_URL",
        "https://oapi.dingtalk.com",
        "DingTalk's old API, where session webhooks lead",
    ),
    setting(
        "DT_REPLY_HOSTS",
        "oapi.dingtalk.com,api.dingtalk.com",
        "hosts that session webhooks may name; where not set, those of the two addresses above too",
    ),
    setting(
        "DT_DOWNLOAD_HOSTS",
        "*.dingtalk.com,*.aliyuncs.com",
        "hosts that files may be fetched from; where not set, those of the two addresses above too",
    ),
    setting(
        "HTTPS_PROXY",
        "",
        "http://host:port of a proxy for https and wss addresses that the operator or DingTalk's gateway names; a secret",
    ),
    setting(
        "NO_PROXY",
        "",
        "hosts that are reached without HTTPS_PROXY, with commas between: names with all names below them, addresses, networks",
    ),
    setting(
        "DT_FETCH_PROXY",
        "",
        "http://host:port of a proxy for addresses taken from messages (session webhooks, files); where not set, directly; a secret",
    ),
    setting("DT_REPLICAS", "1", "replicas of every stream: 3 in a cluster"),
    setting(
        "DT_DEDUPE_WINDOW",
        "10m",
        "how long the log itself recognises a redelivery; an older signed callback is looked for in its conversation",
    ),
    setting(
        "DT_HANDOFF_MAX_AGE",
        "24h",
        "how long a message waits for a missing runtime; at most 5d",
    ),
    setting(
        "DT_ENTRY_MAX_AGE",
        "6d",
        "how long a message waits for anything else, such as a pause, before it is a dead letter; at most 6d",
    ),
    setting(
        "DT_NEWER_MAX_AGE",
        "1h",
        "how long what a newer release wrote is left to it before it is a dead letter",
    ),
    setting(
        "DT_LANGUAGE",
        "zh-Hans",
        "language of the service's words for an integration that is created without one: zh-Hans or en",
    ),
    setting("DT_DRAIN_SECONDS", "25", "how long SIGTERM waits for what runs"),
    setting("DT_LOG", "info", "log filter"),
    setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        "collector that traces go to, by OTLP over HTTP (protobuf), such as http://127.0.0.1:4318",
    ),
    setting(
        "OTEL_EXPORTER_OTLP_HEADERS",
        "",
        "headers for the collector, name=value with commas between; a secret",
    ),
    setting("DT_POD", "", "name of this process in a fleet; the host's name where it is not set"),
    setting(
        "DT_CONNECTIONS_MAX",
        "4096",
        "connections of the edge, and of the admin API; at most a quarter of the files that the process may open",
    ),
    setting("DT_HEALTH_CONNECTIONS_MAX", "64", "connections of the health endpoint"),
    setting("DT_HEAD_TIMEOUT", "5s", "receiving the head of a request"),
    setting(
        "DT_RECEIVE_TIMEOUT",
        "10s",
        "receiving a whole request; the answer has its own limits",
    ),
    setting("DT_IDLE_TIMEOUT", "75s", "a connection between two requests"),
    setting("DT_BODY_MAX_BYTES", "1048576", "HTTP body"),
    setting("DT_ENTRY_MAX_BYTES", "262144", "one entry of the log"),
    setting("DT_TURN_MAX_MESSAGES", "50", "messages merged into one turn"),
    setting("DT_TURN_MAX_BYTES", "204800", "what is merged into one turn, with what it quotes"),
    setting("DT_TURN_MAX_FILES", "20", "files of one turn; what is over is told to the expert"),
    setting("DT_MEDIA_MAX_BYTES", "20971520", "one file"),
    setting(
        "DT_MEDIA_INLINE_MAX_BYTES",
        "524288",
        "files that go to a callback within the turn; larger ones go as addresses",
    ),
    setting("DT_MEDIA_TIMEOUT", "1m", "fetching or handing over one file"),
    setting("DT_MEDIA_DOWNLOADS_MAX", "16", "files that one worker holds at once"),
    setting("DT_RUNS_MAX", "256", "runs of one worker at once"),
    setting(
        "DT_EXPERT_RUNS_MAX",
        "",
        "runs of one expert at once in a worker; if it is not set, all but one eighth, which only experts with fewer runs than that at work may use",
    ),
    setting(
        "DT_ANSWER_MAX_BYTES",
        "600000",
        "one answer with its question; what is over is cut with a notice",
    ),
    setting("DT_SEGMENTS_MAX", "40", "messages of one answer"),
    setting("DT_SEGMENT_MAX_BYTES", "15000", "one message of an answer"),
    setting("DT_SEND_RATE", "20", "sends a second of each API of an app; 0 is off"),
    setting("DT_WEBHOOK_RATE", "20", "posts a minute to one conversation's webhook; 0 is off"),
    setting(
        "DT_WINDOW_MAX_WAIT",
        "1m",
        "how long a window may keep a message; ten windows where that is longer",
    ),
    setting("DT_RUNTIME_TIMEOUT", "10m", "one attempt at a turn"),
    setting("DT_RUNTIME_IDLE_TIMEOUT", "2m", "silence within an attempt"),
    setting("DT_FRAMES_IN_FLIGHT", "256", "callbacks of one Stream connection handled at once"),
    setting("DT_STREAM_FRAME_MAX_BYTES", "1048576", "size of a Stream frame"),
    setting(
        "DT_STREAM_OWNERS",
        "1",
        "pods that connect each Stream integration: 1, or 2 for a hot second",
    ),
    setting("DT_SWEEP_INTERVAL", "1m", "how often stranded conversations are looked for"),
];

/// The settings as `--help` shows them.
pub fn help() -> String {
    let mut text = String::from("Settings (environment; secrets also as NAME_FILE):\n");
    for Setting { name, default, about } in SETTINGS {
        let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        text.push_str(&format!("  {name}{shown}\n      {about}\n"));
    }
    text
}
