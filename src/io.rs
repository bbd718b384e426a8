//! Effects: the only users of NATS, SQL and the HTTP client. No business decisions.
//!
//! Each file owns one stream, table or remote API and its errors; what an error means for a message is
//! decided by the role that called.

// the broker
pub mod admin;
pub mod nats;
pub mod header;
pub mod topology;
pub mod log;
pub mod asker;
pub mod timer;
pub mod slot;
pub mod settled;
pub mod journal;
pub mod handoff;
pub mod dead;
pub mod tick;
pub mod state;
pub mod live;
pub mod presence;
pub mod lease;
pub mod mark;
pub mod governor;
// the database
pub mod store;
pub mod seal;
pub mod routing;
// the outside
pub mod egress;
pub mod dingtalk;
pub mod probe;
pub mod gateway;
pub mod runtime;
// those who look on
pub mod otlp;
