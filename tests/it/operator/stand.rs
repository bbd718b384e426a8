//! A service under load: people who write all the time, and the operator's hands beside them.
//!
//! One robot answers each message by itself, one collects for a second first, so that timers are pending
//! at any time. A third is touched by nobody but the test.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use dingtalk_trigger::sim::dingtalk::message::{Said, Say};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::support::hands::Hands;
use crate::support::oracle::{judge, mark, unanswered, waiting};
use crate::support::outside::Outside;
use crate::support::program::{LIMIT, Program, report};
use crate::support::service::{Service, callback, echo};
use crate::support::wait::wait_until;

/// `DT_SWEEP_INTERVAL`.
const SWEEP: Duration = Duration::from_secs(2);
/// The sweep finds what has waited for one interval, an interval later at the most.
pub(super) const SWEPT: Duration = Duration::from_secs(SWEEP.as_secs() * 2 + 10);
/// One redelivery of a run comes after 15 s, a second one after 30.
pub(super) const REDELIVERED: Duration = Duration::from_secs(27);
/// Between two messages.
const PACE: Duration = Duration::from_millis(50);
const PEOPLE: usize = 12;
/// Conversations of people who write once, to the robot that collects.
const ONCE: usize = 100;
/// Conversations that only the test speaks in.
const OWN: usize = 900;
/// So many messages wait before an operator's second step.
const PILE: usize = 5;

pub(super) struct Stand {
    pub(super) outside: Outside,
    pub(super) service: Service,
    pub(super) hands: Hands,
    /// What its service was told beside the stand's own settings.
    settings: Vec<(String, String)>,
    said: Cell<usize>,
    own: Cell<usize>,
    /// What the broker was made to lose.
    lost: RefCell<BTreeSet<String>>,
}

impl Stand {
    pub(super) async fn start(more: &[(&str, &str)]) -> Self {
        let outside = Outside::start().await;
        let unlimited =
            [("DT_SEND_RATE", "0"), ("DT_WEBHOOK_RATE", "0"), ("DT_SWEEP_INTERVAL", "2s")];
        let settings: Vec<_> = unlimited.into_iter().chain(more.iter().copied()).collect();
        let service = Service::start_with(&outside, &settings).await;
        let given = more.iter().find(|(name, _)| *name == "NATS_URL");
        let urls = given.map_or_else(|| service.nats_url(), |(_, urls)| (*urls).to_owned());
        let urls: Vec<_> = urls.split(',').map(str::to_owned).collect();
        let hands = Hands::on(&urls).await;
        service.http_robot(&outside, "plain").await;
        service.stream_robot(&outside, "collects").await;
        service.http_robot(&outside, "own").await;
        let admin = service.admin();
        admin.publish("plain", "plain", &json!({ "runtime": echo() })).await;
        let collects = json!({ "runtime": echo(), "summaryWindowSeconds": 1 });
        admin.publish("collects", "collects", &collects).await;
        admin.publish("own", "own", &json!({ "runtime": callback(&outside) })).await;
        let (said, own) = (Cell::new(0), Cell::new(0));
        let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings = more.collect();
        Self { outside, service, hands, settings, said, own, lost: RefCell::default() }
    }

