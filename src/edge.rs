//! The edge: takes what DingTalk sends and makes it durable before it says so.

pub mod owner;
pub mod stream;
