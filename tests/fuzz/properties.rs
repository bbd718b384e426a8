//! What must hold for any bytes at all, by target: no reader panics, and what one reads another writes.
//!
//! The fuzz targets call it with what libFuzzer makes up, the integration tests with every file of
//! `tests/fixtures/fuzz`. A finding becomes a file there.

mod robot;
mod sse;
mod stream;
mod webhook;
mod wire;

use dingtalk_trigger::domain::binding::{Integration, Language, Mode, Scope};
use dingtalk_trigger::domain::id::IntegrationId;
use dingtalk_trigger::domain::secret::Secret;

/// Panics where a property does not hold.
pub(crate) fn check(target: &str, data: &[u8]) {
    match target {
        "webhook" => webhook::check(data),
        "stream" => stream::check(data),
        "robot" => robot::check(data),
        "wire" => wire::check(data),
        "sse" => sse::check(data),
        _ => panic!("there is no target {target}"),
    }
}

/// The integration of the fixtures.
fn integration(scope: Scope) -> Integration {
    Integration {
        id: IntegrationId::parse("robot-1").expect("an id"),
        name: "robot".to_owned(),
        mode: Mode::Http,
        client_id: "ding1".to_owned(),
        client_secret: Secret::new("app-secret"),
        robot_code: None,
        callback_token: Some(Secret::new(webhook::TOKEN)),
        callback_aes_key: Some(Secret::new(webhook::AES_KEY)),
        card_template_id: None,
        language: Language::En,
        receiver_id: None,
        corp_id: None,
        scope,
        is_paused: false,
    }
}
