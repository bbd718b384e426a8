//! The simulated cloud's limits and tempers, with DingTalk's own values as defaults.
//!
//! Tests shorten its waits; nothing else about its behaviour can be set here. Faults are ordered while
//! it runs, in `fault`.

use std::time::Duration;

use super::app::App;

#[derive(Debug, Clone)]
pub struct Config {
    /// `host:port`; port 0 takes a free one.
    pub address: String,
    /// How others reach it where that is not the address, as behind TLS: `https://host:port`.
    pub public_url: Option<String>,
    /// Apps that exist from the start; more come by `Sim::put_app` and `/sim/apps`.
    pub apps: Vec<App>,
    /// Redelivery of a Stream frame that was not acknowledged.
    pub ack_timeout: Duration,
    /// Waits before each further push of a failed HTTP callback.
    pub http_retries: Vec<Duration>,
    pub http_timeout: Duration,
    /// Between the `disconnect` frame and the end of the connection.
    pub disconnect_grace: Duration,
    pub ticket_life: Duration,
    pub webhook_life: Duration,
    /// SYSTEM pings; `None` sends none.
    pub ping_every: Option<Duration>,
    /// SYSTEM `CONNECTED` and `REGISTERED` at the start of a connection.
    pub greets: bool,
    /// Pushes of one message before the cloud gives up.
    pub attempts_max: u32,
    /// Records kept; the oldest go first.
    pub records_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:0".to_owned(),
            public_url: None,
            apps: Vec::new(),
            ack_timeout: Duration::from_secs(60),
            http_retries: vec![Duration::from_secs(10), Duration::from_secs(30)],
            http_timeout: Duration::from_millis(2500),
            disconnect_grace: Duration::from_secs(10),
            ticket_life: Duration::from_secs(90),
            webhook_life: Duration::from_secs(5400),
            ping_every: Some(Duration::from_secs(30)),
            greets: true,
            attempts_max: 20,
            records_max: 500_000,
        }
    }
}
