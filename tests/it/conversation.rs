//! A conversation as its people see it: questions to the service, presses, and what happens while an
//! answer is on its way. The whole service, started as a user starts it.

mod aside;
mod busy;
mod cards;
mod closing;
mod interrupting;
mod misuse;
mod pressing;
mod sessions;
mod steering;
mod waiting;

use std::sync::Arc;

use dingtalk_trigger::sim::dingtalk::app::App;
use dingtalk_trigger::sim::dingtalk::card::Click;
use dingtalk_trigger::sim::dingtalk::record::{Kind, Record};
use serde_json::{Value, json};

use crate::support::outside::Outside;
use crate::support::program::LIMIT;
use crate::support::service::{Service, callback};
use crate::support::wait::wait_until;

/// A Stream robot with a callback expert; `more` are further fields of the trigger.
async fn published(outside: &Outside, more: &Value) -> Service {
    let service = Service::start(outside).await;
    service.stream_robot(outside, "robot").await;
    publish(&service, outside, more).await;
    service
}

/// A Stream robot that asks by cards.
async fn card_robot(service: &Service, outside: &Outside, robot: &str) {
    outside.cloud.put_app(App::stream(robot, "app-secret"));
    let fields = json!({ "id": robot, "mode": "stream", "cardTemplateId": "decide.schema" });
    service.admin().integrate(&fields).await;
    wait_until("the robot is connected", LIMIT, async || outside.cloud.connections(robot) == 1)
        .await;
}

/// The card of the next question in the conversation that has none yet.
async fn card_in(outside: &Outside, conversation: &str, after: u64) -> Arc<Record> {
    let shown = |record: &Record| {
        record.kind == Kind::Card
            && record.detail == "deliver"
            && record.conversation == conversation
    };
    outside.cloud.book().wait_for(after, LIMIT, shown).await.expect("a card")
}

fn click(card: &Record, by: &str, action: &str) -> Click {
    Click {
        out_track_id: card.msg_id.clone(),
        user: by.to_owned(),
        action_ids: vec![action.to_owned()],
        params: json!({ "action": action }),
    }
}

/// What the card shows: whether it is open, how it was closed, and how many buttons may be pressed.
fn shown(outside: &Outside, card: &Record) -> (String, String, usize) {
    let card = outside.cloud.card(&card.msg_id).expect("the card exists");
    let text = |name: &str| card.params[name].as_str().expect("a string").to_owned();
    (text("open"), text("result"), text("btns").matches("\"normal\"").count())
}

async fn closed(outside: &Outside, card: &Record, result: &str) {
    let expected = ("false".to_owned(), result.to_owned(), 0);
    wait_until(&format!("the card says {result}"), LIMIT, async || {
        shown(outside, card) == expected
    })
    .await;
}

async fn publish(service: &Service, outside: &Outside, more: &Value) {
    let mut fields = json!({ "runtime": callback(outside) });
    let more = more.as_object().cloned().unwrap_or_default();
    fields.as_object_mut().expect("an object").extend(more);
    service.admin().publish("expert", "robot", &fields).await;
}
