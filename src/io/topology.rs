//! The streams and consumers as the files in `streams/` describe them: created and changed only by
//! `streams apply` (and `up`), verified by every role at start.
//!
//! What breaks the protocol stops a program; any other difference is a warning, so that two releases
//! can run side by side.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::mark::Marks;
use super::nats::{Error, Nats};
use crate::domain::mark;
use crate::domain::time::Timestamp;

const STREAMS: [&str; 8] = [
    include_str!("../../streams/DT_IN.json"),
    include_str!("../../streams/DT_TIMER.json"),
    include_str!("../../streams/DT_RUN.json"),
    include_str!("../../streams/DT_JOURNAL.json"),
    include_str!("../../streams/DT_HANDOFF.json"),
    include_str!("../../streams/DT_DEAD.json"),
    include_str!("../../streams/KV_DT_LIVE.json"),
    include_str!("../../streams/KV_DT_RATE.json"),
];

const CONSUMERS: [(&str, &str); 3] = [
    ("DT_IN", include_str!("../../streams/DT_IN.intake.json")),
    ("DT_TIMER", include_str!("../../streams/DT_TIMER.due.json")),
    ("DT_RUN", include_str!("../../streams/DT_RUN.dispatch.json")),
];

/// How long a change waits for a cluster in which nodes are still coming, or that holds an election.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Fields without which the protocol does not hold.
const BREAKING: [&str; 12] = [
    "retention",
    "discard",
    "discard_new_per_subject",
    "max_msgs_per_subject",
    "subjects",
    "allow_msg_schedules",
    "allow_msg_ttl",
    "ack_policy",
    "deliver_policy",
    "filter_subject",
    "max_deliver",
    "missing",
];

/// What an installation sets itself; everything else stands in the files.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// `DT_REPLICAS`.
    pub replicas: u64,
    /// `DT_DEDUPE_WINDOW`: how long a redelivery is recognised.
    pub dedupe_window: Duration,
}

/// Where the broker's configuration is not what the files say.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// `DT_IN`, or `DT_IN/intake` for a consumer.
    pub name: String,
    /// `missing` where the whole thing is.
    pub field: String,
    pub want: Value,
    pub have: Value,
}

impl Difference {
    pub fn is_breaking(&self) -> bool {
        BREAKING.contains(&self.field.as_str())
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.field.as_str() {
            "missing" => write!(f, "{} does not exist", self.name),
            field => write!(f, "{} {field}: is {}, should be {}", self.name, self.have, self.want),
        }
    }
}

/// A stream or a consumer as its file describes it under this installation's settings.
struct Asset {
    stream: String,
    consumer: Option<String>,
    config: Map<String, Value>,
}

impl Asset {
    fn name(&self) -> String {
        match &self.consumer {
            Some(consumer) => format!("{}/{consumer}", self.stream),
            None => self.stream.clone(),
        }
    }

    fn info_subject(&self) -> String {
        match &self.consumer {
            Some(consumer) => format!("CONSUMER.INFO.{}.{consumer}", self.stream),
            None => format!("STREAM.INFO.{}", self.stream),
        }
    }
}

