//! Reads settings one by one and keeps every complaint until the end.
//!
//! Reading goes on behind a bad value, so that all are named at once, each with what would be right.
//! What a setting is for is `settings`' and each module's.

#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::settings::SETTINGS;
use crate::domain::binding::Language;
use crate::domain::secret::Secret;
use crate::io::egress::host::{HostList, Scheme};
use crate::io::egress::proxy;
use crate::io::nats;
use crate::io::nats::login::Login;
use crate::io::otlp;
use crate::io::seal::Keyring;
use crate::protocol::host::Hosts;
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

    /// What a command cannot do without; `what` is right for it.
    pub fn require(&mut self, name: &'static str, what: &str) {
        if !self.is_given(name) {
            self.complain(name, format!("must be set: {what}"));
        }
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

    /// One that `is_shared` by several processes is no file.
    pub fn database(&mut self, name: &'static str, is_shared: bool) -> Option<Secret> {
        let url = self.secret(name)?;
        let begins = |schemes: &[&str]| schemes.iter().any(|it| url.expose().starts_with(it));
        match (begins(&["postgres:", "postgresql:"]), begins(&["sqlite:"]), is_shared) {
            (true, _, _) | (_, true, false) => {}
            (_, _, true) => self.complain(
                name,
                "must begin with postgres:// for separate roles; sqlite:// is for `up`",
            ),
            (_, _, false) => self.complain(name, "must begin with sqlite:// or postgres://"),
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

    /// `None` if it is not set.
    pub fn optional_number<N>(&mut self, name: &'static str, range: RangeInclusive<N>) -> Option<N>
    where
        N: FromStr + PartialOrd + Copy + std::fmt::Display,
    {
        self.given(name).is_some().then(|| self.number(name, range))
    }

    /// The host of one address and further names, with commas between.
    pub fn names(&mut self, url: &'static str, names: &'static str) -> Hosts {
        let address = self.operated(url).unwrap_or_default();
        let further = self.given(names).unwrap_or_default();
        Hosts::new(further.split(',').chain([address.as_str()]))
    }

    /// `on` or `off`.
    pub fn switch(&mut self, name: &'static str) -> bool {
        match self.text(name).as_str() {
            "on" => true,
            "off" => false,
            other => {
                self.complain(name, format!("is {other:?}; it must be on or off"));
                false
            }
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

    /// Where others reach what listens on `address`: on this machine at its port, where nobody says.
    pub fn reached(&mut self, name: &'static str, address: &str) -> String {
        match address.rsplit_once(':') {
            Some((host, port)) if self.given(name).is_none() && port != "0" => {
                let host = match host {
                    "0.0.0.0" => "127.0.0.1",
                    "[::]" => "[::1]",
                    host => host,
                };
                format!("http://{host}:{port}")
            }
            _ => self.url(name),
        }
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
        let shown = path.display();
        match std::fs::File::open(&path).and_then(|file| file.metadata()) {
            Ok(found) if found.is_dir() => {
                self.complain(name, format!("names {shown}, which is a directory"));
            }
            Ok(_) => {}
            Err(error) => {
                self.complain(name, format!("names {shown}, which cannot be read: {error}"));
            }
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

    /// Who this process is at the broker: by name and password, or by a token.
    pub fn login(
        &mut self,
        user: &'static str,
        password: &'static str,
        token: &'static str,
    ) -> Login {
        let (named, secret, held) = (self.secret(user), self.secret(password), self.secret(token));
        match (named, secret, held) {
            (None, None, None) => Login::Anonymous,
            (Some(user), Some(password), None) => Login::User { user, password },
            (None, None, Some(token)) => Login::Token(token),
            (_, _, Some(_)) => {
                self.complain(token, format!("cannot be set beside {user} and {password}"));
                Login::Anonymous
            }
            (_, _, None) => {
                self.complain(user, format!("and {password} are set together or not at all"));
                Login::Anonymous
            }
        }
    }

    pub fn master_key(&mut self, name: &'static str) -> Option<Secret> {
        let key = self.secret(name)?;
        if let Err(error) = Keyring::new(&key, None) {
            self.complain(name, error);
        }
        Some(key)
    }

    /// A proxy. It may hold a password and is not repeated.
    pub fn proxy(&mut self, name: &'static str) -> Option<Secret> {
        let proxy = self.secret(name)?;
        if let Err(error) = proxy::check(&proxy) {
            self.complain(name, error);
        }
        Some(proxy)
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
