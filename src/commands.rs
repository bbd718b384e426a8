//! The commands: each composes the roles it needs, and maps how it ended to an exit code.
//!
//! 0 fine, 1 a check found a difference or a failure, 2 usage or configuration.

pub mod parts;
pub mod process;
pub mod roles;
pub mod schema;
pub mod up;
pub mod bench;
pub mod operate;
#[cfg(feature = "sim")]
pub mod demo;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::operate::Output;
use self::operate::arguments::Operate;
use crate::bench::Scenario;
use crate::config::settings;
use crate::config::{Config, Need};
use crate::telemetry::log;
use crate::worker::Stage;

#[derive(Parser)]
#[command(
    name = "dingtalk-trigger",
    version,
    about = "Carries DingTalk messages to AI experts: acknowledged means durable",
    after_help = settings::help()
)]
struct Cli {
    /// Answers as JSON, for machines (operator commands)
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything on one machine, in one process
    Up {
        /// With a simulated DingTalk, a chat page, and an expert
        #[cfg(feature = "sim")]
        #[arg(long)]
        demo: bool,
    },
    /// Takes what DingTalk sends and puts it into the log
    Edge,
    /// Takes from the log, asks experts, answers
    Worker {
        /// Only these stages, separated by commas
        #[arg(long, value_delimiter = ',', value_parser = parse_stage)]
        stages: Vec<Stage>,
    },
    /// The admin API
    Console,
    /// Brings the database to this release
    Migrate,
    /// The streams in NATS
    #[command(subcommand)]
    Streams(Streams),
    /// A simulated DingTalk cloud and Xpert server, with faults on request
    ///
    /// Prints their addresses, and what a service that is to use them is told of robot and experts. People write by
    /// POST /sim/say, robots are added by POST /sim/apps, and faults are ordered by POST /sim/fault: the README's
    /// chapter on the simulator has the words.
    #[cfg(feature = "sim")]
    Sim,
    /// Benchmarks, each with its baseline in the same run
    Bench {
        /// All where none is named
        scenarios: Vec<Scenario>,
    },
    #[command(flatten)]
    Operate(Operate),
}

impl Command {
    fn needs(&self) -> &'static [Need] {
        match self {
            Self::Edge | Self::Worker { .. } => &[Need::SharedDatabase],
            Self::Console => &[Need::SharedDatabase, Need::AdminToken],
            Self::Migrate => &[Need::Database],
            // `up` provides what is missing, and an operator's command finds it there.
            _ => &[],
        }
    }
}

#[derive(Subcommand)]
enum Streams {
    /// Shows where NATS differs from the files; exit code 1 on a difference
    Diff,
    /// Creates what is missing and changes what differs
    Apply,
}

fn parse_stage(word: &str) -> Result<Stage, String> {
    let known = Stage::ALL.into_iter().find(|stage| stage.as_str() == word);
    known.ok_or_else(|| "stages are intake, due, dispatch, handoff, sweep".to_owned())
}

/// How a command ended badly.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Exit code 2: said completely, nothing was done.
    #[error("{0}")]
    Configuration(String),
    /// Exit code 1 without another word: what differs was shown.
    #[error("")]
    Difference,
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

/// Parses the command line and runs the command to its end.
pub async fn main(variable: impl Fn(&str) -> Option<String>) -> ExitCode {
    let cli = Cli::parse();
    let output = if cli.json { Output::Json } else { Output::Words };
    let outcome = Box::pin(run(cli.command, output, &variable)).await;
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Difference) => ExitCode::from(1),
        Err(failure) => {
            process::complain(&failure);
            ExitCode::from(if matches!(failure, Failure::Configuration(_)) { 2 } else { 1 })
        }
    }
}

async fn run(
    command: Command,
    output: Output,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<(), Failure> {
    if let Command::Up {
        #[cfg(feature = "sim")]
        demo,
    } = command
    {
        #[cfg(not(feature = "sim"))]
        let demo = false;
        return up::run(variable, demo).await;
    }
    let config = read(variable, command.needs())?;
    log::init(&config.log_filter).map_err(Failure::Configuration)?;
    match command {
        Command::Up { .. } => Ok(()),
        Command::Edge => roles::edge(&config).await,
        Command::Worker { stages } => roles::worker(&config, stages).await,
        Command::Console => roles::console(&config).await,
        Command::Migrate => schema::migrate(&config).await,
        Command::Streams(Streams::Diff) => schema::diff(&config).await,
        Command::Streams(Streams::Apply) => schema::apply(&config).await,
        #[cfg(feature = "sim")]
        Command::Sim => demo::sim(&config).await,
        Command::Operate(command) => operate::run(&config, command, output).await,
        Command::Bench { scenarios } => bench::run(&scenarios).await,
    }
}

/// The settings, or every complaint about them at once.
pub fn read(variable: &impl Fn(&str) -> Option<String>, needs: &[Need]) -> Result<Config, Failure> {
    Config::read(variable, needs).map_err(|complaints| wrong(&complaints))
}

fn wrong(complaints: &[String]) -> Failure {
    let list: Vec<_> = complaints.iter().map(|line| format!("  {line}")).collect();
    Failure::Configuration(format!("settings are wrong:\n{}", list.join("\n")))
}
