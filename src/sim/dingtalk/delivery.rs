//! Pushes messages, events and card callbacks to the service, and again when they go unanswered.
//!
//! Guarantees a new `headers.messageId` and the same `msgId` on each push of one message, any live
//! connection each time, and a bounded number of pushes. HTTP pushes of one conversation keep their order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::Sim;
use super::app::{AppState, Down, Receive};
use super::cloud::Cloud;
use super::record::{Kind, Record};
use crate::sim::locked;

pub const BOT_TOPIC: &str = "/v1.0/im/bot/messages/get";
pub const CARD_TOPIC: &str = "/v1.0/card/instances/callback";

/// Conversations are spread over so many queues of HTTP pushes.
pub const LANES: usize = 64;

/// One thing the service must be told.
pub struct Push {
    pub app: Arc<AppState>,
    pub kind: PushKind,
    pub conversation: String,
    pub person: String,
    /// Of a message its `msgId`, of an event its id, of a card callback its `outTrackId`.
    pub msg_id: String,
    pub data: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushKind {
    Bot,
    Card {
        /// Where the callback of a card goes that was created for HTTP: address and secret.
        route: Option<(String, String)>,
    },
    Event {
        event_type: String,
    },
}

impl PushKind {
    fn topic(&self) -> (&'static str, &'static str) {
        match self {
            Self::Bot => ("CALLBACK", BOT_TOPIC),
            Self::Card { .. } => ("CALLBACK", CARD_TOPIC),
            Self::Event { .. } => ("EVENT", "*"),
        }
    }
}

/// A push on its way: which attempt, and who waits for the answer to it.
pub struct Flight {
    pub push: Arc<Push>,
    pub attempt: u32,
    pub answer: Option<oneshot::Sender<Value>>,
}

pub struct Delivery {
    /// Unanswered frames by their message id.
    pending: Mutex<HashMap<String, Flight>>,
    due: mpsc::UnboundedSender<(Instant, String)>,
    lanes: Vec<mpsc::UnboundedSender<Flight>>,
}

/// The receiving ends, for the tasks that `start` spawns.
pub struct Queues {
    due: mpsc::UnboundedReceiver<(Instant, String)>,
    lanes: Vec<mpsc::UnboundedReceiver<Flight>>,
}

pub fn new() -> (Delivery, Queues) {
    let (due, due_taken) = mpsc::unbounded_channel();
    let (lanes, taken) = (0..LANES).map(|_| mpsc::unbounded_channel()).unzip();
    (Delivery { pending: Mutex::default(), due, lanes }, Queues { due: due_taken, lanes: taken })
}

/// Starts redelivery and the HTTP lanes.
pub fn start(cloud: &Arc<Cloud>, queues: Queues) {
    cloud.context.spawn(redeliver(cloud.clone(), queues.due));
    for lane in queues.lanes {
        cloud.context.spawn(super::callback::run(cloud.clone(), lane));
    }
}

impl Sim {
    /// Every push is written with `raw` in place of `text`, for JSON that no value gives.
    pub fn escape(&self, text: &str, raw: &str) {
        locked(&self.cloud.escapes).push((text.to_owned(), raw.to_owned()));
    }
}

impl Cloud {
    /// Pushes now, once or, while duplicates are scripted, twice.
    pub fn push(self: &Arc<Self>, push: Push, answer: Option<oneshot::Sender<Value>>) {
        let push = Arc::new(push);
        if super::control::take_one(&self.duplicates) {
            self.deliver(Flight { push: push.clone(), attempt: 1, answer: None });
        }
        self.deliver(Flight { push, attempt: 1, answer });
    }

    /// One attempt of a push.
    pub fn deliver(self: &Arc<Self>, flight: Flight) {
        let over_http = match (&flight.push.kind, &flight.push.app.app.receive) {
            (PushKind::Card { route }, _) => route.is_some(),
            (_, Receive::Http { .. }) => true,
            (_, Receive::Stream) => false,
        };
        if over_http {
            let lane = lane_of(&flight.push.conversation);
            if let Some(lane) = self.delivery.lanes.get(lane) {
                lane.send(flight).ok(); // closed only when the cloud stops
            }
        } else {
            self.frame(flight);
        }
    }

    fn frame(self: &Arc<Self>, flight: Flight) {
        let push = flight.push.clone();
        let message_id = format!("{:08x}_{:x}", rand::random::<u32>(), self.now_ms());
        let (kind, topic) = push.kind.topic();
        let connection = push.app.pick(kind, topic);
        let mut record = pushed(&push, flight.attempt);
        record.detail.clone_from(&message_id);
        match &connection {
            Some(connection) => record.connection = connection.id,
            None => record.kind = Kind::Undelivered,
        }
        self.record(record);
        // Entered before it is sent, so that the ack finds it.
        locked(&self.delivery.pending).insert(message_id.clone(), flight);
        let due = Instant::now() + self.config.ack_timeout;
        self.delivery.due.send((due, message_id.clone())).ok(); // closed only when the cloud stops
        if let Some(connection) = connection {
            let frame = frame(self, &push, connection.id, &message_id);
            connection.down.try_send(Down::Frame(frame)).ok(); // lost with its connection
        }
    }

