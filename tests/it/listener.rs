//! The listener over real sockets: what a client may keep, and for how long.
//!
//! The application here answers at once, after the body, or when it is let go; no limit is its own.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::routing::{get, post};
use dingtalk_trigger::context::listener::{self, Limits};
use dingtalk_trigger::context::{Clock, Context};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::support::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(20);
const HEAD: Duration = Duration::from_millis(600);
const RECEIVE: Duration = Duration::from_millis(1500);
const IDLE: Duration = Duration::from_secs(3);
const GET: &str = "GET /now HTTP/1.1\r\nHost: a\r\n\r\n";

struct Bench {
    context: Context,
    address: std::net::SocketAddr,
    /// Lets one request to `/later` be answered.
    go: Arc<Notify>,
    /// A request to `/later` is here.
    arrived: Arc<Notify>,
}

impl Bench {
    async fn start(connections_max: usize) -> Self {
        let context = Context::new(Clock::system());
        let (go, arrived) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let later = {
            let (go, arrived) = (go.clone(), arrived.clone());
            async move || {
                arrived.notify_one();
                go.notified().await;
                "later"
            }
        };
        let app = Router::new()
            .route("/now", get(async || "now"))
            .route("/later", get(later))
            .route("/body", post(async |body: Bytes| body.len().to_string()))
            .route("/refused", post(async |_: Request| StatusCode::UNAUTHORIZED));
        let config = listener::Config {
            address: "127.0.0.1:0".to_owned(),
            limits: Limits {
                connections_max,
                head_timeout: HEAD,
                receive_timeout: RECEIVE,
                idle_timeout: IDLE,
            },
        };
        let address = listener::serve(&context, &config, app, "test").await.expect("listen");
        Self { context, address, go, arrived }
    }

    async fn open(&self, bytes: &str) -> Client {
        let mut stream = TcpStream::connect(self.address).await.expect("connect");
        stream.write_all(bytes.as_bytes()).await.expect("write");
        Client { stream, opened: Instant::now() }
    }

    fn breaches(&self, limit: &str) -> u64 {
        let metrics = self.context.metrics.render();
        let name = format!("dt_limit_breaches_total{{limit=\"{limit}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(0, |count| count.parse().expect("a count"))
    }
}

struct Client {
    stream: TcpStream,
    opened: Instant,
}

impl Client {
    async fn send(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).await.expect("write");
    }

