//! Over TLS: DingTalk's API, its sockets and its session webhooks, behind a certificate that only the
//! system's trust store knows, which `SSL_CERT_FILE` names here.
//!
//! The certificate is made by the test; a proxy ends TLS before the simulated cloud.

use std::sync::{Arc, Mutex};

use dingtalk_trigger::sim::dingtalk::app::App;
use dingtalk_trigger::sim::dingtalk::message::Say;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::outside::Outside;
use crate::support::program::free_port;
use crate::support::service::{Service, echo};

/// The cloud as the world reaches it, and the certificate that it shows.
struct Cloud {
    outside: Outside,
    certificate: TempDir,
}

impl Cloud {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind a port");
        let port = listener.local_addr().expect("a bound port has an address").port();
        let address = format!("127.0.0.1:{}", free_port());
        let outside = Outside::behind(Some(format!("https://localhost:{port}")), &address).await;
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a key");
        let certificate = TempDir::new().expect("create a directory");
        std::fs::write(certificate.path().join("ca.pem"), made.cert.pem()).expect("write it");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the protocols")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("the key is the certificate's");
        spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), address));
        Self { outside, certificate }
    }

    fn trust(&self) -> String {
        self.certificate.path().join("ca.pem").display().to_string()
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, address: String) {
    loop {
        let (socket, _) = listener.accept().await.expect("accept");
        let (acceptor, address) = (acceptor.clone(), address.clone());
        spawn(async move {
            // A client that does not trust us ends here.
            let Ok(mut outer) = acceptor.accept(socket).await else { return };
            let mut inner = TcpStream::connect(address).await.expect("reach the cloud");
            tokio::io::copy_bidirectional(&mut outer, &mut inner).await.ok();
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}

#[tokio::test]
async fn messages_come_and_go_over_tls_where_the_system_trusts_the_certificate() {
    let cloud = Cloud::start().await;
    let trust = cloud.trust();
    let service = Service::start_with(&cloud.outside, &[("SSL_CERT_FILE", &trust)]).await;
    service.stream_robot(&cloud.outside, "robot").await;
    service.admin().publish("expert", "robot", &json!({ "runtime": echo() })).await;
    // The socket, the session webhook of the answer, and the API that a direct message is sent by.
    cloud.outside.ask(Say::direct("robot", "ann", "over TLS"), "over TLS").await;
    service.finish().await;
}

#[tokio::test]
async fn a_certificate_that_nobody_trusts_is_refused_and_said_so() {
    let cloud = Cloud::start().await;
    let service = Service::start(&cloud.outside).await;
    cloud.outside.cloud.put_app(App::stream("robot", "app-secret"));
    service.admin().integrate(&json!({ "id": "robot", "mode": "stream" })).await;
    let path = "/api/integrations/robot/test";
    let (_, tested) = service.admin().call("POST", path, &Value::Null).await;
    assert_eq!(tested["ok"], false, "{tested}");
    assert!(tested.to_string().contains("certificate"), "{tested}");
    assert_eq!(cloud.outside.cloud.connections("robot"), 0);
    service.finish().await;
}

/// A forward proxy that opens tunnels, and where they led.
async fn forward(listener: TcpListener, asked: Arc<Mutex<Vec<String>>>) {
    loop {
        let (mut socket, _) = listener.accept().await.expect("accept");
        let asked = Arc::clone(&asked);
        spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = socket.read_u8().await else { return };
                head.push(byte);
            }
            let head = String::from_utf8(head).expect("a head");
            let target = head.split(' ').nth(1).expect("a target").to_owned();
            let mut inner = TcpStream::connect(&target).await.expect("reach the target");
            asked.lock().expect("no panic").push(target);
            let opened = b"HTTP/1.1 200 Connection established\r\n\r\n";
            socket.write_all(opened).await.expect("answer");
            tokio::io::copy_bidirectional(&mut socket, &mut inner).await.ok();
        });
    }
}

#[tokio::test]
async fn the_api_and_the_sockets_go_through_the_proxy_and_session_webhooks_do_not() {
    let cloud = Cloud::start().await;
    let trust = cloud.trust();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind a port");
    let proxy = format!("http://{}", listener.local_addr().expect("a bound port has an address"));
    let asked = Arc::new(Mutex::new(vec![]));
    spawn(forward(listener, Arc::clone(&asked)));
    let count = || asked.lock().expect("no panic").len();
    let settings = [("SSL_CERT_FILE", trust.as_str()), ("HTTPS_PROXY", proxy.as_str())];
    let service = Service::start_with(&cloud.outside, &settings).await;
    service.stream_robot(&cloud.outside, "robot").await;
    // The gateway's API and the socket that it names.
    assert!(count() >= 2, "{:?}", asked.lock().expect("no panic"));
    service.admin().publish("expert", "robot", &json!({ "runtime": echo() })).await;
    let before = count();
    let reply = cloud.outside.ask(Say::direct("robot", "ann", "by the webhook"), "webhook").await;
    assert_eq!((reply.detail.as_str(), count()), ("webhook", before), "directly");
    let mut say = Say::direct("robot", "bob", "by the API");
    let past = cloud.outside.now_ms() - 60_000;
    say.extra.insert("sessionWebhookExpiredTime".to_owned(), json!(past));
    let reply = cloud.outside.ask(say, "API").await;
    // A connection of before may serve it.
    assert_eq!(reply.detail, "oto");
    let led = asked.lock().expect("no panic").clone();
    assert!(led.iter().all(|target| target.starts_with("localhost:")), "{led:?}");
    service.finish().await;
}
