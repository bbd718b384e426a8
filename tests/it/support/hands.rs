//! An operator's hands on JetStream: the commands of the README's runbook, with NATS' own command where
//! it was built and by the requests that it would send elsewhere.
//!
//! A command that the README does not name fails the test.

use std::path::{Path, PathBuf};
use std::process::Output;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::env;
use crate::support::program::{LIMIT, report};
use crate::support::server::connect;
use crate::support::wait::wait_until;

const README: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));

/// NATS' own command with the address of a server, and nothing of this machine's own settings.
pub(crate) struct Cli {
    program: PathBuf,
    url: String,
    home: TempDir,
}

impl Cli {
    /// `None`, said aloud, where the command was not built.
    pub(crate) fn find(url: &str) -> Option<Self> {
        let program = env::nats_cli();
        if !program.is_file() {
            report(&format!("SKIPPED: no {}: it is built with Go", program.display()));
            return None;
        }
        let home = tempfile::tempdir().expect("create a home");
        Some(Self { program, url: url.to_owned(), home })
    }

    /// Run where the files of `streams/` are.
    pub(crate) async fn run<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Output {
        Command::new(&self.program)
            .args(["--server", &self.url])
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("HOME", self.home.path())
            .env("XDG_CONFIG_HOME", self.home.path())
            .output()
            .await
            .expect("run the nats command")
    }

    /// Fails with what the command said.
    pub(crate) async fn expect<S: AsRef<str>>(&self, arguments: &[S]) {
        let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
        let (output, line) = (self.run(&arguments).await, arguments.join(" "));
        report(&format!("nats {line}: {}", output.status));
        assert!(output.status.success(), "nats {line}:\n{}", said(&output));
    }
}

fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

pub(crate) struct Hands {
    cli: Option<Cli>,
    client: async_nats::Client,
    files: TempDir,
}

impl Hands {
    pub(crate) async fn on(urls: &[String]) -> Self {
        let client = connect(urls).await;
        let files = tempfile::tempdir().expect("create a directory for backups");
        Self { cli: Cli::find(&urls.join(",")), client, files }
    }

    pub(crate) async fn pause(&self, stream: &str, consumer: &str) {
        let until = time::OffsetDateTime::now_utc() + time::Duration::hours(1);
        let until = until.format(&time::format_description::well_known::Rfc3339).expect("a time");
        let values = [("<stream>", stream), ("<consumer>", consumer)];
        let line = "nats consumer pause <stream> <consumer> 1h --force";
        let subject = format!("CONSUMER.PAUSE.{stream}.{consumer}");
        self.run(line, &values, &subject, &json!({ "pause_until": until })).await;
    }

    pub(crate) async fn resume(&self, stream: &str, consumer: &str) {
        let values = [("<stream>", stream), ("<consumer>", consumer)];
        let line = "nats consumer resume <stream> <consumer> --force";
        let subject = format!("CONSUMER.PAUSE.{stream}.{consumer}");
        self.run(line, &values, &subject, &json!({})).await;
    }

    pub(crate) async fn remove_consumer(&self, stream: &str, consumer: &str) {
        let values = [("<stream>", stream), ("<consumer>", consumer)];
        let line = "nats consumer rm <stream> <consumer> --force";
        let subject = format!("CONSUMER.DELETE.{stream}.{consumer}");
        self.run(line, &values, &subject, &json!({})).await;
    }

    pub(crate) async fn add_consumer(&self, stream: &str, consumer: &str) {
        let values = [("<stream>", stream), ("<consumer>", consumer)];
        let line = "nats consumer add <stream> --config streams/<stream>.<consumer>.json";
        let config = config(&format!("streams/{stream}.{consumer}.json"));
        let question = json!({ "stream_name": stream, "config": config });
        let subject = format!("CONSUMER.CREATE.{stream}.{consumer}");
        self.run(line, &values, &subject, &question).await;
    }

    pub(crate) async fn max_bytes(&self, stream: &str, bytes: u32) {
        let mut config = self.info(stream).await["config"].take();
        config["max_bytes"] = json!(bytes);
        let size = format!("{bytes}B");
        let values = [("<stream>", stream), ("<size>", size.as_str())];
        let line = "nats stream edit <stream> --max-bytes <size> --force";
        self.run(line, &values, &format!("STREAM.UPDATE.{stream}"), &config).await;
    }

