//! Everything that reads foreign text takes time in proportion to its length: an expert, a person or DingTalk
//! may send a megabyte of one or two characters, and a square of that holds a processor for minutes.
//!
//! Each reader is given 256 KiB and 1 MiB of the same repeated unit. Four times the text may take at most
//! eight times as long, in processor time and by the best of several runs. A new reader of foreign text is listed in `readers`.

mod readers;

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

const SHORT_BYTES: usize = 256 * 1024;
const LONG_BYTES: usize = 1024 * 1024;
const RATIO_MAX: f64 = 8.0;
/// A noisy machine gets so many looks before a ratio counts.
const LOOKS_MAX: u32 = 6;
/// A square of a megabyte never fits in this, even one of comparisons alone.
const CERTAIN: Duration = Duration::from_millis(60);

/// What has been slow, what nests, and what markup, addresses and JSON are made of.
const UNITS: [&str; 22] = [
    "a", " ", "\n", "!", "`", "*", "|", "\"", "[", "{", "你", "a:", "a\n", "`\n", "*a", "|-", "> ",
    "![", "](", "@r", "bearer.", "token=a,",
];

type Read = fn(&str);

fn check(readers: &[(&str, Read)]) {
    let mut slow = Vec::new();
    for (name, read) in readers {
        for unit in UNITS {
            if let Some(ratio) = ratio_over(*read, unit) {
                slow.push(format!("{name} of {unit:?}: {ratio:.1} times as long"));
            }
        }
    }
    assert!(slow.is_empty(), "four times the text may take {RATIO_MAX} times as long: {slow:#?}");
}

/// `None`: the time grows with the length.
fn ratio_over(read: Read, unit: &str) -> Option<f64> {
    let (short, long) = (repeated(unit, SHORT_BYTES), repeated(unit, LONG_BYTES));
    let (mut of_short, mut of_long) = (Duration::MAX, Duration::MAX);
    let mut ratio = f64::MAX;
    for _ in 0..LOOKS_MAX {
        of_long = of_long.min(time(read, &long));
        if of_long < CERTAIN {
            return None;
        }
        of_short = of_short.min(time(read, &short));
        ratio = of_long.as_secs_f64() / of_short.as_secs_f64();
        if ratio <= RATIO_MAX {
            return None;
        }
    }
    Some(ratio)
}

fn repeated(unit: &str, bytes: usize) -> String {
    unit.repeat(bytes / unit.len())
}

fn time(read: Read, text: &str) -> Duration {
    let start = processor_time();
    read(black_box(text));
    processor_time().saturating_sub(start)
}

/// Of this thread: what other threads of a busy machine take does not count.
fn processor_time() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(spent).expect("a thread's time is never negative")
}

#[test]
fn what_is_shown_of_a_refusal_is_read_once() {
    check(&readers::SHOWN);
}

#[test]
fn an_answer_is_read_once() {
    check(&readers::ANSWERS);
}

#[test]
fn a_runtime_is_read_once() {
    check(&readers::RUNTIMES);
}

#[test]
fn what_dingtalk_sends_is_read_once() {
    check(&readers::CALLBACKS);
}

#[test]
fn a_square_is_noticed() {
    let square: Read = |text| {
        let head: Vec<u8> = text.bytes().step_by(256).collect();
        let sums = head.iter().map(|byte| head.iter().filter(|other| *other == byte).count());
        black_box(sums.sum::<usize>());
    };
    assert!(ratio_over(square, "a").is_some_and(|ratio| ratio > 10.0));
}
