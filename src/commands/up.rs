//! `up`: everything on one machine in one process, with a broker and a database of its own where none
//! are named.
//!
//! Guarantees that a second `up` on the same data directory does not start, and that what it starts
//! ends with it. The roles are the same as in a fleet, and so is what they store.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use super::parts::Parts;
use super::process::{End, live, say};
use super::{Failure, read, roles, wrong};
use crate::config::Config;
use crate::config::reader::Reader;
use crate::context::{Clock, Context};
use crate::domain::secret::Secret;
use crate::io::nats::Nats;
use crate::io::store::Store;
use crate::ops::child::{self, Child};
use crate::ops::data::{self, Directory, InUse};
use crate::ops::keys::{self, Key};
use crate::telemetry::log;
use crate::worker::Stage;

/// How long its broker may take to close its store.
const BROKER_LIMIT: Duration = Duration::from_secs(15);
const DATABASE: &str = "dingtalk-trigger.db";
/// Who a process is at a broker of others: of no use at its own.
const LOGINS: [&str; 4] = ["NATS_CREDS", "NATS_USER", "NATS_PASSWORD", "NATS_TOKEN"];

pub async fn run(variable: &impl Fn(&str) -> Option<String>, demo: bool) -> Result<(), Failure> {
    let first = first(variable, demo)?;
    log::init(&first.log_filter).map_err(Failure::Configuration)?;
    let directory =
        Directory::open(&first.data_dir).map_err(|error| match error.downcast::<InUse>() {
            Ok(in_use) => Failure::Configuration(in_use.to_string()),
            Err(error) => Failure::Failed(error),
        })?;
    // The broker outlives everyone who needs it.
    let (below, mut context) = (Context::new(Clock::system()), Context::new(Clock::system()));
    roles::trace(&mut context, "up", &first)?;
    #[cfg(feature = "sim")]
    let outside = Context::new(Clock::system());
    let start = async {
        let own = Own::prepare(&below, &first, &directory, variable).await?;
        let both = |name: &str| {
            let is_of_others =
                LOGINS.iter().any(|login| name.strip_suffix("_FILE").unwrap_or(name) == *login);
            match () {
                () if own.nats.is_some() && is_of_others => None,
                () if is_given(variable, name) => variable(name),
                () => own.variable(name),
            }
        };
        let config = read(&both, &[])?;
        #[cfg(feature = "sim")]
        let (config, played) = if demo {
            let (config, played) = super::demo::play(&outside, config).await?;
            (config, Some(played))
        } else {
            (config, None)
        };
        #[cfg(not(feature = "sim"))]
        let _ = demo;
        let health = roles::serve_health(&context, &config).await?;
        prepare(&context, &config).await?;
        let parts = Parts::connect(&context, &config).await?;
        #[cfg(feature = "sim")]
        if let Some(played) = &played {
            super::demo::configure(&context, &config, &parts, played).await?;
        }
        let edge = roles::start_edge(&context, &config, &parts).await?;
        roles::start_worker(&context, &config, &parts, Stage::ALL.to_vec());
        let console = roles::start_console(&context, &config, &parts).await?;
        roles::started(&context);
        own.introduce(&config, &directory, &Bound { edge, console, health });
        #[cfg(feature = "sim")]
        if let Some(played) = &played {
            super::demo::introduce(played);
        }
        Ok(parts.store)
    };
    let lived = live(&context, first.drain, Box::pin(start)).await;
    if let Ok((store, End::Drained)) = &lived {
        if let Some(store) = store {
            store.close().await;
        }
        #[cfg(feature = "sim")]
        outside.finish(Duration::from_secs(2)).await;
    }
    let is_at_once = matches!(lived, Ok((_, End::AtOnce)));
    // A broker that is told to end does so by itself.
    below.finish(if is_at_once { Duration::from_millis(100) } else { BROKER_LIMIT }).await;
    lived.map(drop)
}

/// The settings, and what there is in place of those that nobody gave: every complaint at once, and before
/// anything is made or started.
fn first(variable: &impl Fn(&str) -> Option<String>, demo: bool) -> Result<Config, Failure> {
    let mut data_dir = PathBuf::from(Reader::new(variable).text("DT_DATA_DIR"));
    if demo && !is_given(variable, "DT_DATA_DIR") {
        data_dir.push(data::DEMO);
    }
    let lacks = |name| !is_given(variable, name);
    let mut found = vec![];
    if lacks("NATS_URL") && lacks("DT_NATS_SERVER") {
        let search = search(variable("PATH").as_deref());
        found.push(child::find(&child::Config { binary: None, search }).map(drop));
    }
    if lacks("DT_MASTER_KEY") {
        found.push(keys::check_master_key(&data_dir));
    }
    if lacks("DT_ADMIN_TOKEN") {
        found.push(keys::check_admin_token(&data_dir));
    }
    let complaints = found.into_iter().filter_map(|it| it.err().map(|error| format!("{error:#}")));
    let (config, mut all) = match Config::read(variable, &[]) {
        Ok(config) => (Some(Config { data_dir, ..config }), vec![]),
        Err(complaints) => (None, complaints),
    };
    all.extend(complaints);
    config.filter(|_| all.is_empty()).ok_or_else(|| wrong(&all))
}

