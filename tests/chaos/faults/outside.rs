//! What DingTalk and the experts do: refuse, break, hang, do what they were asked and not say so; and
//! experts that are paused or gone for a while.

use std::time::Duration;

use dingtalk_trigger::sim::dingtalk::fault::{Fault as Scripted, Outcome};
use dingtalk_trigger::sim::dingtalk::record::Kind;
use dingtalk_trigger::sim::expert::Next;
use dingtalk_trigger::sim::script::{Act, End};
use dingtalk_trigger::sim::xpert::fault::Fault as OfXpert;
use serde_json::{Value, json};

use super::{one_of, pause};
use crate::console::Console;
use crate::load::ROBOTS;
use crate::support::outside::Outside;
use crate::support::program::report;
use crate::support::rng::Rng;
use crate::support::wait::wait_until;

/// The calls that bring an answer to a person.
const SENDS: [&str; 3] = ["webhook", "oto", "group"];
const TOKEN: &str = "token";
/// A fault at DingTalk lasts until so many calls have met it.
const MET_LEAST: usize = 10;
const MET_WITHIN: Duration = Duration::from_secs(120);
/// So many calls of each API meet it. Not all of some seconds: an answer that is refused five times waits
/// ten minutes, as its schedule says, and the proof would wait for it.
const CALLS: u32 = 30;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// 403 `QpsLimit`, or the webhook's own word for it.
    TooFast,
    Internal,
    Reset,
    /// It is sent, and the connection breaks before the answer.
    Ambiguous,
    /// It is sent, and 500 is the answer.
    AmbiguousAnswer,
    /// It is sent, and no answer comes.
    AmbiguousHang,
    Hang,
    TokensRevoked,
    ExpertFails,
    ExpertHangs,
    ExpertBreaksOff,
    XpertFails,
    XpertHangs,
    XpertBreaksOff,
    XpertLosesCreate,
    ExpertGone,
    ExpertPaused,
    RobotPaused,
}

pub(crate) const ALL: [(&str, Fault); 18] = [
    ("DingTalk: QpsLimit", Fault::TooFast),
    ("DingTalk: 500", Fault::Internal),
    ("DingTalk: connection reset", Fault::Reset),
    ("DingTalk: sent, then reset", Fault::Ambiguous),
    ("DingTalk: sent, then 500", Fault::AmbiguousAnswer),
    ("DingTalk: sent, then no answer", Fault::AmbiguousHang),
    ("DingTalk: no answer", Fault::Hang),
    ("DingTalk: tokens revoked, then 500", Fault::TokensRevoked),
    ("callback: 500 and 503", Fault::ExpertFails),
    ("callback: hangs", Fault::ExpertHangs),
    ("callback: half a stream", Fault::ExpertBreaksOff),
    ("Xpert: 500", Fault::XpertFails),
    ("Xpert: hangs", Fault::XpertHangs),
    ("Xpert: half a stream", Fault::XpertBreaksOff),
    ("Xpert: run created, answer lost", Fault::XpertLosesCreate),
    ("expert unregistered", Fault::ExpertGone),
    ("expert paused", Fault::ExpertPaused),
    ("robot paused", Fault::RobotPaused),
];

