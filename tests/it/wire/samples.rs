//! One value of every record and variant, each field with something in it somewhere.

use std::time::Duration;

use dingtalk_trigger::domain::answer::{Answer, Interrupt};
use dingtalk_trigger::domain::dead::DeadLetter;
use dingtalk_trigger::domain::debounce::{TimerKind, Token};
use dingtalk_trigger::domain::entry::{
    Action, ActionKind, Again, Control, ControlKind, Entry, Logged, Origin, Query, QueryKind,
    Replay,
};
use dingtalk_trigger::domain::id::{ExpertId, MsgId, Seq, TurnId};
use dingtalk_trigger::domain::inbound::{
    Media, MediaKind, Message, Missing, Part, Place, PlaceKind, Quote, Sender, SessionWebhook,
};
use dingtalk_trigger::domain::reason::Reason;
use dingtalk_trigger::domain::session::Session;
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::domain::turn::failed::{FailedAttempt, FailedAttempts, Tried};
use dingtalk_trigger::domain::turn::question::{Asking, Interrupted};
use dingtalk_trigger::domain::turn::{
    Asked, Head, OpenTurn, Parked, Phase, Sending, Step, TurnKind,
};
use dingtalk_trigger::protocol::record::Record;
use dingtalk_trigger::protocol::token::Slot;

const AT: Timestamp = Timestamp(1_700_000_000_000);

fn turn_id() -> TurnId {
    "robot-1.abcdefghijklmnopqrstuvwx23.42".parse().expect("a turn id")
}

fn expert() -> ExpertId {
    ExpertId::parse("expert").expect("an expert id")
}

fn place(kind: PlaceKind) -> Place {
    Place { id: "cid+/==".to_owned(), kind, title: Some("群".to_owned()) }
}

fn sender() -> Sender {
    Sender {
        id: "$:1".to_owned(),
        staff_id: Some("s1".to_owned()),
        name: "小明".to_owned(),
        corp_id: None,
    }
}

fn media(kind: MediaKind) -> Part {
    let (code, name) = ("code".to_owned(), Some("a.pdf".to_owned()));
    Part::Media(Media { kind, code, name, recognition: Some("heard".to_owned()) })
}

fn webhook() -> SessionWebhook {
    SessionWebhook { url: "https://oapi.dingtalk.com/x".to_owned(), expires_at: AT }
}

fn said(parts: Vec<Part>) -> Message {
    Message {
        msg_id: MsgId::parse("msg+/==").expect("a message id"),
        place: place(PlaceKind::Group),
        sender: sender(),
        robot_code: Some("ding1".to_owned()),
        created_at: Some(AT),
        kind: "text".to_owned(),
        parts,
        quote: Some(Quote {
            msg_id: Some("q".to_owned()),
            parts: vec![Part::Text("quoted".to_owned())],
        }),
        webhook: Some(webhook()),
    }
}

fn bare() -> Message {
    Message {
        msg_id: MsgId::parse("m").expect("a message id"),
        place: Place { id: "c".to_owned(), kind: PlaceKind::Private, title: None },
        sender: Sender { id: "s".to_owned(), staff_id: None, name: String::new(), corp_id: None },
        robot_code: None,
        created_at: None,
        kind: "unknown".to_owned(),
        parts: vec![],
        quote: None,
        webhook: None,
    }
}

/// A message that says which organisation its sender belongs to.
fn of_corp() -> Message {
    let sender = Sender { corp_id: Some("ding-corp".to_owned()), ..sender() };
    Message { sender, ..bare() }
}

/// A message with these values in it.
pub(super) fn message(text: &str, optional: Option<String>, at: i64) -> Entry {
    let mut message = bare();
    message.parts = vec![Part::Text(text.to_owned()), media(MediaKind::File)];
    message.sender.staff_id.clone_from(&optional);
    message.sender.corp_id = optional;
    message.created_at = Some(Timestamp(at));
    Entry::Message(message)
}

fn action(kind: ActionKind, place: Option<Place>) -> Entry {
    let params = "{\"a\":1}".to_owned();
    Entry::Action(Action { turn: turn_id(), kind, by: sender(), place, params })
}

fn control(kind: ControlKind, origin: Option<Origin>) -> Entry {
    Entry::Control(Control { kind, origin })
}

fn query(kind: QueryKind) -> Entry {
    Entry::Query(Query { kind, origin: said(vec![]).origin() })
}

