//! The whole service through its own binary: `up` with its broker and its database, DingTalk and the
//! experts played around it.

mod roads;
mod files;
mod windows;
mod trace;
mod spans;
mod waiting;
mod burst;
mod reasons;
mod attempts;
mod controls;
mod sending;
mod life;
mod crash;
mod resumed;
mod forgetful;
mod operator;
mod strangers;
mod demo;
mod simulator;
mod watching;
mod silent;
