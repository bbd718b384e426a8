//! A broker with a password or a token lets us in, by the address or by settings, and no one else.

use std::time::Duration;

use dingtalk_trigger::context::{Clock, Context};
use dingtalk_trigger::domain::secret::Secret;
use dingtalk_trigger::io::nats::login::Login;
use dingtalk_trigger::io::nats::{Config, Nats};
use tempfile::TempDir;

use crate::support::logs::Logs;
use crate::support::server::Server;
use crate::support::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(10);

async fn is_let_in(url: &str, login: Login) -> bool {
    let context = Context::new(Clock::system());
    let request_timeout = Duration::from_secs(2);
    let name = "login".to_owned();
    let config = Config { url: url.to_owned(), credentials: None, login, name, request_timeout };
    assert!(!format!("{config:?}").contains("p@ss"), "{config:?}");
    let nats = Nats::connect(&context, &config).await.expect("the settings are right");
    let answer = nats.client().flush();
    let flushed = tokio::time::timeout(Duration::from_secs(2), answer).await;
    let is_in = matches!(flushed, Ok(Ok(()))) && nats.connected_for() > Duration::ZERO;
    context.finish(LIMIT).await;
    is_in
}

async fn server(line: &str) -> (TempDir, Server, String) {
    let directory = TempDir::new().expect("make a directory");
    let arguments = ["-p", "-1"].map(ToOwned::to_owned);
    let mut server = Server::new(directory.path(), &arguments).configured(line);
    server.start();
    let url = server.url().await;
    (directory, server, url)
}

#[tokio::test]
async fn a_broker_with_a_password_takes_it_from_the_address_or_the_settings() {
    let _logs = Logs::watch();
    let (_directory, _server, url) =
        server(r#"authorization { user: ann, password: "p@ss" }"#).await;
    let named =
        |password: &str| Login::User { user: Secret::new("ann"), password: Secret::new(password) };
    let within = url.replace("://", "://ann:p%40ss@");
    wait_until("the broker answers", LIMIT, async || is_let_in(&within, Login::Anonymous).await)
        .await;
    assert!(is_let_in(&url, named("p@ss")).await);
    assert!(!is_let_in(&url, Login::Anonymous).await);
    assert!(!is_let_in(&within, named("guess")).await, "settings count for more");
}

#[tokio::test]
async fn a_broker_with_a_token_takes_it_from_the_address_or_the_settings() {
    let _logs = Logs::watch();
    let (_directory, _server, url) = server(r#"authorization { token: "t0ken" }"#).await;
    let within = url.replace("://", "://t0ken@");
    wait_until("the broker answers", LIMIT, async || is_let_in(&within, Login::Anonymous).await)
        .await;
    assert!(is_let_in(&url, Login::Token(Secret::new("t0ken"))).await);
    assert!(!is_let_in(&url, Login::Token(Secret::new("guess"))).await);
}