pub(super) fn entries() -> Vec<(&'static str, Entry)> {
    let parts = vec![
        Part::Text("hello".to_owned()),
        media(MediaKind::Picture),
        media(MediaKind::Audio),
        media(MediaKind::Video),
        media(MediaKind::File),
    ];
    let kinds = [MediaKind::Picture, MediaKind::Audio, MediaKind::Video, MediaKind::File];
    let missing = [Missing::Content, Missing::Rest(7)].into_iter();
    let missing = missing.chain(kinds.map(Missing::Media)).map(Part::Missing).collect();
    let origin = said(vec![]).origin();
    let again =
        |again| Entry::Replay(Replay { dead: Seq(7), expert: expert(), epoch: Seq(5), again });
    let press = |kind, place, run: Option<&str>| {
        let (params, run) = ("{\"a\":1}".to_owned(), run.map(ToOwned::to_owned));
        let action = Box::new(Action { turn: turn_id(), kind, by: sender(), place, params });
        again(Again::Press { action, run })
    };
    vec![
        ("message-full", Entry::Message(said(parts))),
        ("message-bare", Entry::Message(bare())),
        ("message-missing", Entry::Message(Message { parts: missing, ..bare() })),
        ("message-corp", Entry::Message(of_corp())),
        ("replay-corp", again(Again::Messages(vec![bare(), of_corp()]))),
        ("action-confirm", action(ActionKind::Confirm, Some(place(PlaceKind::Private)))),
        ("action-reject", action(ActionKind::Reject, None)),
        ("action-custom", action(ActionKind::Custom("more".to_owned()), None)),
        ("control-stop", control(ControlKind::Stop, Some(origin))),
        ("control-new", control(ControlKind::New, None)),
        ("control-end", control(ControlKind::End, None)),
        ("replay", again(Again::Messages(vec![bare()]))),
        ("undecodable", Entry::Undecodable { bytes: vec![1, 255], why: "because".to_owned() }),
        ("gone", Entry::Gone),
        ("action-end", action(ActionKind::End, None)),
        ("query-status", query(QueryKind::Status)),
        ("query-help", query(QueryKind::Help)),
        ("replay-confirm", press(ActionKind::Confirm, None, Some("run-0#7"))),
        (
            "replay-custom",
            press(ActionKind::Custom("more".to_owned()), Some(place(PlaceKind::Private)), None),
        ),
    ]
}

fn turn(kind: TurnKind, phase: Phase) -> OpenTurn {
    OpenTurn {
        first: Seq(41),
        last: Seq(42),
        kind,
        asked: Some(asked()),
        accepted_at: AT,
        started_at: AT,
        attempt: 2,
        is_repeat: true,
        run: Some("run-1".to_owned()),
        phase,
        failed: FailedAttempts::default(),
    }
}

/// One attempt of each kind, with these values in it.
fn failed(detail: &str, at: Timestamp) -> FailedAttempts {
    let met = |tried, attempt, reason| {
        let detail = detail.into();
        FailedAttempt { tried, attempt, at, reason, detail }
    };
    [
        met(Tried::Ask, 1, Reason::RuntimeExhausted),
        met(Tried::Send { segment: 2 }, 3, Reason::ReplyPermanent),
    ]
    .into_iter()
    .collect()
}

fn asked() -> Asked {
    Asked { expert: expert(), epoch: Seq(5), is_new: true, expires_at: AT }
}

fn head(turn: Option<OpenTurn>) -> Head {
    let phase = turn.as_ref().map(|turn| &turn.phase);
    let is_parked = matches!(phase, Some(Phase::Parked { .. }));
    Head {
        position: Seq(40),
        session: Some(Session {
            epoch: Seq(5),
            expert: expert(),
            timeout: Duration::from_secs(3600),
            last_activity: AT,
        }),
        turn,
        interrupted: Some(Interrupted { turn: Seq(39), run: Some("run-0".to_owned()) }),
        told_unbound_at: Some(AT),
        is_told_away: is_parked,
        webhook_free_at: Some(AT),
    }
}

fn sending(not_before: Option<Timestamp>, asks: Asking) -> Phase {
    let answer = not_before.map(|_| Seq(9));
    let (segments, sent, attempt) = (3, 1, 2);
    Phase::Sending(Sending { answer, segments, sent, attempt, not_before, asks })
}

