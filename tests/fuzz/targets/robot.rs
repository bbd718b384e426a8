//! Fuzzes robot messages, card presses and events: see `../robot.rs`.
//!
//! Only hands the bytes on; what must hold stands with the properties, which the integration tests
//! run over the corpus as well.
#![no_main]

#[path = "../properties.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::check("robot", data));
