//! Migrations expand, then move, then contract: while a fleet is upgraded, this release works on the
//! tables of the next one, and the next one finds what this one wrote.
//!
//! Only a file named `…_contract.sql` may take anything away, a release after the last one that used it.
#![expect(clippy::unwrap_used, reason = "test bodies that run on both databases")]

use dingtalk_trigger::io::store::Store;
use sqlx::any::AnyPoolOptions;
use sqlx::{AnyPool, AssertSqlSafe, Row};

use crate::store::{callback, config, integration, note, session, store, trigger};

on_both!(a_release_works_on_the_tables_of_the_one_after_it);

const TABLES: [&str; 8] = [
    "integrations",
    "integration_events",
    "trigger_bindings",
    "runtimes",
    "audit_log",
    "conversations",
    "messages",
    "dead_letters",
];

/// What an expanding migration of a later release may do to every table.
async fn expand(url: &str) -> AnyPool {
    let pool = AnyPoolOptions::new().max_connections(1).connect(url).await.unwrap();
    let mut statements = vec!["CREATE TABLE later (id TEXT NOT NULL PRIMARY KEY)".to_owned()];
    for table in TABLES {
        statements.push(format!("ALTER TABLE {table} ADD COLUMN later TEXT NOT NULL DEFAULT 'x'"));
        statements.push(format!("ALTER TABLE {table} ADD COLUMN perhaps BIGINT"));
    }
    statements.push(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         SELECT 9999, 'later', success, checksum, 1 FROM _sqlx_migrations WHERE version = 1"
            .to_owned(),
    );
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement)).execute(&pool).await.unwrap();
    }
    pool
}

async fn a_release_works_on_the_tables_of_the_one_after_it(url: &str) {
    let before = store(url).await;
    before.create_integration(&integration("old"), &note("integration.create")).await.unwrap();
    let later = expand(url).await;

    // A pod of this release that runs on, and one that starts beside the newer ones.
    let started = Store::connect(&config(url)).await.unwrap();
    assert_eq!(started.pending().await.unwrap(), [""; 0]);
    started.migrate().await.unwrap();
    for (number, store) in [(1, &before), (2, &started)] {
        let (robot, expert) = (format!("robot-{number}"), format!("expert-{number}"));
        let (robot, runtime) = (integration(&robot), callback(&expert));
        store.create_integration(&robot, &note("integration.create")).await.unwrap();
        let bound = trigger(&expert, robot.id.as_str());
        store.publish(&bound, Some(&runtime), &note("trigger.publish")).await.unwrap();
        let session = session(number, 1, 1_000);
        store.put_conversations(std::slice::from_ref(&session)).await.unwrap();
        assert_eq!(store.integration(&robot.id).await.unwrap().unwrap().integration, robot);
        assert_eq!(store.trigger(&bound.expert).await.unwrap().unwrap().trigger, bound);
        assert_eq!(store.runtime(&runtime.expert).await.unwrap().unwrap().runtime, runtime);
        assert_eq!(store.conversation(&session.conversation.key).await.unwrap().unwrap(), session);
    }
    let rows = sqlx::query("SELECT id FROM integrations WHERE later = 'x' ORDER BY id");
    let rows = rows.fetch_all(&later).await.unwrap();
    let ids: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(ids, ["old", "robot-1", "robot-2"], "the newer release finds them all");
    later.close().await;
}

/// Why a statement breaks the release before it; `None` where it only adds.
fn breaks(statement: &str, own_tables: &[String]) -> Option<&'static str> {
    let words: Vec<_> = statement.split_whitespace().map(str::to_ascii_uppercase).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let has = |phrase: &[&str]| words.windows(phrase.len()).any(|part| part == phrase);
    match &words[..] {
        ["CREATE", "TABLE", ..] | ["CREATE", "INDEX", ..] => None,
        ["CREATE", "UNIQUE", "INDEX", ..] => {
            let is_own = own_tables.iter().any(|table| has(&["ON", table]));
            (!is_own).then_some("the release before may write what a new unique index refuses")
        }
        ["ALTER", "TABLE", _, "ADD", "COLUMN", ..] => {
            let is_unfilled = has(&["NOT", "NULL"]) && !has(&["DEFAULT"]);
            is_unfilled.then_some("the release before does not fill a new column without a default")
        }
        _ => Some("only additions expand; what takes away or rewrites is a file *_contract.sql"),
    }
}

fn violations(text: &str) -> Vec<&'static str> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("--"));
    let code = lines.collect::<Vec<_>>().join("\n");
    let statements: Vec<_> = code.split(';').filter(|part| !part.trim().is_empty()).collect();
    let own = statements.iter().filter_map(|statement| {
        let mut words = statement.split_whitespace().map(str::to_ascii_uppercase);
        let is_table = words.next()? == "CREATE" && words.next()? == "TABLE";
        words.next().filter(|_| is_table)
    });
    let own: Vec<_> = own.collect();
    statements.iter().filter_map(|statement| breaks(statement, &own)).collect()
}

#[test]
fn migrations_only_add_unless_their_name_says_otherwise() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
    for file in std::fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let found = violations(&std::fs::read_to_string(&path).unwrap());
        assert!(found.is_empty() || name.ends_with("_contract.sql"), "{name}: {found:?}");
    }
}

#[test]
fn each_kind_of_breaking_statement_is_found() {
    let table = "CREATE TABLE a (id TEXT NOT NULL);";
    let cases = [
        (table.to_owned(), 0),
        (format!("{table} CREATE UNIQUE INDEX a_by_id\n ON a (id);"), 0),
        ("CREATE INDEX b_by_id ON b (id);".to_owned(), 0),
        ("ALTER TABLE b ADD COLUMN c TEXT;".to_owned(), 0),
        ("ALTER TABLE b ADD COLUMN c SMALLINT NOT NULL DEFAULT 0;".to_owned(), 0),
        ("-- DROP TABLE b;\nCREATE INDEX b_by_id ON b (id);".to_owned(), 0),
        ("CREATE UNIQUE INDEX b_by_id ON b (id);".to_owned(), 1),
        ("ALTER TABLE b ADD COLUMN c TEXT NOT NULL;".to_owned(), 1),
        ("alter table b drop column c;".to_owned(), 1),
        ("ALTER TABLE b RENAME TO c;".to_owned(), 1),
        ("ALTER TABLE b ALTER COLUMN c SET NOT NULL;".to_owned(), 1),
        ("DROP TABLE b; DROP INDEX b_by_id;".to_owned(), 2),
        ("UPDATE b SET c = 1;".to_owned(), 1),
        ("DELETE FROM b;".to_owned(), 1),
    ];
    for (text, expected) in cases {
        assert_eq!(violations(&text).len(), expected, "{text}");
    }
}
