//! Messages for a run at work: said once, read when the run's events say so.

use dingtalk_trigger::domain::id::Seq;
use dingtalk_trigger::io::runtime::{Fact, Outcome, Steer};
use dingtalk_trigger::sim::xpert::fault::Fault;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Bench, again};
use crate::runtime::{config, turn};
use crate::support::program::LIMIT;
use crate::support::wait::wait_until;

fn steer(seq: u64, text: &str) -> Steer {
    Steer { said: vec![(Seq(seq), text.to_owned())] }
}

/// A line with these on it.
fn line(steers: Vec<Steer>) -> (mpsc::Sender<Steer>, mpsc::Receiver<Steer>) {
    let (sender, receiver) = mpsc::channel(8);
    for steer in steers {
        sender.try_send(steer).expect("there is room");
    }
    (sender, receiver)
}

fn text(outcome: Result<Outcome, dingtalk_trigger::domain::answer::Failure>) -> String {
    match outcome {
        Ok(Outcome::Answer(answer)) => answer.text,
        other => panic!("no answer: {other:?}"),
    }
}

#[tokio::test]
async fn what_is_said_into_a_run_is_on_record_before_it_is_said_and_once_it_is_read() {
    let bench = Bench::start(config()).await;
    let first = turn("slow 2");
    let (_open, steers) = line(vec![steer(43, "more"), steer(44, "and more")]);
    let never = CancellationToken::new();
    let asked = bench.caller.ask_steered(&bench.kind, &first, (&never, steers), |_| true).await;
    let (outcome, facts) = asked;
    let text = text(outcome);
    assert!(text.contains("And you said: more") && text.contains("And you said: and more"));
    let run = bench.xpert.calls()[0].run.clone();
    let named = |offered: &str| Fact::Run(format!("{run}{offered}"));
    let (read, runs): (Vec<_>, Vec<_>) =
        facts.into_iter().partition(|fact| matches!(fact, Fact::Read(_)));
    assert_eq!(runs, [named(""), named("+43"), named("+44")]);
    assert_eq!(read, [Fact::Read(Seq(43)), Fact::Read(Seq(44))]);
    assert_eq!((bench.runs(), bench.xpert.steered().len()), (1, 2));
}

#[tokio::test]
async fn what_could_not_be_recorded_is_not_said() {
    let bench = Bench::start(config()).await;
    let (_open, steers) = line(vec![steer(43, "more")]);
    let never = CancellationToken::new();
    let learn = |fact: &Fact| !matches!(fact, Fact::Run(name) if name.ends_with("+43"));
    let first = turn("slow 1");
    let asked = bench.caller.ask_steered(&bench.kind, &first, (&never, steers), learn).await;
    assert_eq!(text(asked.0), "You said: slow 1");
    assert_eq!(bench.xpert.steered().len(), 0);
}

#[tokio::test]
async fn whoever_goes_on_hears_what_was_read_and_says_nothing_again_or_behind_it() {
    let bench = Bench::start(config()).await;
    let first = turn("slow 4");
    let (_open, steers) = line(vec![steer(43, "more")]);
    let never = CancellationToken::new();
    tokio::select! {
        biased;
        asked = bench.caller.ask_steered(&bench.kind, &first, (&never, steers), |_| true) => {
            panic!("answered too early: {asked:?}")
        }
        () = wait_until("it was said", LIMIT, async || bench.xpert.steered().len() == 1) => {}
    }
    let run = bench.xpert.calls()[0].run.clone();
    let (_open, steers) = line(vec![steer(43, "more"), steer(44, "behind")]);
    let later = again(&first, Some(&format!("{run}+43")));
    let asked = bench.caller.ask_steered(&bench.kind, &later, (&never, steers), |_| true).await;
    assert!(text(asked.0).contains("And you said: more"));
    assert_eq!(asked.1, [Fact::Read(Seq(43))]);
    assert_eq!((bench.runs(), bench.xpert.steered().len()), (1, 1));
}

#[tokio::test]
async fn nothing_is_said_behind_what_may_not_have_arrived() {
    let bench = Bench::start(config()).await;
    let first = turn("slow 3");
    let (sender, steers) = line(vec![]);
    let never = CancellationToken::new();
    let call = bench.caller.ask_steered(&bench.kind, &first, (&never, steers), |_| true);
    let say = async {
        assert!(bench.xpert.called(1, LIMIT).await);
        bench.xpert.fault(Fault::LostCreate);
        sender.send(steer(43, "lost on the way back")).await.expect("the run is at work");
        sender.send(steer(44, "behind it")).await.expect("the run is at work");
    };
    let ((outcome, facts), ()) = tokio::join!(call, say);
    let text = text(outcome);
    assert!(text.contains("lost on the way back") && !text.contains("behind it"), "{text}");
    assert_eq!(facts.last(), Some(&Fact::Read(Seq(43))));
    assert_eq!(bench.xpert.steered().len(), 1);
}
