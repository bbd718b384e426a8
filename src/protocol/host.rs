//! The `Host` that a request was made for, against pages that rebind their own name to this machine.
//!
//! A page in an operator's browser can make its own name resolve to 127.0.0.1 and then read what answers there. Its
//! requests carry that name. An address or a configured name cannot be made by a page.

use std::net::IpAddr;

use axum::http::{HeaderMap, header};

/// The names that a server answers to, beside every IP address and `localhost`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// Each as `host`, `host:port` or a URL.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let of = |name: &'a str| {
            let rest = name.split_once("://").map_or(name, |(_, rest)| rest);
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            without_port(host.trim()).to_ascii_lowercase()
        };
        Self(names.into_iter().map(of).filter(|name| !name.is_empty()).collect())
    }

    /// Whether a request with this head is for us.
    pub fn has(&self, headers: &HeaderMap) -> bool {
        let mut given = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (given.next(), given.next()) else { return false };
        let Ok(host) = host.to_str() else { return false };
        let host = without_port(host);
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        bare.parse::<IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || self.0.iter().any(|name| name.eq_ignore_ascii_case(host))
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_the_configured_names_are_answered() {
        let hosts = Hosts::new(["https://Console.example.org/dt/", "svc", "pod:8081", ""]);
        let cases = [
            ("127.0.0.1:8081", true),
            ("10.0.0.7", true),
            ("[::1]:8081", true),
            ("[::1]", true),
            ("localhost", true),
            ("LOCALHOST:1", true),
            ("console.example.org", true),
            ("console.example.org:443", true),
            ("svc:8081", true),
            ("pod", true),
            ("evil.example.org:8081", false),
            ("localhost.evil.org", false),
            ("127.0.0.1.evil.org", false),
            ("console.example.org.evil.org", false),
            ("", false),
            (":8081", false),
        ];
        for (host, expected) in cases {
            let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
            assert_eq!(hosts.has(&headers), expected, "{host}");
        }
        assert!(!hosts.has(&HeaderMap::new()));
        let mut two = HeaderMap::from_iter([(header::HOST, "localhost".parse().unwrap())]);
        two.append(header::HOST, "evil.example.org".parse().unwrap());
        assert!(!hosts.has(&two));
    }
}