    pub(crate) async fn purge(&self, stream: &str) {
        let line = format!("nats stream purge {stream} --force");
        self.run(&line, &[], &format!("STREAM.PURGE.{stream}"), &json!({})).await;
    }

    /// Removes the last message under `subject`, which is there.
    pub(crate) async fn remove_last(&self, stream: &str, subject: &str) {
        let found = self.last(stream, subject).await.expect("the message is there");
        self.remove(stream, found).await;
    }

    pub(crate) async fn remove(&self, stream: &str, found: u64) {
        let sequence = found.to_string();
        let values = [("<stream>", stream), ("<sequence>", sequence.as_str())];
        let line = "nats stream rmm <stream> <sequence> --force";
        let api = format!("STREAM.MSG.DELETE.{stream}");
        self.run(line, &values, &api, &json!({ "seq": found })).await;
    }

    /// What the broker says to the same on a bucket.
    pub(crate) async fn remove_from_bucket(&self, stream: &str) -> Result<Value, String> {
        self.answer(&format!("STREAM.MSG.DELETE.{stream}"), &json!({ "seq": 1 })).await
    }

    pub(crate) async fn remove_stream(&self, stream: &str) {
        let line = "nats stream rm <stream> --force";
        let subject = format!("STREAM.DELETE.{stream}");
        self.run(line, &[("<stream>", stream)], &subject, &json!({})).await;
    }

    pub(crate) async fn step_down(&self, stream: &str) {
        let line = "nats stream cluster step-down <stream>";
        let subject = format!("STREAM.LEADER.STEPDOWN.{stream}");
        self.led(&format!("STREAM.INFO.{stream}")).await;
        self.run(line, &[("<stream>", stream)], &subject, &json!({})).await;
    }

    pub(crate) async fn step_down_consumer(&self, stream: &str, consumer: &str) {
        let values = [("<stream>", stream), ("<consumer>", consumer)];
        let line = "nats consumer cluster step-down <stream> <consumer>";
        let subject = format!("CONSUMER.LEADER.STEPDOWN.{stream}.{consumer}");
        self.led(&format!("CONSUMER.INFO.{stream}.{consumer}")).await;
        self.run(line, &values, &subject, &json!({})).await;
    }

    pub(crate) async fn backup(&self, stream: &str) {
        let (line, directory) = ("nats stream backup <stream> <directory>", self.backed_up(stream));
        let values = [("<stream>", stream), ("<directory>", directory.as_str())];
        assert_named(line);
        match &self.cli {
            Some(cli) => cli.expect(&words(line, &values)).await,
            None => self.snapshot(stream).await,
        }
    }

    pub(crate) async fn restore(&self, stream: &str) {
        let (line, directory) = ("nats stream restore <directory>", self.backed_up(stream));
        assert_named(line);
        match &self.cli {
            Some(cli) => cli.expect(&words(line, &[("<directory>", directory.as_str())])).await,
            None => self.put_back(stream).await,
        }
    }

    /// A message under any subject, as `nats pub` sends it.
    pub(crate) async fn publish(&self, subject: &str) {
        let sent = self.client.request(subject.to_owned(), "not ours".into());
        sent.await.expect("the stream takes it");
    }

    /// The sequence of the last message under `subject`.
    pub(crate) async fn last(&self, stream: &str, subject: &str) -> Option<u64> {
        let question = json!({ "last_by_subj": subject });
        let answer = self.ask(&format!("STREAM.MSG.GET.{stream}"), &question).await;
        answer["message"]["seq"].as_u64()
    }

    pub(crate) async fn info(&self, stream: &str) -> Value {
        self.ask(&format!("STREAM.INFO.{stream}"), &json!({})).await
    }

    /// Who is being elected cannot step down.
    async fn led(&self, info: &str) {
        wait_until("there is a leader", LIMIT, async || {
            !self.ask(info, &json!({})).await["cluster"]["leader"].is_null()
        })
        .await;
    }

