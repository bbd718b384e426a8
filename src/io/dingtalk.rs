//! DingTalk as we speak to it: tokens, sends, files. What it says to us is the edge's.
//!
//! Calls carry a current token, and sends go through the governor. What an answer means for a turn is
//! decided by whoever called.

pub mod card;
pub mod failure;
pub mod media;
pub mod send;
pub mod token;
