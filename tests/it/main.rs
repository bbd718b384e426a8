//! The one integration-test binary: real nats-server, real SQLite and PostgreSQL, and fakes over
//! sockets for what is not ours.
//!
//! `ops/dev test` provides the servers and runs it. What several tests need is in `support`.

mod support;
mod tidy;
mod readme;
mod wire;
mod fuzz;
mod linear;
mod harness;
mod child;
mod store;
mod stream;
mod console;
mod official;
mod edge;
mod up;
mod browser;
mod runtime;
mod callback;
mod webhook;
mod xpert;
mod send;
mod roles;
mod upgrade;
mod tls;
mod listener;
mod hostile;
mod media;
mod broker;
mod drift;
mod conversation;
mod cli;
mod operator;
mod field;
