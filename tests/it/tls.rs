//! Over TLS: DingTalk's API, its sockets and its session webhooks, behind a certificate that only the
//! system's trust store knows, which `SSL_CERT_FILE` names here.
//!
//! The certificate is made by the test; a proxy ends TLS before the simulated cloud.

use std::sync::Arc;

use dingtalk_trigger::sim::dingtalk::app::App;
use dingtalk_trigger::sim::dingtalk::message::Say;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tempfile::TempDir;
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
