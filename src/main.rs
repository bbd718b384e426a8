//! Parses the command, starts the role, maps the outcome to an exit code.
//!
//! Everything that can be tested is in the library; what a command does is in `commands`.

use std::process::ExitCode;

use dingtalk_trigger::commands;
use dingtalk_trigger::config;

/// A message is many small pieces that live for a moment: this one hands them out at half the price.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    commands::main(config::variable).await
}
