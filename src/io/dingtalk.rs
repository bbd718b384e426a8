//! DingTalk as we speak to it: tokens and sends. What it says to us is the edge's.

pub mod send;
pub mod token;
