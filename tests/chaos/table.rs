//! The table of a run: each fault, how often it struck, and what it cost.
//!
//! A finding belongs to the fault that struck last before it. *Recovery* is the longest time between the end
//! of such a fault and the end of the last turn of what had been accepted by then, while the other
//! lanes went on.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::faults::{Struck, seconds};
use crate::oracle::{Finding, Verdict};

#[derive(Default)]
struct Row {
    times: usize,
    broken: i64,
    lost: usize,
    ambiguous: usize,
    doubled: usize,
    reordered: usize,
    recovery: i64,
}

/// The longest recovery, in milliseconds.
pub(crate) fn slowest(struck: &[Struck], verdict: &Verdict) -> i64 {
    struck.iter().map(|fault| recovery(fault, verdict)).max().unwrap_or(0)
}

pub(crate) fn table(struck: &[Struck], verdict: &Verdict) -> String {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for fault in struck {
        let row = rows.entry(fault.name).or_default();
        row.times += 1;
        row.broken = row.broken.max(fault.ended - fault.began);
        row.recovery = row.recovery.max(recovery(fault, verdict));
    }
    let mut attribute = |findings: &[Finding], add: fn(&mut Row)| {
        for finding in findings {
            let before = struck.iter().filter(|fault| fault.began <= finding.at);
            let name = before.max_by_key(|fault| fault.began).map_or("none", |fault| fault.name);
            add(rows.entry(name).or_default());
        }
    };
    attribute(&verdict.lost, |row| row.lost += 1);
    attribute(&verdict.ambiguous, |row| row.ambiguous += 1);
    attribute(&verdict.doubled, |row| row.doubled += 1);
    attribute(&verdict.reordered, |row| row.reordered += 1);
    let mut text = String::new();
    line(
        &mut text,
        "fault",
        ["times", "lasted s", "lost", "doubled", "ambiguous", "reordered", "recovery s"],
    );
    for (name, row) in &rows {
        let values = [
            row.times.to_string(),
            format!("{:.1}", seconds(row.broken)),
            row.lost.to_string(),
            row.doubled.to_string(),
            row.ambiguous.to_string(),
            row.reordered.to_string(),
            format!("{:.1}", seconds(row.recovery)),
        ];
        line(&mut text, name, values.each_ref().map(String::as_str));
    }
    text
}

fn line(text: &mut String, name: &str, values: [&str; 7]) {
    write!(text, "{name:<36}").expect("a string takes everything");
    for value in values {
        write!(text, "{value:>11}").expect("a string takes everything");
    }
    text.push('\n');
}

fn recovery(fault: &Struck, verdict: &Verdict) -> i64 {
    let by_then = verdict.spans.iter().filter(|(accepted, _)| *accepted <= fault.ended);
    by_then.map(|(_, ended)| ended - fault.ended).max().unwrap_or(0).max(0)
}
