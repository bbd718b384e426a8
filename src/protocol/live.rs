//! The records that say who is alive: small JSON under the keys of the bucket `DT_LIVE`.
//!
//! | key | record | written |
//! |---|---|---|
//! | `edge.<pod>` | [`Member`] | by each edge pod every three seconds |
//! | `pod.<role>.<pod>` | [`Pod`] | by each worker and console every three seconds |
//! | `stream.<integration>.<pod>` | [`Link`] | by the pod that holds the connection, with each change |
//! | `lease.<expert>` | [`Lease`] | with each heartbeat of a runtime |
//! | `log.mark` | [`LogMark`] | by every worker, and by `streams apply` |

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::domain::id::{ExpertId, IntegrationId, Seq};
use crate::domain::mark::Mark;
use crate::domain::time::Timestamp;

/// All members.
pub const MEMBERS: &str = "edge.";
/// All pods of the other roles.
pub const PODS: &str = "pod.";
/// All Stream states.
pub const LINKS: &str = "stream.";
/// All leases.
pub const LEASES: &str = "lease.";
/// How far the log went.
pub const LOG_MARK: &str = "log.mark";

/// An edge pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    pub pod: String,
    /// A goodbye: it owns nothing from here on.
    #[serde(default)]
    pub is_leaving: bool,
}

/// A worker or a console: they share nothing out, so that this is for people alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    pub pod: String,
    pub role: String,
}

/// The Stream connection of one integration, as one pod sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    pub pod: String,
    pub state: LinkState,
    /// When it came into this state, in milliseconds since the epoch.
    pub since_ms: i64,
    #[serde(default)]
    pub last_frame_at_ms: Option<i64>,
    #[serde(default)]
    pub last_error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LinkState {
    Disconnected,
    Connecting,
    Retrying,
    Connected,
}

/// A runtime's registration holds for so long after this record was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    pub seconds: u64,
}

/// The mark of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogMark {
    /// When the broker made the log, in milliseconds since the epoch.
    pub made_at_ms: i64,
    pub seq: u64,
    #[serde(default)]
    pub shared_from: Option<u64>,
}

impl From<LogMark> for Mark {
    fn from(mark: LogMark) -> Self {
        let shared_from = mark.shared_from.map(Seq);
        Self { made_at: Timestamp(mark.made_at_ms), seq: Seq(mark.seq), shared_from }
    }
}

impl From<Mark> for LogMark {
    fn from(mark: Mark) -> Self {
        let shared_from = mark.shared_from.map(|seq| seq.0);
        Self { made_at_ms: mark.made_at.0, seq: mark.seq.0, shared_from }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the record {key} is not readable: {reason}")]
pub struct Error {
    key: String,
    reason: serde_json::Error,
}

impl LinkState {
    /// As the admin API names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Connecting => "connecting",
            Self::Retrying => "retrying",
            Self::Connected => "connected",
        }
    }
}

impl Link {
    pub fn since(&self) -> Timestamp {
        Timestamp(self.since_ms)
    }

    pub fn last_frame_at(&self) -> Option<Timestamp> {
        self.last_frame_at_ms.map(Timestamp)
    }
}

/// The state of an integration over all pods that hold or want its connection: the best of them.
pub fn state_of(links: &[Link]) -> LinkState {
    links.iter().map(|link| link.state).max().unwrap_or(LinkState::Disconnected)
}

pub fn pod_key(pod: &Pod) -> String {
    format!("{PODS}{}.{}", token(&pod.role), token(&pod.pod))
}

pub fn member_key(pod: &str) -> String {
    format!("{MEMBERS}{}", token(pod))
}

pub fn link_key(integration: &IntegrationId, pod: &str) -> String {
    format!("{}{}", links_of(integration), token(pod))
}

/// All states of one integration.
pub fn links_of(integration: &IntegrationId) -> String {
    format!("{LINKS}{integration}.")
}

/// Whose state a key holds.
pub fn integration_of(key: &str) -> Option<IntegrationId> {
    let integration = key.strip_prefix(LINKS)?.split('.').next()?;
    IntegrationId::parse(integration).ok()
}

pub fn lease_key(expert: &ExpertId) -> String {
    format!("{LEASES}{expert}")
}

/// A pod's name as one token of a subject; the record itself holds the name as it is.
fn token(pod: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    pod.chars().map(safe).collect()
}

pub fn write<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).expect("a record of texts and numbers is always JSON")
}

pub fn read<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|reason| Error { key: key.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(state: LinkState) -> Link {
        Link {
            pod: "edge-0".to_owned(),
            state,
            since_ms: 7,
            last_frame_at_ms: None,
            last_error: Some("refused".to_owned()),
        }
    }

    #[test]
    fn records_keep_their_bytes() {
        let json = r#"{"pod":"edge-0","state":"connecting","sinceMs":7,"lastFrameAtMs":null,"lastError":"refused"}"#;
        assert_eq!(write(&link(LinkState::Connecting)), json.as_bytes());
        let older = r#"{"pod":"edge-0","state":"retrying","sinceMs":7,"more":1}"#;
        let read: Link = read("k", older.as_bytes()).unwrap();
        assert_eq!(
            (read.state, read.since(), read.last_frame_at()),
            (LinkState::Retrying, Timestamp(7), None)
        );
        let member = Member { pod: "a".to_owned(), is_leaving: true };
        assert_eq!(write(&member), br#"{"pod":"a","isLeaving":true}"#);
        assert_eq!(write(&Lease { seconds: 30 }), br#"{"seconds":30}"#);
        let mark = LogMark { made_at_ms: 7, seq: 9, shared_from: Some(8) };
        assert_eq!(write(&mark), br#"{"madeAtMs":7,"seq":9,"sharedFrom":8}"#);
        assert_eq!(LogMark::from(Mark::from(mark)), mark);
    }

    #[test]
    fn an_unreadable_record_is_named() {
        let error = read::<Link>("stream.a.b", b"{}").unwrap_err();
        assert!(error.to_string().contains("stream.a.b"), "{error}");
    }

    #[test]
    fn the_best_of_several_pods_is_the_state() {
        use LinkState::{Connected, Connecting, Disconnected, Retrying};
        let cases: [(&[LinkState], LinkState); 4] = [
            (&[], Disconnected),
            (&[Connecting, Retrying], Retrying),
            (&[Retrying, Connected, Connecting], Connected),
            (&[Disconnected, Connecting], Connecting),
        ];
        for (states, expected) in cases {
            let links: Vec<_> = states.iter().map(|state| link(*state)).collect();
            assert_eq!(state_of(&links), expected);
        }
    }

    #[test]
    fn keys_are_valid_whatever_a_pod_is_called() {
        let integration = IntegrationId::parse("robot-1").unwrap();
        let key = link_key(&integration, "host.example *>中");
        assert_eq!(key, "stream.robot-1.host_example____");
        assert_eq!(integration_of(&key), Some(integration));
        assert_eq!(integration_of("edge.a"), None);
    }
}
