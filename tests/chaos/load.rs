//! What people say while everything breaks: steady talk in many conversations, bursts, long texts,
//! questions that the expert refuses, and now and then a word to stop.
//!
//! Every message that is to be answered carries a mark of its own, and a long one carries it in each line
//! with the line's number, so that any part of an answer tells what it answers and what is missing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use dingtalk_trigger::sim::dingtalk::Sim;
use dingtalk_trigger::sim::dingtalk::message::Say;
use serde_json::json;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::support::rng::Rng;

/// How a robot is reached, and what answers there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Robot {
    pub(crate) name: &'static str,
    pub(crate) expert: &'static str,
    pub(crate) is_stream: bool,
    pub(crate) is_xpert: bool,
    pub(crate) window_s: u64,
}

pub(crate) const ROBOTS: [Robot; 4] = [
    Robot { name: "http-each", expert: "one", is_stream: false, is_xpert: false, window_s: 0 },
    Robot { name: "http-merged", expert: "two", is_stream: false, is_xpert: true, window_s: 2 },
    Robot { name: "stream-each", expert: "three", is_stream: true, is_xpert: true, window_s: 0 },
    Robot { name: "stream-merged", expert: "four", is_stream: true, is_xpert: false, window_s: 2 },
];

pub(crate) const CONVERSATIONS: usize = 160;
const PER_SECOND: u64 = 20;
const TICK: Duration = Duration::from_millis(50);
/// Messages at once; each burst comes after a random time up to its limit.
const BURSTS: [Burst; 2] =
    [Burst { messages: 200, within_ms: 40_000 }, Burst { messages: 1000, within_ms: 100_000 }];
const LONG_LINES: usize = 1000;
/// Stands before the number of a line.
const LINE: &str = "line";
/// What an expert refuses for good when a turn begins with it.
pub(crate) const REFUSE: &str = "refuse";

/// `c` conversation `n` number.
pub(crate) fn mark(conversation: usize, number: usize) -> String {
    format!("c{conversation:03}n{number:04}")
}

/// Conversation and number.
pub(crate) type Mark = (usize, usize);

/// What can be told from all else in a text: a mark, in a long text with the number of its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Part {
    pub(crate) mark: Mark,
    pub(crate) line: Option<usize>,
}

/// The parts of a text, in order.
pub(crate) fn parts_in(text: &str) -> Vec<Part> {
    let mut found: Vec<Part> = vec![];
    let mut before = "";
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        if let Some(mark) = mark_of(word) {
            found.push(Part { mark, line: None });
        } else if before == LINE
            && let Some(part) = found.last_mut()
        {
            part.line = word.parse().ok();
        }
        before = word;
    }
    found
}

fn mark_of(word: &str) -> Option<Mark> {
    let (conversation, number) = word.strip_prefix('c')?.split_once('n')?;
    let is_mark = (conversation.len(), number.len()) == (3, 4);
    is_mark.then_some((conversation.parse().ok()?, number.parse().ok()?))
}

struct Burst {
    messages: usize,
    within_ms: u64,
}

pub(crate) struct Load {
    cloud: Sim,
    rng: Rng,
    numbers: BTreeMap<usize, usize>,
}

impl Load {
    pub(crate) fn new(cloud: &Sim, seed: u64) -> Self {
        Self { cloud: cloud.clone(), rng: Rng(seed), numbers: BTreeMap::new() }
    }

    /// Until it is told to end.
    pub(crate) async fn run(mut self, end: CancellationToken) {
        let mut next = Instant::now();
        let mut wait = |burst: &Burst| Duration::from_millis(self.rng.below(burst.within_ms));
        let mut bursts = BURSTS.each_ref().map(|burst| next + wait(burst));
        while !end.is_cancelled() {
            // On average as many as fit into a tick; none or several at once.
            let mut count = 0;
            while self.rng.below(1000 + PER_SECOND * 50) < PER_SECOND * 50 {
                count += 1;
            }
            for (burst, at) in BURSTS.iter().zip(&mut bursts) {
                if Instant::now() >= *at {
                    count += burst.messages;
                    *at = Instant::now() + Duration::from_millis(self.rng.below(burst.within_ms));
                }
            }
            for _ in 0..count {
                self.say();
            }
            next += TICK;
            sleep_until(next).await;
        }
    }

    fn say(&mut self) {
        let conversations = u64::try_from(CONVERSATIONS).expect("a small number");
        let conversation = usize::try_from(self.rng.below(conversations)).expect("a small number");
        let robot = ROBOTS[conversation % ROBOTS.len()];
        let number = self.numbers.entry(conversation).or_default();
        *number += 1;
        let mark = mark(conversation, *number);
        let text = match self.rng.below(200) {
            0 => "/stop".to_owned(),
            1 if !robot.is_xpert => format!("{REFUSE} {mark}"),
            2 | 3 => long(&mark),
            _ => mark,
        };
        let person = format!("person{conversation}");
        let mut say = match conversation / ROBOTS.len() % 2 {
            0 => Say::direct(robot.name, &person, &text),
            // Several people share a group, and each has a conversation of their own there.
            _ => {
                let group = format!("cid-group-{}-{}", robot.name, conversation / 32);
                Say::group(robot.name, &group, &person, &text)
            }
        };
        // An expired session webhook: the answer takes the robot's API.
        if self.rng.once_in(4) {
            say.extra.insert("sessionWebhookExpiredTime".to_owned(), json!(1));
        }
        self.cloud.say(say).expect("the robot exists");
    }
}

/// More than one message of an answer can hold.
fn long(mark: &str) -> String {
    let mut text = String::new();
    for line in 0..LONG_LINES {
        writeln!(text, "{mark} {LINE} {line:04}").expect("a string takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_wherever_they_stand() {
        let (one, other) = (mark(3, 7), mark(3, 8));
        let part = |number, line| Part { mark: (3, number), line };
        let lines = |number| (0..LONG_LINES).map(move |line| part(number, Some(line)));
        for (text, found) in [
            (one.clone(), vec![part(7, None)]),
            (format!("You said: {one}\n{other}"), vec![part(7, None), part(8, None)]),
            (format!("@person3 You said: {REFUSE} {one}"), vec![part(7, None)]),
            (long(&one), lines(7).collect()),
            (format!("(1/2)\n\n{other}\n{}", long(&one)), {
                [part(8, None)].into_iter().chain(lines(7)).collect()
            }),
            ("/stop cannot n c c1n2 line 3".to_owned(), vec![]),
        ] {
            assert_eq!(parts_in(&text), found);
        }
    }
}
