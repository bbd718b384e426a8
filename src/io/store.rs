//! The database: what operators configure, and projections of the journal for people to look at.
//!
//! One SQL text runs on SQLite and PostgreSQL through sqlx `Any`: `$n` placeholders, flags as
//! SMALLINT, times as milliseconds. Guarantees that a change and its line in the audit log are one
//! transaction, that uniqueness is decided by an index and never by a check before the write, and
//! that secrets are sealed before they reach a statement. Decides nothing else: rules of the
//! configuration belong to `console`.

pub mod integrations;
pub mod triggers;
pub mod runtimes;
pub mod conversations;
pub mod messages;
pub mod dead;
pub mod audit;
pub mod events;
pub mod rotation;
pub mod writer;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::{AnyPoolOptions, AnyRow};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AnyPool, Executor, Row};

use super::seal::{self, Keyring};
use crate::domain::secret::Secret;

/// A database may be ahead: a newer release has expanded it, and this one still runs beside it.
static MIGRATIONS: Migrator = Migrator { ignore_missing: true, ..sqlx::migrate!() };

/// How long a call waits for a free connection before it reports that SQL is away.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(3);

#[derive(Debug, Clone)]
pub struct Config {
    /// `DATABASE_URL`, a secret because it may hold a password.
    pub url: Secret,
    /// `DT_MASTER_KEY`.
    pub master_key: Secret,
    /// `DT_MASTER_KEY_OLD`: opens what was sealed before a rotation.
    pub old_master_key: Option<Secret>,
    /// `DT_SQL_CONNECTIONS`.
    pub connections_max: u32,
}

impl Config {
    pub fn is_sqlite(&self) -> bool {
        self.url.expose().starts_with("sqlite:")
    }

    /// A file that is not there yet is made.
    fn address(&self) -> String {
        let url = self.url.expose();
        if self.is_sqlite() && !url.contains('?') {
            format!("{url}?mode=rwc")
        } else {
            url.to_owned()
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database did not answer; check DATABASE_URL and the server: {0}")]
    Unavailable(#[source] sqlx::Error),
    #[error("the database refused a statement: {0}")]
    Refused(#[source] sqlx::Error),
    #[error("migrations failed: {0}")]
    Migration(#[from] MigrateError),
    #[error("DT_MASTER_KEY or DT_MASTER_KEY_OLD {0}")]
    Key(#[source] seal::Error),
    #[error(transparent)]
    Sealed(#[from] seal::Error),
    #[error("{table}.{column} holds a value that this release does not know: {value}")]
    Unreadable { table: &'static str, column: &'static str, value: String },
    #[error("{what} exists already")]
    Exists { what: String },
    #[error("{what} does not exist")]
    Missing { what: String },
    #[error("{what} is in use")]
    InUse { what: String },
    /// Somebody else changed it between reading and writing.
    #[error("{what} was changed meanwhile; read it again")]
    Stale { what: String },
    #[error("integration {integration} is already bound to another xpert")]
    Conflict { integration: String },
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if is_away(&error) { Self::Unavailable(error) } else { Self::Refused(error) }
    }
}

impl Error {
    /// The same may work in a moment.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// Whether the server or the way to it is the trouble, rather than the statement.
fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        // PostgreSQL: connection, rollback, resources, operator; SQLite: busy, locked, I/O, full.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "40", "53", "57", "58"]
                .iter()
                .any(|class| code.len() == 5 && code.starts_with(class))
                || code
                    .parse::<u32>()
                    .is_ok_and(|code| code < 10_000 && matches!(code & 0xff, 5 | 6 | 10 | 13 | 14))
        }),
        _ => false,
    }
}

fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

fn is_foreign_key_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation)
}

/// Cheap to clone; all clones share one pool.
#[derive(Clone)]
pub struct Store {
    pool: AnyPool,
    keyring: Arc<Keyring>,
}

impl Store {
    pub async fn connect(config: &Config) -> Result<Self, Error> {
        let keyring =
            Keyring::new(&config.master_key, config.old_master_key.as_ref()).map_err(Error::Key)?;
        sqlx::any::install_default_drivers();
        let on_connect = if config.is_sqlite() {
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 5000; \
             PRAGMA foreign_keys = ON"
        } else {
            "SET statement_timeout = 10000"
        };
        let pool = AnyPoolOptions::new()
            .max_connections(config.connections_max)
            .acquire_timeout(ACQUIRE_LIMIT)
            .after_connect(move |connection, _| {
                Box::pin(async move { connection.execute(on_connect).await.map(|_| ()) })
            })
            .connect(&config.address())
            .await?;
        Ok(Self { pool, keyring: Arc::new(keyring) })
    }

    pub async fn migrate(&self) -> Result<(), Error> {
        Ok(MIGRATIONS.run(&self.pool).await?)
    }

    /// The migrations that this release brings and the database does not have yet.
    pub async fn pending(&self) -> Result<Vec<String>, Error> {
        let applied = sqlx::query("-- store::pending\nSELECT version FROM _sqlx_migrations")
            .fetch_all(&self.pool)
            .await;
        let applied: BTreeSet<i64> = match applied {
            Ok(rows) => rows.iter().map(|row| row.try_get("version")).collect::<Result<_, _>>()?,
            Err(error) if is_away(&error) => return Err(error.into()),
            // The table comes with the first migration.
            Err(_) => BTreeSet::new(),
        };
        Ok(MIGRATIONS
            .iter()
            .filter(|migration| !applied.contains(&migration.version))
            .map(|migration| format!("{} {}", migration.version, migration.description))
            .collect())
    }

    /// Whether SQL answers at all, for `/readyz` and `/api/status`.
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query("-- store::ping\nSELECT 1").fetch_one(&self.pool).await?;
        Ok(())
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Where a list goes on, and how many of it are wanted.
#[derive(Debug, Clone)]
pub struct Page {
    pub after: Option<String>,
    pub limit: u32,
}

/// A word of one of the domain's enums out of a column.
fn word<T>(
    row: &AnyRow,
    place: (&'static str, &'static str),
    parse: fn(&str) -> Option<T>,
) -> Result<T, Error> {
    let (table, column) = place;
    let value: String = row.try_get(column)?;
    parse(&value).ok_or(Error::Unreadable { table, column, value })
}

fn flag(row: &AnyRow, column: &str) -> Result<bool, sqlx::Error> {
    Ok(row.try_get::<i16, _>(column)? != 0)
}

fn duration(row: &AnyRow, column: &str) -> Result<Duration, sqlx::Error> {
    Ok(Duration::from_millis(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0)))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// `($1, $2), ($3, $4)` for the values of a statement with many rows.
fn placeholders(rows: usize, columns: usize) -> String {
    let mut text = String::with_capacity(rows * columns * 6);
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..columns {
            text.push_str(if column == 0 { "$" } else { ", $" });
            text.push_str(&(row * columns + column + 1).to_string());
        }
        text.push(')');
    }
    text
}

/// PostgreSQL takes no zero character in a text, and names come from outside.
fn storable(text: &str) -> String {
    text.replace('\0', "")
}