    /// What comes until there is `until` in it, or the end.
    async fn hears(&mut self, until: &str) -> String {
        let mut heard = Vec::new();
        let read = async {
            while !String::from_utf8_lossy(&heard).contains(until) {
                match self.stream.read_buf(&mut heard).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
        };
        timeout(LIMIT, read).await.expect("an answer or the end in time");
        String::from_utf8_lossy(&heard).into_owned()
    }

    /// Waits until the other side closes it; after how long since it was opened.
    async fn closed(&mut self) -> Duration {
        let rest = self.hears("\0").await;
        assert!(rest.is_empty(), "no answer was expected: {rest}");
        self.opened.elapsed()
    }

    async fn is_open(&mut self) -> bool {
        let mut byte = [0];
        timeout(Duration::from_millis(50), self.stream.read(&mut byte)).await.is_err()
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_is_closed_after_its_time() {
    let bench = Bench::start(10).await;
    for begin in ["", "G", "GET /now HTTP/1.1\r\nHost: a\r\n"] {
        let took = bench.open(begin).await.closed().await;
        assert!(took >= HEAD && took < IDLE, "{begin:?}: {took:?}");
    }
    // Bytes that trickle in change nothing.
    let mut client = bench.open("GET /now HTTP/1.1\r\n").await;
    while client.stream.write_all(b"a: b\r\n").await.is_ok() && client.opened.elapsed() < LIMIT {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(client.opened.elapsed() < IDLE, "{:?}", client.opened.elapsed());
    wait_until("the breaches are counted", LIMIT, async || bench.breaches("head_seconds") == 4)
        .await;
}

#[tokio::test]
async fn a_body_that_does_not_end_is_closed_after_its_time() {
    let bench = Bench::start(10).await;
    for (begin, drop) in [
        ("POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n", "x"),
        ("POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
    ] {
        let mut client = bench.open(begin).await;
        while client.stream.write_all(drop.as_bytes()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(client.opened.elapsed() < LIMIT, "still open");
        }
        let took = client.opened.elapsed();
        assert!(took >= RECEIVE && took < LIMIT, "{took:?}");
    }
    assert_eq!(bench.breaches("receive_seconds"), 2);
}

#[tokio::test]
async fn an_idle_connection_is_kept_for_longer_than_a_head_may_take_and_not_for_ever() {
    let bench = Bench::start(10).await;
    let mut client = bench.open(GET).await;
    assert!(client.hears("now").await.contains("200 OK"));
    tokio::time::sleep(HEAD * 2).await;
    client.send(GET).await;
    assert!(client.hears("now").await.contains("200 OK"));
    client.opened = Instant::now();
    let took = client.closed().await;
    assert!(took >= IDLE && took < LIMIT, "{took:?}");
    assert_eq!(bench.breaches("head_seconds"), 0, "the end of an idle connection is ordinary");
}

#[tokio::test]
async fn an_answer_may_take_longer_than_a_request() {
    let bench = Bench::start(10).await;
    let mut client = bench.open("GET /later HTTP/1.1\r\nHost: a\r\n\r\n").await;
    bench.arrived.notified().await;
    tokio::time::sleep(RECEIVE + HEAD).await;
    bench.go.notify_one();
    assert!(client.hears("later").await.contains("200 OK"));
}

#[tokio::test]
async fn above_the_cap_the_oldest_idle_connection_goes_and_never_one_that_is_being_answered() {
    let bench = Bench::start(3).await;
    let later = "GET /later HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut busy = bench.open(later).await;
    bench.arrived.notified().await;
    let mut old = bench.open(GET).await;
    old.hears("now").await;
    let mut young = bench.open(GET).await;
    young.hears("now").await;
    let mut new = bench.open(GET).await;
    assert!(new.hears("now").await.contains("200 OK"), "a new one has a seat");
    old.closed().await;
    assert!(young.is_open().await && busy.is_open().await, "the younger and the busy one stay");
    assert_eq!(bench.breaches("connections"), 1);
    // With nothing left but answers in the making, the new one has to go.
    for client in [&mut young, &mut new] {
        client.send(later).await;
        bench.arrived.notified().await;
    }
    bench.open("").await.closed().await;
    for _ in 0..3 {
        bench.go.notify_one();
        tokio::task::yield_now().await;
    }
    bench.go.notify_waiters();
    assert!(busy.hears("later").await.contains("200 OK"));
}

#[tokio::test]
async fn a_flood_of_heads_without_end_leaves_room_for_a_request() {
    let bench = Bench::start(8).await;
    let mut flood = vec![];
    for _ in 0..8 {
        flood.push(bench.open("GET /now HTTP/1.1\r\n").await);
    }
    let served = async || bench.open(GET).await.hears("now").await.contains("200 OK");
    wait_until("a request is answered beside the flood", LIMIT, served).await;
}

#[tokio::test]
async fn a_head_above_its_size_is_refused_and_counted() {
    let bench = Bench::start(10).await;
    let line = "x".repeat(1000);
    let head: String = (0..40).map(|number| format!("a{number}: {line}\r\n")).collect();
    let mut client = bench.open(&format!("GET /now HTTP/1.1\r\n{head}\r\n")).await;
    let heard = client.hears("\0").await;
    assert!(heard.starts_with("HTTP/1.1 431"), "{heard}");
    wait_until("the breach is counted", LIMIT, async || bench.breaches("head_bytes") == 1).await;
}

#[tokio::test]
async fn an_early_refusal_reaches_a_client_that_still_sends() {
    let bench = Bench::start(10).await;
    let length = 4 << 20;
    let head = format!("POST /refused HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    // It waits for the answer before it has sent a byte of the body.
    let mut patient = bench.open(&head).await;
    assert!(patient.hears("\r\n\r\n").await.starts_with("HTTP/1.1 401"));
    // It sends all of it before it looks at the answer.
    let mut hasty = bench.open(&head).await;
    hasty.send(&"x".repeat(length)).await;
    assert!(hasty.hears("\r\n\r\n").await.starts_with("HTTP/1.1 401"));
    // It never ends: the connection is closed although it goes on.
    let mut endless = bench.open(&head).await;
    while endless.stream.write_all(b"x").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(endless.opened.elapsed() < LIMIT, "still open");
    }
}

#[tokio::test]
async fn a_stop_closes_incomplete_requests_and_answers_complete_ones() {
    let bench = Bench::start(10).await;
    let mut answered = bench.open("GET /later HTTP/1.1\r\nHost: a\r\n\r\n").await;
    bench.arrived.notified().await;
    let mut idle = bench.open(GET).await;
    idle.hears("now").await;
    let body = "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    let mut slow = [bench.open("").await, bench.open("GET ").await, bench.open(body).await];
    let stopped = Instant::now();
    let seen = async {
        idle.closed().await;
        for client in &mut slow {
            client.closed().await;
        }
        assert!(stopped.elapsed() < Duration::from_millis(2500), "{:?}", stopped.elapsed());
        bench.go.notify_one();
        assert!(answered.hears("later").await.contains("200 OK"));
    };
    let (has_ended, ()) = tokio::join!(bench.context.finish(LIMIT), seen);
    assert!(has_ended, "everything ends");
    assert!(stopped.elapsed() < LIMIT / 2, "{:?}", stopped.elapsed());
}
