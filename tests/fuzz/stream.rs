//! Frames of the gateway, and its answer to the request for a connection.
//!
//! A frame that can be answered is answered with JSON under its own id; a callback goes on as the
//! webhook's body would.

use dingtalk_trigger::domain::binding::Scope;
use dingtalk_trigger::protocol::stream::ack::Ack;
use dingtalk_trigger::protocol::stream::{Frame, open, read};
use serde_json::Value;

use super::{integration, robot};

pub(super) fn check(data: &[u8]) {
    for status in [200, 401, 500] {
        match open::answer(status, data) {
            Ok(url) => assert!(url.starts_with("ws://") || url.starts_with("wss://")),
            Err(error) => drop(error.to_string()),
        }
    }
    match read(data) {
        Frame::Ping { id, data } => check_ack(&id, &Ack::ping(data)),
        Frame::Event { id, .. } => check_ack(&id, &Ack::event()),
        Frame::Callback { id, payload, .. } => {
            assert!(payload.is_object(), "a callback carries an object");
            robot::check_value(&integration(Scope::Sender), &payload);
            check_ack(&id, &Ack::callback(&payload));
        }
        Frame::Skipped { id: Some(id), .. } => check_ack(&id, &Ack::unknown_topic()),
        Frame::Skipped { id: None, .. } | Frame::Disconnect { .. } | Frame::Notice => {}
    }
}

fn check_ack(id: &str, ack: &Ack) {
    assert!(!id.is_empty(), "an acknowledgement names a frame");
    let text = ack.to_text(id);
    let read: Value = serde_json::from_str(&text).expect("an acknowledgement is JSON");
    assert_eq!(read["headers"]["messageId"], id);
    assert!(read["data"].is_string(), "data is JSON inside a string");
}
