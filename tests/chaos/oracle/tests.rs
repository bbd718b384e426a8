//! What the oracle finds in histories that were made wrong, one way each.

use dingtalk_trigger::domain::id::{ConversationKey, IntegrationId};
use dingtalk_trigger::domain::time::Timestamp;
use dingtalk_trigger::domain::turn::{Head, OpenTurn, Phase, Sending, TurnKind};
use dingtalk_trigger::protocol::record::Record;

use super::*;
use crate::scribe::{Logged, Noted};

const CONVERSATION: usize = 7;

fn conversation() -> Conversation {
    let integration = IntegrationId::parse("robot").unwrap();
    Conversation { integration, key: ConversationKey::parse(&"a".repeat(26)).unwrap() }
}

/// Three messages of one conversation: accepted, logged, each a turn that was delivered and read once.
struct Story {
    people: People,
    written: Written,
}

impl Story {
    fn good() -> Self {
        let mut story = Self { people: People::default(), written: Written::default() };
        for number in 1..=3 {
            story.tell(number);
        }
        story
    }

    fn tell(&mut self, number: usize) {
        let (id, seq) = (format!("msg{number}"), u64::try_from(number).unwrap());
        let message = Message {
            robot: "robot".to_owned(),
            mark: Some((CONVERSATION, number)),
            said: seq,
            accepted: Some(1000),
            pushes: vec![0],
            ..Message::default()
        };
        self.people.messages.insert(("robot".to_owned(), id.clone()), message);
        self.people.answers.push(Answer {
            marks: vec![(CONVERSATION, number)],
            text: format!("answer {number}"),
            came: vec![2000],
        });
        let (conversation, seq) = (conversation(), Seq(seq));
        self.written.log.push(Logged { seq, conversation, msg_id: Some(id) });
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
                has_interrupt: false,
            }),
        });
        let position = if is_end { seq } else { Seq(seq.0 - 1) };
        let head = Head { position, turn, ..Head::default() };
        let record = Record { nonce, count: 1, step, head, answer: None };
        let (at, conversation) = (Timestamp(3000), conversation());
        let seq = Seq(u64::try_from(self.written.journal.len()).unwrap() + 1);
        self.written.journal.push(Noted { seq, at, conversation, record });
    }

    fn judge(&self) -> Verdict {
        judge(&self.people, &self.written)
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

#[test]
fn the_oracle_finds_what_is_wrong_and_nothing_else() {
    type Spoil = fn(&mut Story);
    let cases: [(&str, Spoil, [usize; 5]); 9] = [
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
        ("answered in another order", |story| story.people.answers.swap(0, 1), [0, 0, 0, 1, 0]),
        (
            "dead without a letter",
            |story| {
                story.written.journal.pop();
                story.note(Step::Dead, Seq(3), 1);
            },
            [0, 0, 0, 0, 1],
        ),
    ];
    for (what, spoil, expected) in cases {
        let mut story = Story::good();
        spoil(&mut story);
        let verdict = story.judge();
        assert_eq!(counts(&verdict), expected, "{what}: {:?} {:?}", verdict.lost, verdict.broken);
    }
}