    /// The service answered the frame `message_id`.
    pub fn acked(self: &Arc<Self>, message_id: &str, connection: u64, ack: Value) {
        let waiting = locked(&self.delivery.pending).remove(message_id);
        let Some(flight) = waiting else {
            let kind = Kind::SystemAcked;
            return self.record(Record { kind, connection, body: ack, ..Record::default() });
        };
        if super::control::take_one(&self.lost_acks) {
            locked(&self.delivery.pending).insert(message_id.to_owned(), flight);
            return;
        }
        let data: Value = ack
            .get("data")
            .and_then(Value::as_str)
            .and_then(|data| serde_json::from_str(data).ok())
            .unwrap_or_default();
        let mut record = pushed(&flight.push, flight.attempt);
        record.kind = Kind::Acked;
        record.connection = connection;
        record.detail = ack.get("code").map(ToString::to_string).unwrap_or_default();
        record.body = ack;
        self.record(record);
        let is_event = matches!(flight.push.kind, PushKind::Event { .. });
        if is_event && data.get("status").and_then(Value::as_str) == Some("LATER") {
            self.again_after(self.config.ack_timeout, flight);
            return;
        }
        if let PushKind::Card { .. } = flight.push.kind {
            let response = data.get("response").cloned().unwrap_or_default();
            super::card::apply_response(self, &flight.push, &response);
            if let Some(waiting) = flight.answer {
                waiting.send(response).ok(); // the one who pressed may have left
            }
        }
    }

    /// Another attempt in `wait`, or none where that was the last.
    pub fn again_after(self: &Arc<Self>, wait: Duration, mut flight: Flight) {
        if flight.attempt >= self.config.attempts_max {
            self.give_up(&flight);
            return;
        }
        flight.attempt += 1;
        let cloud = self.clone();
        self.context.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(wait) => cloud.deliver(flight),
                () = cloud.stop.cancelled() => {}
            }
        });
    }

    pub fn give_up(&self, flight: &Flight) {
        let record = pushed(&flight.push, flight.attempt);
        self.record(Record { kind: Kind::GaveUp, ..record });
    }
}

/// All waits are equally long, so the queue is in the order of its times.
async fn redeliver(cloud: Arc<Cloud>, mut due: mpsc::UnboundedReceiver<(Instant, String)>) {
    loop {
        let next = tokio::select! {
            next = due.recv() => next,
            () = cloud.stop.cancelled() => return,
        };
        let Some((at, message_id)) = next else { return };
        if !locked(&cloud.delivery.pending).contains_key(&message_id) {
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep_until(at) => {}
            () = cloud.stop.cancelled() => return,
        }
        let unanswered = locked(&cloud.delivery.pending).remove(&message_id);
        match unanswered {
            Some(flight) if flight.attempt < cloud.config.attempts_max => {
                cloud.deliver(Flight { attempt: flight.attempt + 1, ..flight });
            }
            Some(flight) => cloud.give_up(&flight),
            None => {}
        }
    }
}

pub fn pushed(push: &Push, attempt: u32) -> Record {
    Record {
        kind: Kind::Pushed,
        robot: push.app.app.client_id.clone(),
        conversation: push.conversation.clone(),
        person: push.person.clone(),
        msg_id: push.msg_id.clone(),
        attempt,
        ..Record::default()
    }
}

/// Strings only in the headers: the Go client drops a frame with anything else.
fn frame(cloud: &Cloud, push: &Push, connection: u64, message_id: &str) -> String {
    let (kind, topic) = push.kind.topic();
    let now = cloud.now_ms().to_string();
    let mut headers = json!({
        "appId": push.app.app.client_id,
        "connectionId": connection.to_string(),
        "contentType": "application/json",
        "messageId": message_id,
        "time": now,
        "topic": topic,
    });
    if let (PushKind::Event { event_type }, Some(headers)) = (&push.kind, headers.as_object_mut()) {
        headers.insert("eventType".to_owned(), json!(event_type));
        headers.insert("eventId".to_owned(), json!(push.msg_id));
        headers.insert("eventCorpId".to_owned(), json!(super::message::CORP_ID));
        headers.insert("eventBornTime".to_owned(), json!(now));
        headers.insert("eventUnifiedAppId".to_owned(), json!(push.app.app.client_id));
    }
    let data = cloud.written(&push.data);
    json!({ "specVersion": "1.0", "type": kind, "headers": headers, "data": data }).to_string()
}

fn lane_of(conversation: &str) -> usize {
    conversation.bytes().fold(0, |sum: usize, byte| (sum * 31 + usize::from(byte)) % LANES)
}
