//! The lists `DT_REPLY_HOSTS` and `DT_DOWNLOAD_HOSTS`: which hosts a message may send us to.
//!
//! A host without a port is trusted by name only, so it must be public; a host with a port is the
//! operator's word and may be anything. Names are compared after the URL standard has brought them
//! into one form, so upper case, Unicode and odd ways to write an address change nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostList {
    entries: Vec<Entry>,
    scheme: Scheme,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Host(String),
    /// With its leading dot: names below it, not itself.
    Below(String),
    HostAndPort(String, u16),
}

/// What entries without a port allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    HttpsOnly,
    HttpToo,
}

/// Which addresses the checked host may turn out to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Public,
    Any,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` must be `host`, `*.domain` or `host:port`")]
pub struct InvalidEntry(pub String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("it is not a URL")]
    NotUrl,
    #[error("it is neither http nor https")]
    Scheme,
    #[error("it carries a user name or password")]
    Credentials,
    #[error("its host and port are not on the list")]
    NotListed,
    #[error("its host is listed without a port, which allows https only")]
    HttpsOnly,
    #[error("its host is not a public address")]
    NotPublic,
}

impl HostList {
    /// Allows nothing.
    pub fn none(scheme: Scheme) -> Self {
        Self { entries: vec![], scheme }
    }

    /// Comma-separated entries. An empty text allows nothing.
    pub fn parse(text: &str, scheme: Scheme) -> Result<Self, InvalidEntry> {
        let entries = text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(|entry| parse_entry(entry).ok_or_else(|| InvalidEntry(entry.to_owned())))
            .collect::<Result<_, _>>()?;
        Ok(Self { entries, scheme })
    }

    /// Puts the host and port of an address on the list that the operator named elsewhere.
    pub fn trust(&mut self, url: &str) {
        let Ok(url) = Url::parse(url) else { return };
        if let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) {
            self.entries.push(Entry::HostAndPort(host.to_owned(), port));
        }
    }

    /// The parsed address, and what it may resolve to.
    pub fn check(&self, text: &str) -> Result<(Url, Reach), Refusal> {
        let url = Url::parse(text).map_err(|_| Refusal::NotUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refusal::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::Credentials);
        }
        let host = url.host_str().ok_or(Refusal::NotUrl)?;
        let port = url.port_or_known_default().ok_or(Refusal::NotUrl)?;
        let with_port =
            |entry: &Entry| matches!(entry, Entry::HostAndPort(h, p) if h == host && *p == port);
        if self.entries.iter().any(with_port) {
            return Ok((url, Reach::Any));
        }
        if !self.entries.iter().any(|entry| entry.names(host)) {
            return Err(Refusal::NotListed);
        }
        match (url.scheme(), self.scheme) {
            ("https", _) | (_, Scheme::HttpToo) => {}
            (_, Scheme::HttpsOnly) => return Err(Refusal::HttpsOnly),
        }
        if url.port().is_some() {
            return Err(Refusal::NotListed);
        }
        if literal(host).is_some_and(|address| !is_public(address)) {
            return Err(Refusal::NotPublic);
        }
        Ok((url, Reach::Public))
    }
}

impl Entry {
    /// Whether this entry, being one without a port, covers `host`.
    fn names(&self, host: &str) -> bool {
        match self {
            Self::Host(name) => name == host,
            Self::Below(suffix) => {
                host.strip_suffix(suffix.as_str()).is_some_and(|label| !label.is_empty())
            }
            Self::HostAndPort(..) => false,
        }
    }
}

fn parse_entry(entry: &str) -> Option<Entry> {
    if let Some(domain) = entry.strip_prefix("*.") {
        let name = normal(domain)?;
        let is_name = literal(&name).is_none();
        return is_name.then(|| Entry::Below(format!(".{name}")));
    }
    // The port is what follows the last colon, unless that colon is part of an IPv6 address.
    match entry.rsplit_once(':') {
        Some((host, port)) if !entry.ends_with(']') => {
            let port = port.parse().ok().filter(|port| *port != 0)?;
            Some(Entry::HostAndPort(normal(host)?, port))
        }
        Some(_) | None => Some(Entry::Host(normal(entry)?)),
    }
}

/// A host as the URL standard writes it; `None` where the text holds anything else.
fn normal(host: &str) -> Option<String> {
    let url = Url::parse(&format!("https://{host}")).ok()?;
    let is_bare = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.port().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && !host.ends_with(['/', ':', '.']);
    let name = url.host_str()?;
    (is_bare && !name.contains('*')).then(|| name.to_owned())
}

fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

/// Whether an address belongs to the public internet: not to this machine, its network, its cloud's
/// metadata service, nor to a block set aside for special use.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || a == 10
        || a == 127
        || a >= 224 // multicast, reserved, broadcast
        || (a == 100 && (64..128).contains(&b)) // carrier-grade NAT; 100.100.100.200 is a cloud's metadata
        || (a == 169 && b == 254) // link-local; 169.254.169.254 is most clouds' metadata
        || (a == 172 && (16..32).contains(&b))
        || (a == 192 && b == 168)
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19 || (b == 51 && c == 100)))
        || (a == 203 && b == 0 && c == 113))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let tail = || {
        let [.., a, b, c, d] = address.octets();
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        [0, 0, 0, 0, 0, 0xffff, ..] => is_public_v4(tail()),
        // NAT64 reaches the IPv4 address it holds.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_public_v4(tail()),
        // 6to4, Teredo and other protocol assignments, documentation.
        [0x2002, ..] | [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, ..] => false,
        // Only this block is given out for the public internet.
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unwrap_in_result, reason = "a list that is no list is the test's own mistake")]
    fn check(list: &str, scheme: Scheme, url: &str) -> Result<Reach, Refusal> {
        let list = HostList::parse(list, scheme).expect("the test's list is valid");
        list.check(url).map(|(_, reach)| reach)
    }

    #[test]
    fn entries_without_a_port_allow_https_on_its_own_port_to_public_hosts() {
        use Refusal::{Credentials, HttpsOnly, NotListed, NotPublic, NotUrl};
        let list = "oapi.dingtalk.com,*.aliyuncs.com,8.8.8.8,127.0.0.1,[::1],[2606:4700::1111],bücher.example";
        let table: [(&str, Result<Reach, Refusal>); 37] = [
            ("https://oapi.dingtalk.com/robot/x?session=1", Ok(Reach::Public)),
            ("https://OAPI.DingTalk.com/", Ok(Reach::Public)),
            ("https://oapi.dingtalk.com:443/", Ok(Reach::Public)),
            ("http://oapi.dingtalk.com/", Err(HttpsOnly)),
            ("https://oapi.dingtalk.com:8443/", Err(NotListed)),
            ("https://oapi.dingtalk.com./", Err(NotListed)),
            ("https://api.dingtalk.com/", Err(NotListed)),
            ("https://xoapi.dingtalk.com/", Err(NotListed)),
            ("https://oapi.dingtalk.com.evil.com/", Err(NotListed)),
            ("https://oapi.dingtalk.com@evil.com/", Err(Credentials)),
            ("https://user:pass@oapi.dingtalk.com/", Err(Credentials)),
            ("https://evil.com/https://oapi.dingtalk.com/", Err(NotListed)),
            ("https://evil.com#@oapi.dingtalk.com/", Err(NotListed)),
            ("https://evil.com\\@oapi.dingtalk.com/", Err(NotListed)),
            ("https://oapi.dingtalk.com\\.evil.com/", Ok(Reach::Public)),
            ("https://a.aliyuncs.com/", Ok(Reach::Public)),
            ("https://a.b.aliyuncs.com/", Ok(Reach::Public)),
            ("https://aliyuncs.com/", Err(NotListed)),
            ("https://.aliyuncs.com/", Err(NotListed)),
            ("https://evilaliyuncs.com/", Err(NotListed)),
            ("https://8.8.8.8/", Ok(Reach::Public)),
            ("https://134744072/", Ok(Reach::Public)),
            ("https://127.0.0.1/", Err(NotPublic)),
            ("https://0x7f.1/", Err(NotPublic)),
            ("https://2130706433/", Err(NotPublic)),
            ("https://[::1]/", Err(NotPublic)),
            ("https://[::ffff:127.0.0.1]/", Err(NotListed)),
            ("https://[2606:4700::1111]/", Ok(Reach::Public)),
            ("https://[2606:4700:0:0::1111]/", Ok(Reach::Public)),
            ("https://bücher.example/", Ok(Reach::Public)),
            ("https://xn--bcher-kva.example/", Ok(Reach::Public)),
            ("https://BÜCHER.example/", Ok(Reach::Public)),
            ("https://оapi.dingtalk.com/", Err(NotListed)), // a Cyrillic o
            ("ftp://oapi.dingtalk.com/", Err(Refusal::Scheme)),
            ("file:///etc/passwd", Err(Refusal::Scheme)),
            ("//oapi.dingtalk.com/", Err(NotUrl)),
            ("", Err(NotUrl)),
        ];
        for (url, expected) in table {
            assert_eq!(check(list, Scheme::HttpsOnly, url), expected, "{url}");
        }
    }

    #[test]
    fn entries_with_a_port_allow_that_port_only_and_any_address() {
        use Refusal::{Credentials, NotListed};
        let list = "127.0.0.1:8090,[::1]:9000,localhost:443,Sim.Local:80";
        let table = [
            ("http://127.0.0.1:8090/x", Ok(Reach::Any)),
            ("https://127.0.0.1:8090/x", Ok(Reach::Any)),
            ("http://127.1:8090/x", Ok(Reach::Any)),
            ("http://127.0.0.1/", Err(NotListed)),
            ("http://127.0.0.1:8091/", Err(NotListed)),
            ("http://127.0.0.2:8090/", Err(NotListed)),
            ("http://a@127.0.0.1:8090/", Err(Credentials)),
            ("http://[::1]:9000/", Ok(Reach::Any)),
            ("http://[0:0:0:0:0:0:0:1]:9000/", Ok(Reach::Any)),
            ("https://localhost/", Ok(Reach::Any)),
            ("http://localhost:443/", Ok(Reach::Any)),
            ("http://localhost/", Err(NotListed)),
            ("http://sim.local/", Ok(Reach::Any)),
        ];
        for (url, expected) in table {
            assert_eq!(check(list, Scheme::HttpsOnly, url), expected, "{url}");
        }
    }

    #[test]
    fn downloads_may_be_http_but_stay_public_and_on_the_usual_ports() {
        let list = "*.aliyuncs.com";
        assert_eq!(check(list, Scheme::HttpToo, "http://a.aliyuncs.com/f"), Ok(Reach::Public));
        let refused = check(list, Scheme::HttpToo, "http://a.aliyuncs.com:8080/f");
        assert_eq!(refused, Err(Refusal::NotListed));
    }

    #[test]
    fn a_list_is_refused_where_an_entry_is_not_a_host() {
        for bad in [
            "a/b",
            "a:b",
            "a:0",
            "a:70000",
            "https://a",
            "*",
            "*.1.2.3.4",
            "a.*.b",
            "a b",
            "u@a",
            "a?",
            "a#x",
            "a.",
            "*.a:80",
            ":80",
            "[::1",
        ] {
            assert!(HostList::parse(bad, Scheme::HttpsOnly).is_err(), "{bad}");
        }
        let empty = HostList::parse(" , ", Scheme::HttpsOnly).unwrap();
        assert_eq!(empty.check("https://a/").map(|_| ()), Err(Refusal::NotListed));
    }

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        let public = [
            "8.8.8.8",
            "100.63.255.255",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "2606:4700::1111",
            "2400:3200::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
        ];
        let special = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "100::1",
            "3fff::1",
        ];
        for text in public {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
        for text in special {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
    }
}
