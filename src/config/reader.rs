//! Reads settings one by one and keeps every complaint until the end.
//!
//! Reading goes on behind a bad value, so that all are named at once, each with what would be right.
//! What a setting is for is `settings`' and each module's.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::settings::SETTINGS;
use crate::domain::binding::Language;
use crate::domain::secret::Secret;
use crate::io::egress::host::{HostList, Scheme};
use crate::io::nats;
use crate::io::otlp;
use crate::io::seal::Keyring;
use crate::telemetry::log;

const ADMIN_TOKEN_CHARS_MIN: usize = 16;

pub struct Reader<V> {
    variable: V,
    complaints: Vec<String>,
}

impl<V: Fn(&str) -> Option<String>> Reader<V> {
    pub fn new(variable: V) -> Self {
        Self { variable, complaints: vec![] }
    }

    pub fn finish<T>(self, value: T) -> Result<T, Vec<String>> {
        if self.complaints.is_empty() { Ok(value) } else { Err(self.complaints) }
    }

    fn complain(&mut self, name: &str, remedy: impl std::fmt::Display) {
        self.complaints.push(format!("{name} {remedy}"));
    }

    /// By itself or as a file.
    pub fn is_given(&self, name: &str) -> bool {
        self.given(name).is_some() || self.given(&format!("{name}_FILE")).is_some()
    }

    /// Set and not blank.
    fn given(&self, name: &str) -> Option<String> {
        (self.variable)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    pub fn text(&self, name: &'static str) -> String {
        let default = || {
            let known = SETTINGS.iter().find(|setting| setting.name == name);
            known.map(|setting| setting.default).unwrap_or_default().to_owned()
        };
        self.given(name).unwrap_or_else(default)
    }

    pub fn path(&self, name: &'static str) -> Option<PathBuf> {
        self.given(name).map(PathBuf::from)
    }

    /// From the variable, or from the file that `NAME_FILE` names.
    pub fn secret(&mut self, name: &'static str) -> Option<Secret> {
        if let Some(text) = self.given(name) {
            return Some(Secret::new(text));
        }
        let path = self.given(&format!("{name}_FILE"))?;
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(Secret::new(text.trim())),
            Err(e) => {
                self.complain(
                    &format!("{name}_FILE"),
                    format!("names {path}, which cannot be read: {e}"),
                );
                None
            }
        }
    }

    pub fn admin_token(&mut self, name: &'static str) -> Option<Secret> {
        let token = self.secret(name)?;
        if token.expose().chars().count() < ADMIN_TOKEN_CHARS_MIN {
            self.complain(name, format!("must have at least {ADMIN_TOKEN_CHARS_MIN} characters"));
        }
        Some(token)
    }

    pub fn database(&mut self, name: &'static str) -> Option<Secret> {
        let url = self.secret(name)?;
        let schemes = ["sqlite:", "postgres:", "postgresql:"];
        if !schemes.iter().any(|scheme| url.expose().starts_with(scheme)) {
            self.complain(name, "must begin with sqlite:// or postgres://");
        }
        Some(url)
    }

