//! The operator's commands as they are typed.
//!
//! Only shapes and help texts: clap refuses what is not of the shape, the admin API judges the values.
//! Secrets are never defaults and never shown.

use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub enum Operate {
    /// Connected DingTalk robots
    #[command(subcommand)]
    Integration(IntegrationCommand),
    /// Which expert answers for which robot
    #[command(subcommand)]
    Trigger(TriggerCommand),
    /// Where experts are reached
    #[command(subcommand)]
    Runtime(RuntimeCommand),
    /// Who talks with which expert
    #[command(subcommand)]
    Conversation(ConversationCommand),
    /// What was given up
    #[command(subcommand)]
    Dead(DeadCommand),
    /// Accepted messages wait, in order
    #[command(subcommand)]
    Pause(Pausable),
    /// What waits flows again
    #[command(subcommand)]
    Resume(Pausable),
    /// What happened to one DingTalk message
    Trace { integration: String, msg_id: String },
    /// Checks a robot from end to end, in words; exit code 1 where something is wrong
    Doctor { integration: String },
}

#[derive(Subcommand)]
pub enum IntegrationCommand {
    /// Secrets may be given as @file
    Add(Box<NewIntegration>),
    List(Page),
    Show {
        id: String,
    },
    /// Tries the credentials for real; exit code 1 where one fails
    Test {
        id: String,
    },
    Remove {
        id: String,
    },
}

#[derive(Args)]
pub struct NewIntegration {
    #[arg(long)]
    pub id: Option<String>,
    #[arg(long)]
    pub name: String,
    /// http or stream
    #[arg(long)]
    pub mode: String,
    #[arg(long)]
    pub client_id: String,
    #[arg(long)]
    pub client_secret: String,
    #[arg(long)]
    pub robot_code: Option<String>,
    #[arg(long)]
    pub callback_token: Option<String>,
    #[arg(long)]
    pub callback_aes_key: Option<String>,
    #[arg(long)]
    pub card_template_id: Option<String>,
    #[arg(long)]
    pub language: Option<String>,
    #[arg(long)]
    pub receiver_id: Option<String>,
    /// The organisation whose people allowSenders lists
    #[arg(long)]
    pub corp_id: Option<String>,
    /// sender or group
    #[arg(long)]
    pub scope: Option<String>,
}

#[derive(Subcommand)]
pub enum TriggerCommand {
    /// What is not said stays as it is
    Publish {
        #[command(flatten)]
        binding: Binding,
        /// reaction, text or none
        #[arg(long)]
        queued_notice: Option<String>,
        /// asker or anyone
        #[arg(long)]
        act_by: Option<String>,
        /// Only these groups, separated by commas; an empty text lifts it
        #[arg(long, value_delimiter = ',')]
        allow_conversations: Option<Vec<String>>,
        /// Only these people, separated by commas; an empty text lifts it
        #[arg(long, value_delimiter = ',')]
        allow_senders: Option<Vec<String>>,
        /// Whether an answer in a group begins with the asker's name
        #[arg(long)]
        mention_asker: Option<bool>,
    },
    /// Exit code 1 where it could not be published
    Validate(Binding),
    /// All, or one expert's
    Show {
        #[arg(conflicts_with = "Page")]
        xpert_id: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    Unpublish {
        xpert_id: String,
    },
}

#[derive(Args)]
pub struct Binding {
    pub xpert_id: String,
    #[arg(long)]
    pub integration: Option<String>,
    /// Keeps the binding without letting messages through
    #[arg(long)]
    pub disabled: bool,
    /// Lets messages through again
    #[arg(long, conflicts_with = "disabled")]
    pub enabled: bool,
    #[arg(long)]
    pub session_timeout_seconds: Option<i64>,
    #[arg(long)]
    pub summary_window_seconds: Option<i64>,
    /// queue, interrupt or steer
    #[arg(long)]
    pub busy_policy: Option<String>,
}

#[derive(Subcommand)]
pub enum RuntimeCommand {
    /// Secrets may be given as @file
    Set(NewRuntime),
    Remove {
        xpert_id: String,
    },
}

#[derive(Args)]
pub struct NewRuntime {
    pub xpert_id: String,
    /// xpert, callback or echo
    #[arg(long)]
    pub kind: String,
    #[arg(long)]
    pub base_url: Option<String>,
    #[arg(long)]
    pub api_key: Option<String>,
    #[arg(long)]
    pub organization_id: Option<String>,
    #[arg(long)]
    pub url: Option<String>,
    #[arg(long)]
    pub secret: Option<String>,
    #[arg(long)]
    pub lease_seconds: Option<i64>,
}

#[derive(Subcommand)]
pub enum ConversationCommand {
    List {
        #[arg(long)]
        integration: Option<String>,
        #[arg(long)]
        xpert: Option<String>,
        /// Part of a name or a title
        #[arg(long)]
        search: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// One session, or all of a robot or an expert
    #[command(group = clap::ArgGroup::new("which").required(true))]
    End {
        #[arg(group = "which")]
        key: Option<String>,
        #[arg(long, group = "which")]
        integration: Option<String>,
        #[arg(long, group = "which")]
        xpert: Option<String>,
    },
}

#[derive(Args)]
pub struct Page {
    #[arg(long)]
    pub limit: Option<String>,
    /// `next` of the list before
    #[arg(long)]
    pub after: Option<String>,
}

#[derive(Subcommand)]
pub enum DeadCommand {
    List {
        #[command(flatten)]
        narrow: Narrow,
        /// dead, replayed or dropped
        #[arg(long)]
        state: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    Show {
        id: String,
    },
    /// These, or all that fit
    Replay {
        ids: Vec<String>,
        #[command(flatten)]
        narrow: Narrow,
        /// Everything that is dead
        #[arg(long)]
        all: bool,
        /// Only say what would be replayed
        #[arg(long)]
        dry_run: bool,
    },
    Drop {
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

#[derive(Args)]
pub struct Narrow {
    #[arg(long)]
    pub stage: Option<String>,
    #[arg(long)]
    pub integration: Option<String>,
    #[arg(long)]
    pub xpert: Option<String>,
    #[arg(long)]
    pub reason: Option<String>,
    /// For example 2030-01-31T08:00:00Z
    #[arg(long)]
    pub since: Option<String>,
    #[arg(long)]
    pub until: Option<String>,
}

#[derive(Subcommand)]
pub enum Pausable {
    Integration {
        id: String,
    },
    #[command(alias = "xpert")]
    Runtime {
        xpert_id: String,
    },
}
