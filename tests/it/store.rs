//! The store: each test runs on a real SQLite and on a real PostgreSQL, with the same SQL text. Here is
//! what the tests share.
#![expect(clippy::unwrap_used, reason = "fixtures of tests")]

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dingtalk_trigger::domain::binding::{
    ActBy, BusyPolicy, Integration, Language, Mode, QueuedNotice, Runtime, RuntimeKind, Scope,
    Trigger,
};
use dingtalk_trigger::domain::id::{Conversation, ConversationKey, ExpertId, IntegrationId, Seq};
use dingtalk_trigger::domain::secret::Secret;
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::io::store::audit::Note;
use dingtalk_trigger::io::store::conversations::Session;
use dingtalk_trigger::io::store::{Config, Store};

/// Runs each function as a test on both databases.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let database = crate::support::database::Sqlite::fresh();
                super::$name(database.url()).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let database = crate::support::database::Postgres::fresh().await;
                super::$name(database.url()).await;
            })+
        }
    };
}

mod configuration;
mod expanding;
mod projections;
mod routing;

pub(crate) fn key(byte: u8) -> Secret {
    Secret::new(STANDARD.encode([byte; 32]))
}

pub(crate) fn config(url: &str) -> Config {
    Config { url: Secret::new(url), master_key: key(1), old_master_key: None, connections_max: 4 }
}

pub(crate) async fn store(url: &str) -> Store {
    let store = Store::connect(&config(url)).await.unwrap();
    store.migrate().await.unwrap();
    store
}

pub(crate) fn note(action: &'static str) -> Note {
    Note {
        at: Timestamp(1_000),
        actor: "test".to_owned(),
        action,
        subject: "subject".to_owned(),
        detail: "{}".to_owned(),
    }
}

pub(crate) fn integration_id(text: &str) -> IntegrationId {
    IntegrationId::parse(text).unwrap()
}

pub(crate) fn expert_id(text: &str) -> ExpertId {
    ExpertId::parse(text).unwrap()
}

pub(crate) fn integration(id: &str) -> Integration {
    Integration {
        id: integration_id(id),
        name: "机器人 'one'".to_owned(),
        mode: Mode::Http,
        client_id: "ding1".to_owned(),
        client_secret: Secret::new("client secret"),
        robot_code: Some("robot".to_owned()),
        callback_token: Some(Secret::new("token")),
        callback_aes_key: Some(Secret::new("a".repeat(43))),
        card_template_id: None,
        language: Language::ZhHans,
        receiver_id: None,
        corp_id: None,
        scope: Scope::Sender,
        is_paused: false,
    }
}

pub(crate) fn trigger(expert: &str, integration: &str) -> Trigger {
    Trigger {
        expert: expert_id(expert),
        integration: integration_id(integration),
        is_enabled: true,
        session_timeout: Duration::from_secs(3600),
        summary_window: Duration::from_secs(3),
        former_window: None,
        busy_policy: BusyPolicy::Steer,
        queued_notice: QueuedNotice::None,
        allow_conversations: vec!["cid\"1\"".to_owned()],
        allow_senders: Vec::new(),
        corp_id: None,
        mention_asker: true,
        act_by: ActBy::Anyone,
    }
}

pub(crate) fn callback(expert: &str) -> Runtime {
    Runtime {
        expert: expert_id(expert),
        kind: RuntimeKind::Callback {
            url: "http://127.0.0.1:1/".to_owned(),
            secret: Secret::new("whsec_c2VjcmV0"),
        },
        lease: Some(Duration::from_secs(30)),
        is_paused: false,
    }
}

pub(crate) fn session(number: u32, epoch: u64, at: i64) -> Session {
    let key = data_encoding::BASE32_NOPAD.encode(&u128::from(number).to_be_bytes());
    Session {
        conversation: Conversation {
            integration: integration_id("robot-1"),
            key: ConversationKey::parse(&key.to_ascii_lowercase()).unwrap(),
        },
        expert: expert_id("expert-1"),
        thread: "thread".to_owned(),
        epoch: Seq(epoch),
        last_activity: Timestamp(at),
        timeout: Duration::from_secs(3600),
        place_id: "cid".to_owned(),
        place_title: None,
        sender_id: "sender".to_owned(),
        sender_name: "张三".to_owned(),
        is_ended: false,
    }
}
