//! The operator's side: what `up` keeps on its machine, and the commands that act on a running service.
//!
//! A command is one request to the admin API and one answer in words; nothing here touches the streams
//! behind a running service's back.

pub mod data;
pub mod keys;
pub mod child;
pub mod client;
pub mod doctor;
pub mod shown;
