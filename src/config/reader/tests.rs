//! One bad value or several: what is said of them, and what the good ones mean.
//!
//! Files of secrets are real; everything else is a list of pairs.

use super::*;
use crate::config::{Config, Need};
use crate::domain::share::Share;

fn read(pairs: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    read_for(pairs, &[])
}

fn read_for(pairs: &[(&str, &str)], needs: &[Need]) -> Result<Config, Vec<String>> {
    let find = |name: &str| {
        pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    };
    Config::read(find, needs)
}

#[test]
fn nothing_set_is_a_good_configuration() {
    let config = read(&[]).unwrap();
    assert_eq!(config.limits.share, Share { runs_max: 256, expert_runs_max: None });
    assert_eq!(config.limits.handoff_age_max, Duration::from_secs(24 * 3600));
    assert_eq!(config.drain, Duration::from_secs(25));
}

#[test]
fn every_bad_setting_is_named_at_once() {
    let bad = [
        ("DT_REPLICAS", "many"),
        // No broker takes the dead letter of such a turn.
        ("DT_TURN_MAX_BYTES", "1048576"),
        ("DT_HANDOFF_MAX_AGE", "6d"),
        ("DT_EDGE_ADDR", "8080"),
        ("DT_PUBLIC_URL", "example.com"),
        ("DATABASE_URL", "mysql://x"),
        ("DT_ADMIN_TOKEN", "short"),
        ("DT_LANGUAGE", "fr"),
        ("DT_REPLY_HOSTS", "http://x"),
        ("DT_MASTER_KEY_FILE", "/does/not/exist"),
        ("DT_MASTER_KEY_OLD", "c2VjcmV0"),
        ("DT_NATS_SERVER", "/does/not/exist"),
        ("DT_LOG", "info,=,="),
        ("NATS_CREDS", "/does/not/exist"),
        ("NATS_URL", "nats://me:secret@[broker"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://me:secret@collector:4317"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization secret"),
    ];
    let complaints = read(&bad).unwrap_err();
    for (name, _) in bad {
        assert!(complaints.iter().any(|line| line.starts_with(name)), "{name}: {complaints:?}");
    }
    assert_eq!(complaints.len(), bad.len(), "{complaints:?}");
    let said = complaints.concat();
    for secret in ["short", "c2VjcmV0", "secret"] {
        assert!(!said.contains(secret), "a secret is not repeated: {said}");
    }
}

#[test]
fn what_a_command_needs_is_named_with_all_that_is_wrong() {
    let (key, token) = ("DT_MASTER_KEY", "DT_ADMIN_TOKEN");
    let sqlite = ("DATABASE_URL", "sqlite://x.db");
    let postgres = ("DATABASE_URL", "postgres://db/x");
    let bad = ("DT_REPLICAS", "many");
    let fleet = [Need::SharedDatabase, Need::AdminToken];
    let no_file = ("DT_MASTER_KEY_FILE", "/does/not/exist");
    for (pairs, needs, named) in [
        (vec![], &[][..], vec![]),
        (vec![sqlite, bad], &[], vec!["DT_REPLICAS"]),
        (vec![], &[Need::Database], vec!["DATABASE_URL", key]),
        (vec![sqlite], &[Need::Database], vec![key]),
        (vec![sqlite, bad], &fleet, vec!["DATABASE_URL", "DT_REPLICAS", key, token]),
        (vec![postgres], &fleet, vec![key, token]),
        (vec![postgres, no_file], &fleet[..1], vec!["DT_MASTER_KEY_FILE"]),
    ] {
        let complaints = read_for(&pairs, needs).err().unwrap_or_default();
        let words = complaints.iter().filter_map(|line| line.split(' ').next());
        let mut words: Vec<_> = words.collect();
        words.sort_unstable();
        let mut named = named;
        named.sort_unstable();
        assert_eq!(words, named, "{pairs:?} {complaints:?}");
    }
}

#[test]
fn dingtalk_elsewhere_may_name_itself_in_a_message_unless_a_list_says_otherwise() {
    let elsewhere = [
        ("DT_DINGTALK_API_URL", "http://127.0.0.1:7001"),
        ("DT_DINGTALK_OAPI_URL", "https://ding.example"),
    ];
    let config = read(&elsewhere).unwrap();
    let listed = [("DT_REPLY_HOSTS", "hooks.example"), elsewhere[0], elsewhere[1]];
    let strict = read(&listed).unwrap();
    for (url, is_trusted) in [
        ("http://127.0.0.1:7001/robot/sendBySession?session=1", true),
        ("https://ding.example/robot/sendBySession", true),
        ("http://127.0.0.1:7002/robot/sendBySession", false),
    ] {
        assert_eq!(config.reply_hosts.check(url).is_ok(), is_trusted, "{url}");
        assert_eq!(config.download_hosts.check(url).is_ok(), is_trusted, "{url}");
        assert!(strict.reply_hosts.check(url).is_err(), "{url}");
    }
    let official = "https://oapi.dingtalk.com/robot/sendBySession";
    assert!(config.reply_hosts.check(official).is_ok());
}

#[test]
fn the_edge_is_reached_where_it_listens_unless_somebody_says_otherwise() {
    for (listens, said, expected) in [
        (None, None, "http://127.0.0.1:8080"),
        (Some("0.0.0.0:18080"), None, "http://127.0.0.1:18080"),
        (Some("[::]:18080"), None, "http://[::1]:18080"),
        (Some("edge.example:80"), None, "http://edge.example:80"),
        (Some("127.0.0.1:18080"), Some("https://bot.example/"), "https://bot.example"),
        // Nobody knows the port before it is bound.
        (Some("127.0.0.1:0"), None, "http://127.0.0.1:8080"),
    ] {
        let listens = listens.map(|address| ("DT_EDGE_ADDR", address));
        let pairs: Vec<_> =
            listens.into_iter().chain(said.map(|url| ("DT_PUBLIC_URL", url))).collect();
        assert_eq!(read(&pairs).unwrap().public_url, expected, "{pairs:?}");
    }
}

#[test]
fn an_address_of_the_broker_may_stand_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("url");
    std::fs::write(&path, "nats://me:secret@broker:4222\n").unwrap();
    let config = read(&[("NATS_URL_FILE", path.to_str().unwrap())]).unwrap();
    assert_eq!(config.nats.url, "nats://me:secret@broker:4222");
    let complaints = read(&[("NATS_URL_FILE", "/does/not/exist")]).unwrap_err();
    assert!(complaints.concat().starts_with("NATS_URL_FILE"), "{complaints:?}");
}

#[test]
fn durations_take_the_usual_units() {
    for (text, seconds) in [
        ("90", Some(90)),
        ("90s", Some(90)),
        ("10m", Some(600)),
        ("2h", Some(7200)),
        ("1d", Some(86400)),
        ("m", None),
        ("1w", None),
        ("-1", None),
    ] {
        assert_eq!(parse_seconds(text), seconds, "{text}");
    }
}
