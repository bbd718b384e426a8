//! Parses the command, starts the role, maps the outcome to an exit code.
//!
//! Everything that can be tested is in the library; what a command does is in `commands`.

use std::process::ExitCode;

use dingtalk_trigger::commands;
use dingtalk_trigger::config;

#[tokio::main]
async fn main() -> ExitCode {
    commands::main(config::variable).await
}
