//! A run: one worker's hold on one conversation, and the only hand that writes its journal.
//!
//! After a doubt the last record tells whether an append is stored, must be repeated, or belongs to
//! somebody else; in the last case the run is lost and does nothing more.

use std::time::Duration;

use tokio::time::sleep;

use super::lease::Lease;
use crate::domain::answer::Answer;
use crate::domain::id::Conversation;
use crate::domain::retry;
use crate::domain::turn::{Head, Step};
use crate::io::journal::{self, AppendError, Journal, Last};
use crate::protocol::record::Record;

pub struct Run {
    pub conversation: Conversation,
    journal: Journal,
    last: Last,
    nonce: u64,
    count: u32,
    lease: Lease,
    pub patience: Patience,
}

/// What a run does with records that only a newer release can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// It leaves them to that release.
    Lasts,
    /// They were left for too long: nobody will come for them.
    IsOver,
}

/// Why a run ends without a say.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// Somebody else has the conversation, or may have: no effect, no ack, no nak.
    #[error("the run is lost to another one")]
    Lost,
    /// The process ends before the run can: another worker goes on from the journal.
    #[error("the process drains")]
    Draining,
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

impl Run {
    pub fn new(conversation: Conversation, journal: Journal, last: Last, lease: Lease) -> Self {
        let (nonce, count, patience) = (rand::random(), 0, Patience::Lasts);
        Self { conversation, journal, last, nonce, count, lease, patience }
    }

    pub fn head(&self) -> &Head {
        &self.last.head
    }

    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Asked before every effect.
    pub fn check(&self) -> Result<(), Stopped> {
        if self.lease.held().lasts() { Ok(()) } else { Err(Stopped::Lost) }
    }

    /// Stores the next record, or finds that the run is lost. After a conflict or a time-out the last
    /// record tells: this one means stored, the one before means again, any other means lost.
    pub async fn record(
        &mut self,
        step: Step,
        head: Head,
        answer: Option<Answer>,
    ) -> Result<(), Stopped> {
        self.count += 1;
        let record = Record { nonce: self.nonce, count: self.count, step, head, answer };
        let mut waits = retry::soon();
        loop {
            self.check()?;
            let appended = self.journal.append(&self.conversation, self.last.seq, &record).await;
            match appended {
                Ok(seq) => {
                    self.last = Last {
                        seq,
                        at: None,
                        nonce: self.nonce,
                        count: self.count,
                        head: journal::pointed(record.head, seq),
                    };
                    return Ok(());
                }
                // Asked again it would be refused again: the run falls, and is counted as fallen.
                Err(error @ AppendError::TooLarge) => return Err(anyhow::Error::new(error).into()),
                Err(AppendError::Conflict | AppendError::Unknown(_)) => {}
            }
            let last = self.last_again().await?;
            if last.nonce == self.nonce && last.count == self.count {
                self.last = last;
                return Ok(());
            }
            if last.seq != self.last.seq {
                return Err(Stopped::Lost);
            }
            sleep(waits.next().unwrap_or_default()).await;
        }
    }

    async fn last_again(&self) -> Result<Last, Stopped> {
        loop {
            match self.journal.last(&self.conversation).await {
                Ok(last) => return Ok(last),
                Err(journal::Error::Nats(error)) => {
                    tracing::debug!(%error, "the journal does not answer");
                    self.check()?;
                    sleep(Duration::from_millis(200)).await;
                }
                // A newer release has written behind us.
                Err(
                    journal::Error::Newer(_)
                    | journal::Error::Unreadable { .. }
                    | journal::Error::AnswerGone(_),
                ) => return Err(Stopped::Lost),
            }
        }
    }
}