pub(crate) async fn strike(outside: &Outside, console: &Console, fault: Fault, rng: &mut Rng) {
    let before = outside.cloud.book().last();
    match fault {
        Fault::TooFast => {
            let named = |api: &str| if api == "webhook" { "tooFast" } else { "qps" };
            sends(outside, CALLS, |api| Outcome::Preset { name: named(api).to_owned() });
        }
        Fault::Internal => {
            sends(outside, CALLS, |_| Outcome::Preset { name: "internal".to_owned() });
        }
        Fault::Reset => sends(outside, CALLS, |_| Outcome::Reset),
        Fault::Ambiguous => sends(outside, 15, |_| Outcome::AcceptThenReset),
        Fault::AmbiguousAnswer => {
            let body = json!({ "code": "system.error", "message": "later" });
            sends(outside, 10, |_| Outcome::AcceptThenAnswer { status: 500, body: body.clone() });
        }
        Fault::AmbiguousHang => sends(outside, 10, |_| Outcome::AcceptThenHang),
        Fault::Hang => sends(outside, 10, |_| Outcome::Hang),
        Fault::TokensRevoked => {
            outside.cloud.revoke_tokens();
            outside.cloud.fault(Scripted::preset(TOKEN, "internal").times(CALLS));
        }
        Fault::ExpertFails => {
            for (status, retry_after) in [(500, None), (503, Some(2))] {
                let next = Next::Status { status, retry_after, body: "failed".to_owned() };
                next_calls(outside, 15, &next);
            }
        }
        Fault::ExpertHangs => next_calls(outside, 8, &Next::Act(half(End::Hang))),
        Fault::ExpertBreaksOff => next_calls(outside, 15, &Next::Act(half(End::Cut))),
        Fault::XpertFails => {
            xpert(outside, 15, &OfXpert::Status { status: 500, retry_after: None });
        }
        Fault::XpertHangs => xpert(outside, 5, &OfXpert::Hang),
        Fault::XpertBreaksOff => xpert(outside, 15, &OfXpert::CutStream { after: 2 }),
        Fault::XpertLosesCreate => xpert(outside, 15, &OfXpert::LostCreate),
        Fault::ExpertGone => {
            let robot = one_of(&ROBOTS, rng);
            let path = format!("/api/runtimes/{}", robot.expert);
            console.done("DELETE", &path, &Value::Null).await;
            pause(rng, 2000, 5000).await;
            console.done("PUT", &path, &Console::runtime(outside, robot)).await;
        }
        Fault::ExpertPaused => {
            let path = format!("/api/runtimes/{}", one_of(&ROBOTS, rng).expert);
            console.pause(&path, rng).await;
        }
        Fault::RobotPaused => {
            let path = format!("/api/integrations/{}", one_of(&ROBOTS, rng).name);
            console.pause(&path, rng).await;
        }
    }
    pause(rng, 3000, 6000).await;
    if fault.is_at_dingtalk() {
        // While the broker is away nobody sends.
        let met = || met(outside, before);
        wait_until("calls meet the fault", MET_WITHIN, async || met() >= MET_LEAST).await;
        report(&format!("chaos: {fault:?} met by {} calls", met()));
    }
    outside.cloud.clear_faults();
}

impl Fault {
    fn is_at_dingtalk(self) -> bool {
        matches!(
            self,
            Self::TooFast
                | Self::Internal
                | Self::Reset
                | Self::Ambiguous
                | Self::AmbiguousAnswer
                | Self::AmbiguousHang
                | Self::Hang
                | Self::TokensRevoked
        )
    }
}

/// How many calls the cloud has spoiled since then, but for those that open a Stream connection.
fn met(outside: &Outside, since: u64) -> usize {
    let records = outside.cloud.book().since(since, usize::MAX);
    let is_ours = |api: &str| api == TOKEN || SENDS.contains(&api);
    records.iter().filter(|one| one.kind == Kind::Faulted && is_ours(&one.detail)).count()
}

fn sends(outside: &Outside, times: u32, outcome: impl Fn(&str) -> Outcome) {
    for api in SENDS {
        outside.cloud.fault(Scripted::new(api, outcome(api)).times(times));
    }
}

fn next_calls(outside: &Outside, times: u32, next: &Next) {
    for _ in 0..times {
        outside.expert.next(next.clone());
    }
}

fn xpert(outside: &Outside, times: u32, fault: &OfXpert) {
    for _ in 0..times {
        outside.xpert.fault(fault.clone());
    }
}

/// A beginning that nobody should ever read.
fn half(end: End) -> Act {
    let deltas = vec!["half ".to_owned(), "an answer".to_owned()];
    Act { deltas, pause: Duration::from_millis(20), end }
}
