//! A database for one test: a SQLite file, or a fresh database on the PostgreSQL server of the tests.

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::env;

pub(crate) struct Sqlite {
    url: String,
    _directory: TempDir,
}

impl Sqlite {
    /// The file does not exist yet.
    pub(crate) fn fresh() -> Self {
        let directory = TempDir::new().expect("create a directory for SQLite");
        let url = format!("sqlite://{}/test.db", directory.path().display());
        Self { url, _directory: directory }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

/// An empty database that is dropped with this, whoever is still connected.
pub(crate) struct Postgres {
    url: String,
    name: String,
}

impl Postgres {
    pub(crate) async fn fresh() -> Self {
        let name = format!("it_{}", Uuid::new_v4().simple());
        execute(&format!("CREATE DATABASE {name}")).await;
        let server = env::postgres();
        let (base, _) = server.rsplit_once('/').expect("DT_TEST_POSTGRES_URL names a database");
        Self { url: format!("{base}/{name}"), name }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("start a runtime").block_on(execute(&drop));
        })
        .join();
        if !std::thread::panicking() {
            dropped.expect("drop the test's database");
        }
    }
}

async fn execute(sql: &str) {
    let mut connection = PgConnection::connect(&env::postgres())
        .await
        .expect("connect to the server that DT_TEST_POSTGRES_URL names");
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut connection)
        .await
        .expect("run SQL on PostgreSQL");
    connection.close().await.expect("close the connection");
}
