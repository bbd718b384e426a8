//! Files on their way to an expert: fetched from DingTalk, handed over as its runtime takes them.
//!
//! Guarantees that every file of a turn is handed over, or stands in the text with the reason why not, and
//! that each of these is counted. What may succeed later fails the attempt, which the turn's schedule
//! repeats; what never will is told to the expert, who is asked all the same.

use std::collections::BTreeMap;

use crate::context::Context;
use crate::domain::answer::{Answer, Failure, FailureClass};
use crate::domain::attachment::{
    Quoting, Spoken, Wanted, compose, is_only_too_large, name, wanted,
};
use crate::domain::binding::{Integration, Runtime, RuntimeKind};
use crate::domain::invocation::{Content, File, TurnRequest, Unread};
use crate::domain::reason::Reason;
use crate::domain::words::Word;
use crate::io::dingtalk::media::{Downloads, Error, Fetched};
use crate::io::runtime::{Line, Outcome, Runtimes, Upload};
use crate::protocol::magic::{Magic, sniff};
use crate::telemetry::metrics;

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// `DT_TURN_MAX_FILES`: what is over is counted and told.
    pub files_max: usize,
    /// `DT_MEDIA_INLINE_MAX_BYTES`: so much of a turn's files goes to a callback with the turn itself.
    pub inline_max_bytes: u64,
    /// `DT_MEDIA_MAX_BYTES`.
    pub file_max_bytes: u64,
}

/// One attempt at a turn, with what it takes to hand its files over.
pub struct Attaching<'a> {
    pub context: &'a Context,
    pub downloads: &'a Downloads,
    pub runtimes: &'a Runtimes,
    pub limits: Limits,
    /// `None`: it is gone, and nothing can be fetched with its credentials any more.
    pub integration: Option<&'a Integration>,
    pub runtime: &'a Runtime,
    pub line: &'a Line,
}