fn is_given(variable: &impl Fn(&str) -> Option<String>, name: &str) -> bool {
    Reader::new(variable).is_given(name)
}

/// Streams and tables of this release; both may be there already.
async fn prepare(context: &Context, config: &Config) -> Result<(), Failure> {
    let nats = Nats::connect(context, &config.nats).await.context("connect to NATS")?;
    let (changed, moved) = super::schema::applied(context, &nats, config).await?;
    if !changed.is_empty() {
        say("streams: created");
    }
    if let Some(moved) = moved {
        let conversations = moved.conversations;
        say(&format!("streams: DT_IN was restored; conversations moved: {conversations}"));
    }
    let settings = config.store.as_ref();
    let settings = settings.ok_or_else(|| Failure::Configuration("set DATABASE_URL".to_owned()))?;
    let store = Store::connect(settings).await.context("open the database")?;
    store.migrate().await.context("migrate the database")?;
    super::schema::reseal(&store, settings).await?;
    store.close().await;
    Ok(())
}

/// Where it listens, also where a setting left the port to the system.
struct Bound {
    edge: SocketAddr,
    console: SocketAddr,
    health: SocketAddr,
}

/// What `up` provides itself where the environment names nothing.
struct Own {
    nats: Option<Child>,
    database: String,
    /// Absent, and not made, where the environment has one.
    master_key: Option<Key>,
    admin_token: Option<Key>,
}

impl Own {
    async fn prepare(
        below: &Context,
        config: &Config,
        directory: &Directory,
        variable: &impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Failure> {
        let own = |name: &str, make: fn(&Directory) -> anyhow::Result<Key>| {
            if is_given(variable, name) { Ok(None) } else { make(directory).map(Some) }
        };
        let database = match is_given(variable, "DATABASE_URL") {
            true => directory.path().join(DATABASE),
            false => directory.private_file(DATABASE)?,
        };
        // Before the broker: a damaged key starts nothing.
        let master_key = own("DT_MASTER_KEY", keys::master_key)?;
        let admin_token = own("DT_ADMIN_TOKEN", keys::admin_token)?;
        let nats = if is_given(variable, "NATS_URL") {
            None
        } else {
            say("nats-server: starting");
            let search = search(variable("PATH").as_deref());
            let settings = child::Config { binary: config.nats_server.clone(), search };
            Some(Child::start(below, directory, &settings).await?)
        };
        Ok(Self {
            nats,
            database: format!("sqlite://{}", database.display()),
            master_key,
            admin_token,
        })
    }

    /// Its own value of a setting, for when nobody gave one.
    fn variable(&self, name: &str) -> Option<String> {
        let own = |key: &Option<Key>| Some(key.as_ref()?.secret().expose().to_owned());
        match name {
            "NATS_URL" => self.nats.as_ref().map(|child| child.url().to_owned()),
            "DATABASE_URL" => Some(self.database.clone()),
            "DT_MASTER_KEY" => own(&self.master_key),
            "DT_ADMIN_TOKEN" => own(&self.admin_token),
            _ => None,
        }
    }

    fn introduce(&self, config: &Config, directory: &Directory, bound: &Bound) {
        say(&format!("edge:      http://{} (public address: {})", bound.edge, config.public_url));
        say(&format!("admin API: http://{}", bound.console));
        say(&format!("health:    http://{}/readyz", bound.health));
        say(&format!("data:      {}", directory.path().display()));
        if let Some(child) = &self.nats {
            say(&format!("broker:    nats --context {}", child.context_file().display()));
        }
        if let Some(Key::Made(token)) = &self.admin_token {
            shown_once(token);
        }
        say("ready");
    }
}

/// The only time that the token is seen: it was made just now.
fn shown_once(token: &Secret) {
    say(&format!("admin token (shown once, kept in the data directory): {}", token.expose()));
}

/// Where a nats-server may be: on the PATH, beside this program, among the project's tools.
fn search(path: Option<&str>) -> Vec<PathBuf> {
    let mut places: Vec<_> =
        path.unwrap_or_default().split(':').filter(|p| !p.is_empty()).map(PathBuf::from).collect();
    if let Some(beside) =
        std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf))
    {
        places.push(beside);
    }
    places.push(PathBuf::from(".tools/bin"));
    places
}