fn assets(config: Config) -> Vec<Asset> {
    let parse = |text: &str| -> Map<String, Value> {
        serde_json::from_str(text).expect("the files in streams/ are JSON objects")
    };
    let text = |map: &Map<String, Value>, key: &str| {
        map.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let streams = STREAMS.iter().map(|file| {
        let mut map = parse(file);
        map.insert("num_replicas".to_owned(), json!(config.replicas));
        if text(&map, "name") == super::log::STREAM {
            let window = u64::try_from(config.dedupe_window.as_nanos()).unwrap_or(u64::MAX);
            map.insert("duplicate_window".to_owned(), json!(window));
        }
        Asset { stream: text(&map, "name"), consumer: None, config: map }
    });
    let consumers = CONSUMERS.iter().map(|(stream, file)| {
        let map = parse(file);
        Asset {
            stream: (*stream).to_owned(),
            consumer: Some(text(&map, "durable_name")),
            config: map,
        }
    });
    streams.chain(consumers).collect()
}

/// Everything in which the broker differs from the files. Empty: it is as it should be.
pub async fn diff(nats: &Nats, config: Config) -> Result<Vec<Difference>, Error> {
    let mut differences = Vec::new();
    for asset in assets(config) {
        differences.extend(differences_of(nats, &asset).await?);
    }
    Ok(differences)
}

/// Creates what is missing and changes what differs. Says what it did; running it again does nothing.
pub async fn apply(nats: &Nats, config: Config, now: Timestamp) -> Result<Vec<Difference>, Error> {
    let mut done = Vec::new();
    for asset in assets(config) {
        let differences = patiently(async || differences_of(nats, &asset).await).await?;
        if differences.is_empty() {
            continue;
        }
        let is_missing = differences.iter().any(|difference| difference.field == "missing");
        match &asset.consumer {
            Some(consumer) => {
                let subject = format!("CONSUMER.CREATE.{}.{consumer}", asset.stream);
                let question = json!({ "stream_name": asset.stream, "config": asset.config });
                change(nats, &subject, &question).await?;
            }
            None if is_missing => {
                let mut stream = asset.config.clone();
                if asset.stream == super::log::STREAM {
                    // Sequences and turn ids never repeat after a re-creation.
                    let highest = patiently(async || Marks::new(nats).highest().await).await?;
                    let first = mark::first_of_new(now, highest);
                    stream.insert("first_seq".to_owned(), json!(first.0));
                }
                change(nats, &format!("STREAM.CREATE.{}", asset.stream), &stream).await?;
                // Where the log began is state, not configuration: the file names no such number, and
                // the broker keeps its sequences when the number goes.
                if asset.stream == super::log::STREAM {
                    change(nats, &format!("STREAM.UPDATE.{}", asset.stream), &asset.config).await?;
                }
            }
            None => change(nats, &format!("STREAM.UPDATE.{}", asset.stream), &asset.config).await?,
        }
        done.extend(differences);
    }
    Ok(done)
}

/// Tells the broker how something is to be; the same again changes nothing.
async fn change(nats: &Nats, subject: &str, config: &impl Serialize) -> Result<(), Error> {
    patiently(async || nats.api::<_, Value>(subject, config).await).await.map(drop)
}

/// Asks again while the broker cannot do it at the moment, up to a limit.
async fn patiently<T>(ask: impl AsyncFn() -> Result<T, Error>) -> Result<T, Error> {
    let began = Instant::now();
    loop {
        match ask().await {
            Err(why) if why.is_unavailable() && began.elapsed() < PATIENCE => {
                tracing::warn!(%why, "waiting for JetStream");
                sleep(LOOK_AGAIN).await;
            }
            outcome => return outcome,
        }
    }
}

async fn differences_of(nats: &Nats, asset: &Asset) -> Result<Vec<Difference>, Error> {
    let info: Value = match nats.api(&asset.info_subject(), &json!({})).await {
        Ok(info) => info,
        Err(e) if e.is_not_found() => {
            let (name, field) = (asset.name(), "missing".to_owned());
            return Ok(vec![Difference { name, field, want: json!(true), have: json!(false) }]);
        }
        Err(e) => return Err(e),
    };
    let nothing = Map::new();
    let have = info.get("config").and_then(Value::as_object).unwrap_or(&nothing);
    Ok(compare(&asset.name(), &asset.config, have))
}

/// A field that the broker leaves out has its zero value.
fn compare(name: &str, want: &Map<String, Value>, have: &Map<String, Value>) -> Vec<Difference> {
    let is_zero = |value: &Value| {
        matches!(value, Value::Null | Value::Bool(false))
            || value.as_str() == Some("")
            || value.as_i64() == Some(0)
            || value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(Map::is_empty)
    };
    want.iter()
        .filter(|(field, _)| field.as_str() != "metadata")
        .filter_map(|(field, want)| {
            let have = have.get(field).cloned().unwrap_or(Value::Null);
            let is_same = *want == have || (is_zero(want) && is_zero(&have));
            (!is_same).then(|| Difference {
                name: name.to_owned(),
                field: field.clone(),
                want: want.clone(),
                have,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn only_real_differences_count() {
        let want =
            map(&json!({ "a": 1, "b": false, "c": {}, "retention": "limits", "metadata": {} }));
        let same = map(&json!({ "a": 1, "retention": "limits", "extra": 7 }));
        assert_eq!(compare("S", &want, &same), []);
        let other = map(&json!({ "a": 2, "b": true, "retention": "workqueue" }));
        let differences = compare("S", &want, &other);
        let fields: Vec<_> =
            differences.iter().map(|d| (d.field.as_str(), d.is_breaking())).collect();
        assert_eq!(fields, [("a", false), ("b", false), ("retention", true)]);
    }

    #[test]
    fn every_file_names_its_asset() {
        let config = Config { replicas: 3, dedupe_window: Duration::from_secs(600) };
        for asset in assets(config) {
            assert!(asset.stream.contains("DT_"), "{}", asset.name());
            assert_ne!(asset.consumer.as_deref(), Some(""), "{}", asset.stream);
        }
    }
}
