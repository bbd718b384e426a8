//! Who a client of the broker is: user and password, or a token, from settings or from the address.
//!
//! The client's library connects to an address that holds a password, and leaves the password out. So both are
//! taken apart here. Nothing here prints a secret.

use async_nats::{ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;

use crate::domain::secret::Secret;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Login {
    #[default]
    Anonymous,
    User {
        user: Secret,
        password: Secret,
    },
    Token(Secret),
}

impl Login {
    /// What `options` say to the broker.
    pub fn apply(&self, options: ConnectOptions) -> ConnectOptions {
        match self {
            Self::Anonymous => options,
            Self::User { user, password } => {
                options.user_and_password(user.expose().to_owned(), password.expose().to_owned())
            }
            Self::Token(token) => options.token(token.expose().to_owned()),
        }
    }
}

/// The addresses in `urls`, with commas between, and the first login that one of them holds: `user:password@`
/// or `token@`.
pub fn addresses(urls: &str) -> Result<(Vec<ServerAddr>, Login), &'static str> {
    let (mut list, mut found) = (vec![], Login::Anonymous);
    for url in urls.split(',') {
        let address: ServerAddr = url.trim().parse().map_err(|_| "is no address of a broker")?;
        let mut bare = address.into_inner();
        let plain = |part: &str| Secret::new(percent_decode_str(part).decode_utf8_lossy());
        let held = match (bare.username(), bare.password()) {
            ("", None) => Login::Anonymous,
            (user, Some(password)) => Login::User { user: plain(user), password: plain(password) },
            (token, None) => Login::Token(plain(token)),
        };
        if found == Login::Anonymous {
            found = held;
        }
        let is_bare = bare.set_username("").is_ok() && bare.set_password(None).is_ok();
        if !is_bare {
            return Err("is an address that can hold no login");
        }
        list.push(ServerAddr::from_url(bare).map_err(|_| "is no address of a broker")?);
    }
    Ok((list, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(user: &str, password: &str) -> Login {
        Login::User { user: Secret::new(user), password: Secret::new(password) }
    }

    #[test]
    fn a_login_is_taken_out_of_the_address() {
        for (urls, hosts, login) in [
            ("nats://a:1", vec!["nats://a:1"], Login::Anonymous),
            ("a:1, nats://b", vec!["nats://a:1", "nats://b"], Login::Anonymous),
            ("nats://ann:pw@a:1", vec!["nats://a:1"], user("ann", "pw")),
            (
                "nats://a:1,nats://ann:p%40w@b:2",
                vec!["nats://a:1", "nats://b:2"],
                user("ann", "p@w"),
            ),
            ("tls://t0ken@a:1", vec!["tls://a:1"], Login::Token(Secret::new("t0ken"))),
        ] {
            let (found, held) = addresses(urls).unwrap();
            let found: Vec<_> = found.iter().map(ServerAddr::as_url_str).collect();
            assert_eq!((found, held), (hosts, login), "{urls}");
        }
        assert!(addresses("nats://me:secret@[broker").is_err());
    }
}