    pub fn number<N>(&mut self, name: &'static str, range: RangeInclusive<N>) -> N
    where
        N: FromStr + PartialOrd + Copy + std::fmt::Display,
    {
        let text = self.text(name);
        match text.parse::<N>() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let (least, most) = (*range.start(), *range.end());
                self.complain(name, format!("is {text:?}; it must be {least} to {most}"));
                least
            }
        }
    }

    /// A part of `whole`: a quarter where it is not set.
    pub fn share(&mut self, name: &'static str, whole: usize) -> usize {
        match self.given(name) {
            Some(_) => self.number(name, 1..=whole),
            None => (whole / 4).max(1),
        }
    }

    /// `90`, `90s`, `10m`, `24h` or `5d`; `seconds` are the bounds.
    pub fn duration(&mut self, name: &'static str, seconds: RangeInclusive<u64>) -> Duration {
        let text = self.text(name);
        match parse_seconds(&text) {
            Some(number) if seconds.contains(&number) => Duration::from_secs(number),
            _ => {
                let (least, most) = (seconds.start(), seconds.end());
                let remedy = format!(
                    "is {text:?}; it must be {least} to {most} seconds, e.g. 90s, 10m, 24h"
                );
                self.complain(name, remedy);
                Duration::from_secs(*least)
            }
        }
    }

    pub fn address(&mut self, name: &'static str) -> String {
        let text = self.text(name);
        let port = text
            .rsplit_once(':')
            .and_then(|(host, port)| port.parse::<u16>().ok().filter(|_| !host.is_empty()));
        if port.is_none() {
            self.complain(name, format!("is {text:?}; it must be host:port"));
        }
        text
    }

    pub fn url(&mut self, name: &'static str) -> String {
        let text = self.text(name);
        if !text.starts_with("http://") && !text.starts_with("https://") {
            self.complain(name, format!("is {text:?}; it must begin with http:// or https://"));
        }
        text.trim_end_matches('/').to_owned()
    }

    /// An address that the operator set; `None` where it is the default.
    pub fn operated(&mut self, name: &'static str) -> Option<String> {
        self.given(name).map(|_| self.url(name))
    }

    /// Where the list is not set, `operated` are on it as well: addresses that the operator named.
    pub fn hosts(&mut self, name: &'static str, scheme: Scheme, operated: &[&str]) -> HostList {
        let mut hosts = match HostList::parse(&self.text(name), scheme) {
            Ok(hosts) => hosts,
            Err(e) => {
                self.complain(name, e);
                HostList::none(scheme)
            }
        };
        if self.given(name).is_none() {
            for url in operated {
                hosts.trust(url);
            }
        }
        hosts
    }

    /// A file that is there.
    pub fn file(&mut self, name: &'static str) -> Option<PathBuf> {
        let path = self.path(name)?;
        if let Err(error) = std::fs::File::open(&path) {
            self.complain(name, format!("names {}, which cannot be read: {error}", path.display()));
        }
        Some(path)
    }

    /// One or several addresses of a broker. They may hold a password: they may stand in a file, and are not
    /// repeated.
    pub fn broker(&mut self, name: &'static str) -> String {
        let given = self.secret(name);
        let text = given.map_or_else(|| self.text(name), |given| given.expose().to_owned());
        if !text.split(',').all(nats::is_address) {
            self.complain(
                name,
                "must be nats://host:port, or several of these, with commas between",
            );
        }
        text
    }

    pub fn master_key(&mut self, name: &'static str) -> Option<Secret> {
        let key = self.secret(name)?;
        if let Err(error) = Keyring::new(&key, None) {
            self.complain(name, error);
        }
        Some(key)
    }

    /// Where spans go. It may hold a password and is not repeated.
    pub fn collector(&mut self, name: &'static str) -> Option<Secret> {
        let endpoint = self.secret(name)?;
        if let Err(error) = otlp::address(&endpoint) {
            self.complain(name, error);
        }
        Some(endpoint)
    }

    /// Headers of requests to the collector.
    pub fn headers(&mut self, name: &'static str) -> Option<Secret> {
        let headers = self.secret(name)?;
        if let Err(error) = otlp::headers(&headers) {
            self.complain(name, error);
        }
        Some(headers)
    }

    pub fn log_filter(&mut self, name: &'static str) -> String {
        let text = self.text(name);
        if let Err(error) = log::check(&text) {
            self.complain(name, error);
        }
        text
    }

    pub fn language(&mut self, name: &'static str) -> Language {
        match self.text(name).as_str() {
            "zh-Hans" => Language::ZhHans,
            "en" => Language::En,
            other => {
                self.complain(name, format!("is {other:?}; it must be zh-Hans or en"));
                Language::ZhHans
            }
        }
    }

    /// A name for this process: given, or the host's.
    pub fn pod(&mut self, name: &'static str) -> String {
        let host = || std::fs::read_to_string("/etc/hostname").unwrap_or_default();
        let text = self.given(name).unwrap_or_else(|| host().trim().to_owned());
        let mut pod: String =
            text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        pod.truncate(48);
        if pod.is_empty() { "pod".to_owned() } else { pod }
    }
}

fn parse_seconds(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    let factor = match text.get(digits.len()..)? {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return None,
    };
    number.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let find = |name: &str| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        Config::read(find)
    }

    #[test]
    fn nothing_set_is_a_good_configuration() {
        let config = read(&[]).unwrap();
        assert_eq!(config.limits.expert_runs_max, 64);
        assert_eq!(config.limits.handoff_age_max, Duration::from_secs(24 * 3600));
        assert_eq!(config.drain, Duration::from_secs(25));
    }

    #[test]
    fn every_bad_setting_is_named_at_once() {
        let bad = [
            ("DT_REPLICAS", "many"),
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
}
