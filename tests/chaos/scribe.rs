//! Writes down what the log, the journal and the dead letters hold, while the service works: the service
//! itself removes what it no longer needs, and the oracle needs all of it.
//!
//! Reads from the streams' leaders, in order and without gaps, over a connection of its own that no
//! fault cuts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dingtalk_trigger::context::{Clock, Context};
use dingtalk_trigger::domain::dead::DeadLetter;
use dingtalk_trigger::domain::entry::{Entry, EntryKind};
use dingtalk_trigger::domain::id::{Conversation, Seq};
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::io::nats::read::Record as Stored;
use dingtalk_trigger::io::nats::{self, Nats};
use dingtalk_trigger::protocol::advisory::{self, Advisory};
use dingtalk_trigger::protocol::record::{self, Record};
use dingtalk_trigger::protocol::{dead, entry, subject};
use tokio::time::sleep;

const PAUSE: Duration = Duration::from_millis(300);

/// An entry of the log.
pub(crate) struct Logged {
    pub(crate) seq: Seq,
    pub(crate) at: Timestamp,
    pub(crate) conversation: Conversation,
    pub(crate) kind: EntryKind,
    /// DingTalk's own id; of what a command says there is none.
    pub(crate) msg_id: Option<String>,
}

/// A record of the journal.
pub(crate) struct Noted {
    pub(crate) seq: Seq,
    pub(crate) at: Timestamp,
    pub(crate) conversation: Conversation,
    pub(crate) record: Record,
}

#[derive(Default)]
pub(crate) struct Written {
    pub(crate) log: Vec<Logged>,
    pub(crate) journal: Vec<Noted>,
    pub(crate) dead: Vec<DeadLetter>,
    /// Messages that the broker itself gave up: of which consumer, why, how many.
    pub(crate) advisories: BTreeMap<String, usize>,
    /// What no release of ours should have written.
    pub(crate) unreadable: Vec<String>,
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Scribe {
    pub(crate) nats: Nats,
    written: Arc<Mutex<Written>>,
}

impl Scribe {
    pub(crate) async fn start(context: &Context, url: String) -> Self {
        // Its health board is not the sim's.
        let own = Context::new(Clock::system());
        let config = nats::Config {
            url,
            credentials: None,
            login: nats::login::Login::default(),
            name: "scribe".to_owned(),
            request_timeout: Duration::from_secs(2),
        };
        let nats = Nats::connect(&own, &config).await.expect("connect to the cluster");
        let scribe = Self { nats, written: Arc::default() };
        let filters = [("DT_IN", "dt.in.>"), ("DT_JOURNAL", "dt.journal.>"), ("DT_DEAD", ">")];
        for (stream, filter) in filters {
            let (scribe, task) = (scribe.clone(), context.clone());
            context.spawn(async move {
                tokio::select! {
                    () = scribe.follow(stream, filter) => {}
                    () = task.stop().cancelled() => {}
                }
            });
        }
        scribe
    }

    pub(crate) fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn follow(&self, stream: &str, filter: &str) {
        let mut from = Seq(1);
        loop {
            match self.nats.next(stream, from, filter).await {
                Ok(Some(stored)) => {
                    from = Seq(stored.seq.0 + 1);
                    self.write(stream, &stored);
                }
                // It has been read to its end, or the broker is away.
                Ok(None) | Err(_) => sleep(PAUSE).await,
            }
        }
    }

    fn write(&self, stream: &str, stored: &Stored) {
        let conversation = subject::conversation_of(&stored.subject);
        let (seq, at) = (stored.seq, stored.at);
        let mut written = self.written();
        let unreadable = || format!("{stream} {seq} ({})", stored.subject);
        if let Some(advisory) = advisory::decode(&stored.subject, &stored.payload) {
            match advisory {
                Ok(Advisory { consumer, reason, .. }) => {
                    let why = format!("{consumer}: {}", reason.unwrap_or_default());
                    *written.advisories.entry(why).or_default() += 1;
                }
                Err(_) => written.unreadable.push(unreadable()),
            }
            return;
        }
        let Some(conversation) = conversation else {
            written.unreadable.push(unreadable());
            return;
        };
        match stream {
            "DT_IN" => {
                let entry = match entry::decode(&stored.payload) {
                    Err(_) | Ok(Entry::Undecodable { .. }) => {
                        return written.unreadable.push(unreadable());
                    }
                    Ok(entry) => entry,
                };
                let kind = entry.kind();
                let msg_id = match entry {
                    Entry::Message(message) => Some(message.msg_id.as_str().to_owned()),
                    _ => None,
                };
                written.log.push(Logged { seq, at, conversation, kind, msg_id });
            }
            "DT_JOURNAL" => match record::decode(&stored.payload) {
                Ok(record) => written.journal.push(Noted { seq, at, conversation, record }),
                Err(_) => written.unreadable.push(unreadable()),
            },
            _ => match dead::decode(&stored.payload) {
                Ok(letter) => written.dead.push(letter),
                Err(_) => written.unreadable.push(unreadable()),
            },
        }
    }
}
