//! What the oracle finds in histories that were made wrong, one way each.

use dingtalk_trigger::domain::entry;
use dingtalk_trigger::domain::id::{ConversationKey, IntegrationId, MsgId, TurnId};
use dingtalk_trigger::domain::inbound;
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::domain::turn::failed::{FailedAttempt, FailedAttempts, Tried};
use dingtalk_trigger::domain::turn::question::Asking;
use dingtalk_trigger::domain::turn::{Head, OpenTurn, Phase, Sending, TurnKind};
use dingtalk_trigger::protocol::record::Record;

use super::*;
use crate::people::Answer;
use crate::scribe::{Logged, Noted};

const CONVERSATION: usize = 7;
const PLACE: &str = "cid";

fn conversation() -> Conversation {
    let integration = IntegrationId::parse("robot").unwrap();
    Conversation { integration, key: ConversationKey::parse(&"a".repeat(26)).unwrap() }
}

/// Three messages of one conversation: accepted, logged, each a turn that was delivered and read once.
struct Story {
    people: People,
    written: Written,
    left: Vec<String>,
}

fn part(number: usize) -> Part {
    Part { mark: (CONVERSATION, number), line: None }
}

fn lines(number: usize, lines: std::ops::Range<usize>) -> Vec<Part> {
    lines.map(|line| Part { line: Some(line), ..part(number) }).collect()
}

fn answer(parts: Vec<Part>) -> Answer {
    Answer { place: PLACE.to_owned(), parts, came: vec![2000] }
}

fn at(seq: u64) -> usize {
    usize::try_from(seq).unwrap() - 1
}

impl Story {
    fn good() -> Self {
        let (people, written) = (People::default(), Written::default());
        let mut story = Self { people, written, left: vec![] };
        for number in 1..=3 {
            story.tell(number);
        }
        story
    }

    fn tell(&mut self, number: usize) {
        let (id, seq) = (format!("msg{number}"), u64::try_from(number).unwrap());
        let message = Message {
            robot: "robot".to_owned(),
            place: PLACE.to_owned(),
            mark: Some((CONVERSATION, number)),
            parts: vec![part(number)],
            said: seq,
            accepted: Some(1000),
            pushes: vec![0],
            ..Message::default()
        };
        self.people.messages.insert(("robot".to_owned(), id.clone()), message);
        self.people.answers.push(answer(vec![part(number)]));
        let (conversation, seq, at) = (conversation(), Seq(seq), Timestamp(1000));
        let (kind, msg_id) = (EntryKind::Message, Some(id));
        self.written.log.push(Logged { seq, at, conversation, kind, msg_id });
        self.note(Step::Answered, seq, 1);
        self.note(Step::Delivered, seq, 1);
    }

    /// A record of the turn that is the entry at `seq`, by the run `nonce`.
    fn note(&mut self, step: Step, seq: Seq, nonce: u64) {
        let is_end = matches!(step, Step::Delivered | Step::Dead | Step::Stopped);
        let turn = (!is_end).then_some(OpenTurn {
            first: seq,
            last: seq,
            kind: TurnKind::Messages,
            asked: None,
            accepted_at: Timestamp(1000),
            started_at: Timestamp(1000),
            attempt: 1,
            is_repeat: false,
            run: None,
            phase: Phase::Sending(Sending {
                answer: None,
                segments: 1,
                sent: 0,
                attempt: 1,
                not_before: None,
                asks: Asking::Nothing,
            }),
            failed: FailedAttempts::default(),
        });
        let position = if is_end { seq } else { Seq(seq.0 - 1) };
        let head = Head { position, turn, ..Head::default() };
        let record = Record { nonce, count: 1, step, head, answer: None };
        let (at, conversation) = (Timestamp(3000), conversation());
        let seq = Seq(u64::try_from(self.written.journal.len()).unwrap() + 1);
        self.written.journal.push(Noted { seq, at, conversation, record });
    }

    /// The last answer was said again after this failure, by the same run, and read twice.
    fn repeat(&mut self, detail: &str) {
        self.people.answers[2].came.push(2001);
        self.written.journal.pop();
        self.note(Step::Retry, Seq(3), 1);
        let again = self.written.journal.last_mut().unwrap().record.head.turn.as_mut().unwrap();
        let Phase::Sending(sending) = &mut again.phase else { unreachable!("it is said") };
        sending.attempt = 2;
        let (tried, attempt, at) = (Tried::Send { segment: 1 }, 1, Timestamp(3000));
        let (reason, detail) = (Reason::ReplyExhausted, detail.into());
        again.failed.note(FailedAttempt { tried, attempt, at, reason, detail });
        self.note(Step::Delivered, Seq(3), 1);
    }

