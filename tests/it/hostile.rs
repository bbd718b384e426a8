//! The short form of `ops/dev hostile`: under each attack the legitimate sender is answered, and what strangers hold
//! is bounded. Times are not asserted: the machine may be busy.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::env;

/// A quarter of the files that the script leaves to `up`, and what is being closed.
const HELD_MAX: u64 = 260;
const RSS_MAX_MIB: u64 = 400;
const ATTACKS: usize = 13;

#[test]
fn a_legitimate_sender_is_answered_beside_hostile_ones() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/hostile.py");
    let run = Command::new("python3")
        .arg(script)
        .arg(env!("CARGO_BIN_EXE_dingtalk-trigger"))
        .args(["--seconds", "2.5", "--json"])
        .env("DT_NATS_SERVER", env::nats_server())
        .output()
        .expect("Python runs");
    let complaint = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{complaint}");
    let table: Value = serde_json::from_slice(&run.stdout).expect("a table");
    let rows = table["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), ATTACKS);
    for row in rows {
        let codes = row["codes"].as_object().expect("codes");
        let is_answered = codes.keys().all(|code| code == "200" || code == "503");
        assert!(is_answered && codes.contains_key("200"), "{row}");
        assert!(row["held"].as_u64().is_some_and(|held| held <= HELD_MAX), "{row}");
        assert!(row["rss_mib"].as_u64().is_some_and(|rss| rss <= RSS_MAX_MIB), "{row}");
    }
}
