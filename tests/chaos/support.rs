//! What this test shares with the integration tests: servers, the service's processes, what stands around
//! them, and waiting for a condition.

#[expect(dead_code, reason = "tests/it uses the rest")]
#[path = "../it/support/cluster.rs"]
pub(crate) mod cluster;
#[expect(dead_code, reason = "tests/it uses the rest")]
#[path = "../it/support/env.rs"]
pub(crate) mod env;
#[expect(dead_code, reason = "tests/it uses the rest")]
#[path = "../it/support/logs.rs"]
pub(crate) mod logs;
#[expect(dead_code, reason = "tests/it uses the rest")]
#[path = "../it/support/nats.rs"]
pub(crate) mod nats;
#[expect(dead_code, reason = "tests/it uses the rest")]
#[path = "../it/support/outside.rs"]
pub(crate) mod outside;
#[expect(dead_code, reason = "tests/it uses the rest")]
#[path = "../it/support/program.rs"]
pub(crate) mod program;
#[expect(dead_code, reason = "tests/sim uses the rest")]
#[path = "../sim/rng.rs"]
pub(crate) mod rng;
#[path = "../it/support/server.rs"]
pub(crate) mod server;
#[expect(dead_code, reason = "tests/it uses the rest")]
#[path = "../it/support/service.rs"]
pub(crate) mod service;
#[path = "../it/support/wait.rs"]
pub(crate) mod wait;
