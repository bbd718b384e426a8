//! DingTalk as we speak to it: tokens, sends, files. What it says to us is the edge's.

pub mod card;
pub mod media;
pub mod send;
pub mod token;
