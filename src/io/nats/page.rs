//! Reading many messages of a stream by one request.
//!
//! Any replica may answer, and it may lag behind: what decides is read from the leader, see `read`.

use std::time::Duration;

use async_nats::{HeaderMap, Message, Subscriber};
use futures_util::StreamExt;
use serde_json::json;
use tokio::time::timeout;

use super::read::{Record, direct_record};
use super::{Error, Nats};
use crate::domain::id::Seq;

const ANSWER_MAX: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub struct Page {
    pub records: Vec<(Record, HeaderMap)>,
    /// Where the next page begins, if there is one.
    pub next: Option<Seq>,
}

impl Nats {
    /// At most `count` messages of `subject` at or after `first`, with their headers.
    pub async fn page(
        &self,
        stream: &str,
        first: Seq,
        subject: &str,
        count: usize,
    ) -> Result<Page, Error> {
        let inbox = self.client.new_inbox();
        let away = |why: String| Error::Unavailable(why);
        let subscribed = self.client.subscribe(inbox.clone()).await;
        let mut answers = subscribed.map_err(|e| away(e.to_string()))?;
        let question = json!({ "seq": first.0, "next_by_subj": subject, "batch": count });
        let asked = format!("$JS.API.DIRECT.GET.{stream}");
        let sent = self.client.publish_with_reply(asked, inbox, question.to_string().into()).await;
        sent.map_err(|e| away(e.to_string()))?;
        let mut page = Page::default();
        loop {
            let message = answer(&mut answers).await?;
            match message.status.map(|status| status.as_u16()) {
                None | Some(200) => page.records.push(direct_record(message)?),
                // Nothing at or above `first`.
                Some(404) => return Ok(page),
                // The end of the page.
                Some(204) => {
                    let pending = header(&message, "Nats-Num-Pending").unwrap_or_default();
                    let last = page.records.last().map(|(record, _)| record.seq);
                    let next = last.filter(|_| pending > 0);
                    page.next = next.map(|last| Seq(last.0.saturating_add(1)));
                    return Ok(page);
                }
                Some(status) => {
                    let said = message.description.unwrap_or_default();
                    return Err(away(format!("it answers {status} {said}")));
                }
            }
        }
    }
}

async fn answer(answers: &mut Subscriber) -> Result<Message, Error> {
    match timeout(ANSWER_MAX, answers.next()).await {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err(Error::Unavailable("the connection is closed".to_owned())),
        Err(_) => {
            let why = format!("no answer within {} s", ANSWER_MAX.as_secs());
            Err(Error::Unavailable(why))
        }
    }
}

fn header(message: &Message, name: &str) -> Option<u64> {
    message.headers.as_ref()?.get(name)?.as_str().parse().ok()
}