impl Attaching<'_> {
    /// Fills in what the messages say and asks the expert.
    pub async fn ask(
        &self,
        mut request: TurnRequest,
        spoken: Vec<Spoken>,
    ) -> Result<Outcome, Failure> {
        // Cancel safe: a file that is dropped half read is read anew by another attempt, or by none.
        let files = tokio::select! {
            biased;
            () = self.line.cancel.cancelled() => return Ok(Outcome::Cancelled),
            files = self.hand_over(wanted(&spoken)) => files?,
        };
        if is_only_too_large(&spoken, &files) {
            let text = Word::FileTooLarge.text(request.language).to_owned();
            return Ok(Outcome::Answer(Answer { text, interrupt: None }));
        }
        let quoting = match &self.runtime.kind {
            RuntimeKind::Xpert { .. } => Quoting::Before,
            RuntimeKind::Callback { .. } | RuntimeKind::Echo => Quoting::Apart,
        };
        let composed = compose(&spoken, files, quoting, request.language);
        request.text = composed.text;
        request.messages = composed.messages;
        self.runtimes.invoke(self.runtime, &request, self.line).await
    }

    /// One file after the other: a turn holds one in memory, and what goes with the turn itself.
    async fn hand_over(&self, mut list: Vec<Wanted<'_>>) -> Result<BTreeMap<u32, File>, Failure> {
        if list.len() > self.limits.files_max {
            self.context.metrics.limit_breached("turn_files");
            for _ in list.drain(self.limits.files_max..) {
                self.count("too_many");
            }
        }
        let mut inline_left = self.limits.inline_max_bytes;
        let mut files = BTreeMap::new();
        for wanted in list {
            let file = self.one(&wanted, inline_left).await?;
            if let Content::Inline(bytes) = &file.content {
                inline_left = inline_left.saturating_sub(bytes.len() as u64);
            }
            files.insert(file.number, file);
        }
        Ok(files)
    }

    async fn one(&self, wanted: &Wanted<'_>, inline_left: u64) -> Result<File, Failure> {
        let keep_bytes_max = match &self.runtime.kind {
            RuntimeKind::Echo => return Ok(plain(wanted, Content::Unfetched)),
            RuntimeKind::Callback { .. } => inline_left,
            RuntimeKind::Xpert { .. } => self.limits.file_max_bytes,
        };
        let Some(integration) = self.integration else {
            return Ok(self.unread(wanted, "unreadable", Unread::Unreadable));
        };
        let (robot_code, code) = (wanted.robot_code, wanted.media.code.as_str());
        match self.downloads.fetch(integration, robot_code, code, keep_bytes_max).await {
            Ok(fetched) => self.pass_on(wanted, fetched, inline_left).await,
            Err(Error::TooLarge(_)) => {
                self.context.metrics.limit_breached("media_bytes");
                Ok(self.unread(wanted, "too_large", Unread::TooLarge))
            }
            Err(error @ Error::Refused(_)) => {
                self.context.metrics.limit_breached("download_hosts");
                tracing::warn!(number = wanted.number, %error, "a file was not fetched");
                Ok(self.unread(wanted, "refused", Unread::Unreadable))
            }
            Err(error @ Error::Gone(_)) => {
                tracing::warn!(number = wanted.number, %error, "a file was not fetched");
                Ok(self.unread(wanted, "unreadable", Unread::Unreadable))
            }
            Err(Error::Failed { after, detail }) => {
                self.count("failed");
                let detail =
                    format!("file {} could not be fetched: {}", wanted.number, detail.expose());
                let class = FailureClass::Retryable { after };
                Err(Failure { class, reason: Reason::RuntimeExhausted, detail: detail.into() })
            }
        }
    }

    async fn pass_on(
        &self,
        wanted: &Wanted<'_>,
        fetched: Fetched,
        inline_left: u64,
    ) -> Result<File, Failure> {
        let given = wanted.media.name.as_deref();
        let Magic { content_type, extension } = sniff(&fetched.bytes, given);
        let name = name(given, wanted.media.kind, wanted.number, extension);
        let size_bytes = fetched.size_bytes;
        let is_small = fetched.is_whole && size_bytes <= inline_left;
        let content = match &self.runtime.kind {
            RuntimeKind::Xpert { .. } => {
                let upload = Upload { name: name.clone(), content_type, bytes: fetched.bytes };
                match self.runtimes.upload(self.runtime, upload, self.line).await {
                    Ok(record) => Content::Uploaded(record),
                    Err(failure) if failure.class == FailureClass::Permanent => {
                        let (number, reason) = (wanted.number, failure.reason.as_str());
                        tracing::warn!(number, reason, "the runtime refused a file");
                        return Ok(self.unread(wanted, "not_taken", Unread::Unreadable));
                    }
                    Err(failure) => return Err(failure),
                }
            }
            RuntimeKind::Callback { .. } | RuntimeKind::Echo if is_small => {
                Content::Inline(fetched.bytes)
            }
            RuntimeKind::Callback { .. } | RuntimeKind::Echo => {
                Content::Url { url: fetched.url, expires_at: fetched.expires_at }
            }
        };
        self.count("ok");
        let content_type = Some(content_type.to_owned());
        let (number, kind) = (wanted.number, wanted.media.kind);
        Ok(File { number, kind, name, content_type, size_bytes: Some(size_bytes), content })
    }

    fn unread(&self, wanted: &Wanted<'_>, result: &'static str, why: Unread) -> File {
        self.count(result);
        plain(wanted, Content::Unread(why))
    }

    fn count(&self, result: &'static str) {
        self.context.metrics.media.get_or_create(&metrics::Outcome { result }).inc();
    }
}

/// A file of which no more is known than the message says.
fn plain(wanted: &Wanted<'_>, content: Content) -> File {
    let (number, kind) = (wanted.number, wanted.media.kind);
    let name = name(wanted.media.name.as_deref(), kind, number, None);
    File { number, kind, name, content_type: None, size_bytes: None, content }
}