    /// The last message is long: four lines, and answered in two messages.
    fn last_is_long(&mut self) {
        self.message(3).parts = lines(3, 0..4);
        self.people.answers.pop();
        self.people.answers.extend([answer(lines(3, 0..2)), answer(lines(3, 2..4))]);
    }

    /// The message at `seq` was a word to stop.
    fn say_stop(&mut self, seq: u64) {
        let message = self.message(seq);
        (message.mark, message.parts) = (None, vec![]);
        let logged = &mut self.written.log[at(seq)];
        (logged.kind, logged.msg_id) = (EntryKind::Control, None);
        self.people.answers.remove(at(seq));
    }

    /// The turn at `seq` was not answered.
    fn end(&mut self, seq: u64, step: Step) {
        self.written.journal[at(seq) * 2 + 1].record.step = step;
        let mark = (CONVERSATION, at(seq) + 1);
        self.people.answers.retain(|answer| answer.marks() != [mark]);
    }

    /// The last turn is dead, and was this text.
    fn bury(&mut self, reason: Reason, text: &str) {
        self.end(3, Step::Dead);
        let person = inbound::Sender {
            id: String::new(),
            staff_id: None,
            name: String::new(),
            corp_id: None,
        };
        let kind = inbound::PlaceKind::Private;
        let message = inbound::Message {
            msg_id: MsgId::parse("msg3").unwrap(),
            place: inbound::Place { id: PLACE.to_owned(), kind, title: None },
            sender: person,
            robot_code: None,
            created_at: None,
            kind: "text".to_owned(),
            parts: vec![inbound::Part::Text(text.to_owned())],
            quote: None,
            webhook: None,
        };
        let (seq, at, entry) = (Seq(3), Timestamp(1000), Entry::Message(message));
        self.written.dead.push(DeadLetter {
            turn: TurnId { conversation: conversation(), last: seq },
            reason,
            detail: "refused".into(),
            attempts: 1,
            failed: FailedAttempts::default(),
            asked: None,
            entries: vec![entry::Logged { seq, at, trace: None, entry }],
        });
    }

    fn message(&mut self, seq: u64) -> &mut Message {
        let id = ("robot".to_owned(), format!("msg{seq}"));
        self.people.messages.get_mut(&id).unwrap()
    }

    fn judge(&self) -> Verdict {
        judge(&self.people, &self.written, &self.left)
    }
}

/// Lost, doubled, ambiguous, reordered, broken.
fn counts(verdict: &Verdict) -> [usize; 5] {
    [
        verdict.lost.len(),
        verdict.doubled.len(),
        verdict.ambiguous.len(),
        verdict.reordered.len(),
        verdict.broken.len(),
    ]
}

