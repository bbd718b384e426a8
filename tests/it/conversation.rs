//! A conversation as its people see it: questions to the service, presses, and what happens while an
//! answer is on its way. The whole service, started as a user starts it.

mod busy;
mod pressing;
mod sessions;
mod steering;
mod waiting;

use serde_json::{Value, json};

use crate::support::outside::Outside;
use crate::support::service::{Service, callback};

/// A Stream robot with a callback expert; `more` are further fields of the trigger.
async fn published(outside: &Outside, more: &Value) -> Service {
    let service = Service::start(outside).await;
    service.stream_robot(outside, "robot").await;
    publish(&service, outside, more).await;
    service
}

async fn publish(service: &Service, outside: &Outside, more: &Value) {
    let mut fields = json!({ "runtime": callback(outside) });
    let more = more.as_object().cloned().unwrap_or_default();
    fields.as_object_mut().expect("an object").extend(more);
    service.admin().publish("expert", "robot", &fields).await;
}