    /// An answer without an error, or `Null`.
    async fn ask(&self, subject: &str, question: &Value) -> Value {
        self.answer(subject, question).await.unwrap_or_default()
    }

    async fn answer(&self, subject: &str, question: &Value) -> Result<Value, String> {
        let asked = self.client.request(format!("$JS.API.{subject}"), question.to_string().into());
        let answer = asked.await.map_err(|e| e.to_string())?;
        let answer: Value = serde_json::from_slice(&answer.payload).map_err(|e| e.to_string())?;
        if answer["error"].is_null() { Ok(answer) } else { Err(answer["error"].to_string()) }
    }

    /// `line` as the README has it, with these values in it; or what it asks the broker.
    async fn run(&self, line: &str, values: &[(&str, &str)], subject: &str, question: &Value) {
        assert_named(line);
        match &self.cli {
            Some(cli) => cli.expect(&words(line, values)).await,
            None => {
                let answer = self.answer(subject, question).await;
                assert!(answer.is_ok(), "{subject}: {answer:?}");
            }
        }
    }

    fn backed_up(&self, stream: &str) -> String {
        self.files.path().join(stream).display().to_string()
    }

    /// What the command does for a backup: chunks come on a subject of ours, each is confirmed.
    async fn snapshot(&self, stream: &str) {
        let inbox = self.client.new_inbox();
        let mut chunks = self.client.subscribe(inbox.clone()).await.expect("subscribe");
        let question = json!({ "deliver_subject": inbox, "no_consumers": false });
        let mut answer = self.ask(&format!("STREAM.SNAPSHOT.{stream}"), &question).await;
        assert!(answer["config"].is_object(), "no snapshot: {answer}");
        let mut data = Vec::new();
        while let Some(chunk) = chunks.next().await {
            if chunk.payload.is_empty() {
                break;
            }
            data.extend_from_slice(&chunk.payload);
            if let Some(reply) = chunk.reply {
                confirm(&self.client, reply).await;
            }
        }
        let head = json!({ "config": answer["config"].take(), "state": answer["state"].take() });
        let directory = PathBuf::from(self.backed_up(stream));
        std::fs::create_dir(&directory).expect("create a directory for the backup");
        std::fs::write(directory.join("head.json"), head.to_string()).expect("write its head");
        std::fs::write(directory.join("data"), data).expect("write its data");
    }

    async fn put_back(&self, stream: &str) {
        let directory = PathBuf::from(self.backed_up(stream));
        let head = std::fs::read(directory.join("head.json")).expect("read the backup's head");
        let head: Value = serde_json::from_slice(&head).expect("JSON");
        let answer = self.answer(&format!("STREAM.RESTORE.{stream}"), &head).await;
        let answer = answer.expect("the broker takes the backup");
        let subject = answer["deliver_subject"].as_str().expect("where to").to_owned();
        let data = std::fs::read(directory.join("data")).expect("read the backup");
        for chunk in data.chunks(64 << 10) {
            let sent = self.client.request(subject.clone(), chunk.to_vec().into());
            sent.await.expect("the broker takes a chunk");
        }
        let last = self.client.request(subject, "".into()).await.expect("the stream is there");
        let answer: Value = serde_json::from_slice(&last.payload).expect("JSON");
        assert!(answer["error"].is_null(), "{answer}");
    }
}

#[expect(clippy::disallowed_methods, reason = "nobody answers the confirmation of a chunk")]
async fn confirm(client: &async_nats::Client, reply: async_nats::Subject) {
    client.publish(reply, "".into()).await.expect("confirm a chunk");
}

fn assert_named(line: &str) {
    assert!(README.contains(line), "the README's runbook does not name `{line}`");
}

fn config(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    serde_json::from_slice(&std::fs::read(path).expect("read the file")).expect("JSON")
}

/// `line` with these values in it, without its `nats`.
fn words(line: &str, values: &[(&str, &str)]) -> Vec<String> {
    let fill = |word: &str| {
        values.iter().fold(word.to_owned(), |word, (name, value)| word.replace(name, value))
    };
    line.split(' ').skip(1).map(fill).collect()
}