    /// People go on writing while `work` is done.
    pub(super) async fn under_load<T>(&self, work: impl Future<Output = T>) -> T {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = pace.tick() => self.say_next(),
            }
        }
    }

    fn say_next(&self) {
        let number = self.said.replace(self.said.get() + 1);
        let (robot, conversation, index) = match number % 4 {
            3 => ("collects", ONCE + number / 4, 0),
            _ => ("plain", number % PEOPLE, number / PEOPLE),
        };
        self.write(robot, conversation, index);
    }

    /// A message of somebody new to the robot that nobody else writes to.
    pub(super) fn say_own(&self) -> (String, Said) {
        let conversation = OWN + self.own.replace(self.own.get() + 1);
        (mark(conversation, 0), self.write("own", conversation, 0))
    }

    fn write(&self, robot: &str, conversation: usize, index: usize) -> Said {
        let text = mark(conversation, index);
        self.outside.say(Say::direct(robot, &format!("person{conversation}"), &text))
    }

    /// This message was removed before it was answered.
    pub(super) fn give_up(&self, mark: String) {
        self.lost.borrow_mut().insert(mark);
    }

    /// What was said and has no answer, but for what was given up.
    fn open(&self) -> BTreeSet<String> {
        let lost = self.lost.borrow();
        unanswered(&self.outside.cloud).difference(&lost).cloned().collect()
    }

    /// Waits until a few more messages are open than now.
    pub(super) async fn piled_up(&self, what: &str) {
        let enough = self.open().len() + PILE;
        self.looked(what, LIMIT, || self.open().len() >= enough).await;
    }

    /// From now on: all that was said before is answered within `bound`.
    pub(super) async fn recovered(&self, what: &str, bound: Duration) {
        self.recovered_since(Instant::now(), what, bound).await;
    }

    /// Like [`Stand::recovered`], with the time that it has taken already.
    pub(super) async fn recovered_since(&self, begun: Instant, what: &str, bound: Duration) {
        let before = self.open();
        self.looked(what, bound, || self.open().is_disjoint(&before)).await;
        report(&format!(
            "recovery: {what}: {:.1} s, {} waited (bound {} s)",
            begun.elapsed().as_secs_f64(),
            before.len(),
            bound.as_secs()
        ));
    }

    /// The oracle reads everything that was ever said, so it is asked now and then.
    async fn looked(&self, what: &str, limit: Duration, condition: impl Fn() -> bool) {
        let mut pace = interval(PACE);
        wait_until(what, limit, async || {
            pace.tick().await;
            condition()
        })
        .await;
    }

    /// The service's own command beside it, as an operator types it: exit code and what it said.
    pub(super) async fn command(&self, line: &str, urls: &str) -> (i32, String) {
        let arguments: Vec<_> = line.split(' ').collect();
        let mut settings = self.settings.clone();
        settings.push(("NATS_URL".to_owned(), urls.to_owned()));
        let directory = self.service.data.path();
        let mut program = Program::start(directory, "command", &arguments, &settings);
        let code = program.ended().await.code().expect("it ended by itself");
        (code, program.said() + &program.complained())
    }

    /// What `/readyz` says is missing.
    pub(super) async fn missing(&self) -> Value {
        let url = format!("http://{}/readyz", self.service.health);
        let Ok(answer) = reqwest::get(url).await else { return Value::Null };
        let text = answer.text().await.unwrap_or_default();
        let mut answer: Value = serde_json::from_str(&text).unwrap_or_default();
        answer["missing"].take()
    }

    /// Waits until `/readyz` says whether messages are accepted.
    pub(super) async fn says_whether_it_accepts(&self, accepts: bool) {
        wait_until("/readyz says whether messages are accepted", LIMIT, async || {
            let missing = self.missing().await;
            missing.is_object() && missing["accepting"].is_null() == accepts
        })
        .await;
    }

    /// What the log has and nobody has answered: a backup that is made now has it.
    pub(super) fn waiting(&self) -> BTreeSet<String> {
        waiting(&self.outside.cloud)
    }

    /// The log goes, and with it what it had taken and nobody had answered yet, but for what is in a backup.
    pub(super) async fn removed_log(&self, backed_up: &BTreeSet<String>) {
        self.hands.remove_stream("DT_IN").await;
        let open = self.open();
        self.lost.borrow_mut().extend(open.difference(backed_up).cloned());
    }

    /// Ends the service whose broker is not its own.
    pub(super) async fn end(mut self) {
        let status = self.service.program().terminate().await;
        assert_eq!(status.code(), Some(0), "SIGTERM: {}", self.service.program().complained());
    }

    /// Everything is answered, in order, and once but for what was counted. `doubts`: when an operator
    /// took away what a run had in its hands.
    pub(super) async fn judge(&self, doubts: &[RangeInclusive<i64>]) {
        self.recovered("at the end", LIMIT).await;
        let ambiguous = self.service.metric("dt_ambiguous_sends_total", "").await;
        let mut verdict = judge(&self.outside.cloud, doubts);
        let given_up = self.lost.borrow();
        let (gone, lost) = verdict.lost.into_iter().partition(|mark| given_up.contains(mark));
        verdict.lost = lost;
        let gone: Vec<String> = gone;
        let (said, doubled) = (verdict.said, verdict.doubled);
        report(&format!(
            "said {said}, gone with what was removed {}, doubled {doubled}",
            gone.len()
        ));
        verdict.assert_good(ambiguous);
    }
}