pub(super) fn records() -> Vec<(&'static str, Record)> {
    let parked = |why, until| Phase::Parked { why, until };
    let burying = Phase::Burying { reason: Reason::RuntimeTimeout, detail: "504".into() };
    let replay = TurnKind::Replay { dead: Seq(7) };
    let of = |step, kind, phase| (step, Some(turn(kind, phase)));
    let rows = [
        ("started", of(Step::Started, TurnKind::Messages, Phase::Running)),
        ("running", of(Step::Running, TurnKind::Action, Phase::Running)),
        ("waiting", of(Step::Waiting, TurnKind::Messages, Phase::Waiting { until: AT })),
        ("retry", of(Step::Retry, TurnKind::Messages, Phase::Retry { at: AT })),
        ("parked-missing", of(Step::Parked, replay, parked(Parked::Missing, Some(AT)))),
        ("parked-busy", of(Step::Parked, TurnKind::Messages, parked(Parked::Busy, None))),
        ("parked-paused", of(Step::Parked, TurnKind::Messages, parked(Parked::Paused, None))),
        ("answered", of(Step::Answered, TurnKind::Control, sending(None, Asking::Openly))),
        ("sending", of(Step::Sending, TurnKind::Messages, sending(Some(AT), Asking::Openly))),
        ("asked", of(Step::Sending, TurnKind::Messages, sending(Some(AT), Asking::InPrivate))),
        ("answering", of(Step::Sending, TurnKind::Messages, sending(Some(AT), Asking::Nothing))),
        ("burying", of(Step::Burying, TurnKind::Unreadable, burying)),
        ("delivered", (Step::Delivered, None)),
        ("stopped", (Step::Stopped, None)),
        ("lost", (Step::Lost, None)),
        ("dead", (Step::Dead, None)),
        ("noted", (Step::Noted, None)),
        ("merged", (Step::Merged, None)),
        ("steered", of(Step::Steered, TurnKind::Messages, Phase::Running)),
    ];
    let mut records: Vec<_> = rows
        .into_iter()
        .map(|(name, (step, turn))| {
            let interrupt = Interrupt { title: "Sure?".to_owned(), text: "Do it".to_owned() };
            let answer = (step == Step::Answered)
                .then(|| Answer { text: "你好".to_owned(), interrupt: Some(interrupt) });
            (name, Record { nonce: u64::MAX, count: 3, step, head: head(turn), answer })
        })
        .collect();
    let (step, head, answer) = (Step::Delivered, Head::default(), Some(Answer::default()));
    records.push(("empty", Record { nonce: 0, count: 0, step, head, answer }));
    // Where no turn waits, the time of the other word says by its sign that this one was said.
    for (name, told_unbound_at) in [("told-away", None), ("told-away-and-unbound", Some(AT))] {
        let head =
            Head { position: Seq(40), told_unbound_at, is_told_away: true, ..Head::default() };
        records.push((name, Record { nonce: 1, count: 1, step: Step::Dead, head, answer: None }));
    }
    // What was appended stands only where there is something of it.
    let mut met = turn(TurnKind::Messages, Phase::Retry { at: AT });
    met.failed = failed("500: 坏了", AT);
    let (step, head) = (Step::Retry, Head { turn: Some(met), ..Head::default() });
    records.push(("failed-attempts", Record { nonce: 1, count: 1, step, head, answer: None }));
    for reason in Reason::ALL {
        let phase = Phase::Burying { reason, detail: "".into() };
        let head = Head { turn: Some(turn(TurnKind::Messages, phase)), ..Head::default() };
        let record = Record { nonce: 1, count: 1, step: Step::Burying, head, answer: None };
        records.push((reason.as_str(), record));
    }
    records
}

/// A record with these values in it.
pub(super) fn record(number: u64, at: i64, optional: Option<String>, text: &str) -> Record {
    let mut turn = turn(TurnKind::Messages, Phase::Retry { at: Timestamp(at) });
    turn.run = optional;
    turn.last = Seq(number);
    turn.failed = failed(text, Timestamp(at));
    let answer = Some(Answer { text: text.to_owned(), interrupt: None });
    Record { nonce: number, count: 1, step: Step::Retry, head: head(Some(turn)), answer }
}

pub(super) fn tokens() -> Vec<(&'static str, Token)> {
    let window = Duration::from_millis(2500);
    let token = |kind, refusals| Token { seq: Seq(1_700_000_000_000_123), kind, window, refusals };
    vec![("window", token(TimerKind::Window, 0)), ("now", token(TimerKind::Now, 300))]
}

pub(super) fn slots() -> Vec<(&'static str, Slot)> {
    let to = Seq(1_700_000_000_000_123);
    vec![
        ("window", Slot { to, window: Duration::from_secs(5) }),
        ("at-once", Slot { to, window: Duration::ZERO }),
    ]
}

pub(super) fn waiting() -> Vec<(&'static str, Seq)> {
    vec![("turn", Seq(1_700_000_000_000_123))]
}

pub(super) fn letters() -> Vec<(&'static str, DeadLetter)> {
    let letter = |asked, entries| DeadLetter {
        turn: turn_id(),
        reason: Reason::RuntimeExhausted,
        detail: "500".into(),
        attempts: 8,
        failed: FailedAttempts::default(),
        asked,
        entries,
    };
    let entry = Entry::Message(bare());
    let met = DeadLetter { failed: failed("500: 坏了", AT), ..letter(None, vec![]) };
    vec![
        ("full", letter(Some(asked()), vec![Logged { seq: Seq(42), at: AT, trace: None, entry }])),
        ("failed-attempts", met),
        ("bare", letter(None, vec![])),
    ]
}