type Case = (&'static str, fn(&mut Story), [usize; 5]);

fn check(cases: &[Case]) {
    for (what, spoil, expected) in cases {
        let mut story = Story::good();
        spoil(&mut story);
        let verdict = story.judge();
        assert_eq!(&counts(&verdict), expected, "{what}: {:?} {:?}", verdict.lost, verdict.broken);
    }
}

#[test]
fn the_oracle_finds_what_is_wrong_and_nothing_else() {
    check(&[
        ("all is well", |_| {}, [0, 0, 0, 0, 0]),
        ("nobody read it", |story| drop(story.people.answers.remove(1)), [1, 0, 0, 0, 0]),
        ("it is not in the log", |story| drop(story.written.log.pop()), [1, 0, 0, 0, 2]),
        ("its turn did not end", |story| drop(story.written.journal.pop()), [1, 0, 0, 0, 1]),
        (
            "a turn skips an entry",
            |story| {
                story.written.journal.drain(2..4);
                story.written.journal[2].record.head.position = Seq(1);
            },
            [0, 0, 0, 0, 1],
        ),
        ("read twice", |story| story.people.answers[1].came.push(2001), [0, 1, 0, 0, 0]),
        (
            "read twice, taken over from a run that ended",
            |story| {
                story.people.answers[2].came.push(2001);
                story.written.journal.pop();
                story.note(Step::Sending, Seq(3), 2);
                story.note(Step::Delivered, Seq(3), 2);
            },
            [0, 0, 1, 0, 0],
        ),
        (
            "read twice, after no answer",
            |story| story.repeat("DingTalk did not answer: reset"),
            [0, 0, 1, 0, 0],
        ),
        ("read twice, after an error", |story| story.repeat("500: {}"), [0, 0, 1, 0, 0]),
        ("read twice, after a refusal", |story| story.repeat("403: QpsLimit"), [0, 1, 0, 0, 0]),
        ("answered in another order", |story| story.people.answers.swap(0, 1), [0, 0, 0, 1, 0]),
        (
            "dead without a letter",
            |story| {
                story.written.journal.pop();
                story.note(Step::Dead, Seq(3), 1);
            },
            [0, 0, 0, 0, 1],
        ),
        ("left over", |story| story.left.push("a message".to_owned()), [0, 0, 0, 0, 1]),
    ]);
}

#[test]
fn an_answer_is_whole_once_in_order_and_with_whom_it_is_for() {
    check(&[
        ("a long one", Story::last_is_long, [0, 0, 0, 0, 0]),
        (
            "its second message was not sent",
            |story| {
                story.last_is_long();
                story.people.answers.pop();
            },
            [1, 0, 0, 0, 0],
        ),
        (
            "a line is missing in it",
            |story| {
                story.last_is_long();
                story.people.answers[2].parts.remove(1);
            },
            [1, 0, 0, 0, 0],
        ),
        (
            "its messages came in another order",
            |story| {
                story.last_is_long();
                story.people.answers.swap(2, 3);
            },
            [0, 0, 0, 2, 0],
        ),
        (
            "its lines are in another order",
            |story| {
                story.last_is_long();
                story.people.answers[2].parts.swap(0, 1);
            },
            [0, 0, 0, 1, 0],
        ),
        (
            "both its messages read twice, and one taken over",
            |story| {
                story.last_is_long();
                story.people.answers[2].came.push(2001);
                story.people.answers[3].came.push(2002);
                story.written.journal.pop();
                story.note(Step::Sending, Seq(3), 2);
                story.note(Step::Delivered, Seq(3), 2);
            },
            [0, 1, 1, 0, 0],
        ),
        (
            "answered again together with the next",
            |story| story.people.answers[2].parts.insert(0, part(2)),
            [0, 1, 0, 0, 0],
        ),
        (
            "somebody else read it",
            |story| story.people.answers[1].place = "elsewhere".to_owned(),
            [1, 0, 0, 0, 1],
        ),
    ]);
}

#[test]
fn what_was_not_answered_was_stopped_by_a_word_or_refused_on_request() {
    check(&[
        (
            "stopped by the word behind it",
            |story| {
                story.say_stop(2);
                story.end(1, Step::Stopped);
            },
            [0, 0, 0, 0, 0],
        ),
        (
            "stopped before the word was there",
            |story| {
                story.say_stop(2);
                story.end(1, Step::Stopped);
                story.written.log[1].at = Timestamp(3001);
            },
            [0, 0, 0, 0, 1],
        ),
        (
            "stopped, with a word before it",
            |story| {
                story.say_stop(2);
                story.end(3, Step::Stopped);
            },
            [0, 0, 0, 0, 1],
        ),
        ("stopped by nobody", |story| story.end(1, Step::Stopped), [0, 0, 0, 0, 1]),
        (
            "refused on request",
            |story| story.bury(Reason::RuntimePermanent, "refuse it"),
            [0, 0, 0, 0, 0],
        ),
        (
            "refused for nothing",
            |story| story.bury(Reason::RuntimePermanent, "answer it"),
            [0, 0, 0, 0, 1],
        ),
        (
            "asked to be refused, and buried for another reason",
            |story| story.bury(Reason::ReplyExhausted, "refuse it"),
            [0, 0, 0, 0, 1],
        ),
    ]);
}

#[test]
fn a_recovery_is_measured_without_what_waited_out_the_schedule_of_a_refused_turn() {
    let mut story = Story::good();
    let asked = &mut story.written.journal[2].record.head.turn;
    asked.as_mut().unwrap().attempt = ATTEMPTS_SOON + 1;
    let verdict = story.judge();
    assert_eq!((verdict.worn, verdict.spans.len()), (2, 1), "the second, and the third behind it");
    // Somebody who wrote when it was over waited for nothing.
    story.message(3).accepted = Some(3000);
    assert_eq!(story.judge().spans, [(1000, 3000), (3000, 3000)]);
}
