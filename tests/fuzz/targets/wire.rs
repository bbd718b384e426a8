//! Fuzzes records of our own streams: see `../wire.rs`.
//!
//! Only hands the bytes on; what must hold stands with the properties, which the integration tests
//! run over the corpus as well.
#![no_main]

#[path = "../properties.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::check("wire", data));
