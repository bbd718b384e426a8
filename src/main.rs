//! Parses the command, starts the role, maps the outcome to an exit code.

use std::process::ExitCode;

use dingtalk_trigger::commands;
use dingtalk_trigger::config;
use mimalloc::MiMalloc;

/// Every message is many small allocations; see `bench accept`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    commands::main(config::variable).await
}
