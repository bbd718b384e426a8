//! A small TCP proxy: a line between two processes that can be cut or fall silent, and a balancer in front
//! of several of them.
//!
//! Guarantees that a cut ends every connection and refuses new ones, and that silence keeps them all
//! and passes no byte, in neither direction, until the line is open again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dingtalk_trigger::context::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const BUFFER_BYTES: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    Open,
    Cut,
    Silent,
}

pub(crate) struct Proxy {
    address: SocketAddr,
    line: watch::Sender<Line>,
}

struct Behind {
    upstreams: Vec<String>,
    next: AtomicUsize,
}

impl Proxy {
    /// Each connection goes to the next of `upstreams` that takes it (`host:port`).
    pub(crate) async fn start(context: &Context, upstreams: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen as a proxy");
        let address = listener.local_addr().expect("a bound socket has an address");
        let line = watch::Sender::new(Line::Open);
        let behind = Arc::new(Behind { upstreams, next: AtomicUsize::new(0) });
        let (task, taken) = (context.clone(), line.subscribe());
        context.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = task.stop().cancelled() => return,
                };
                // One that is refused at once is simply gone.
                let Ok((socket, _)) = accepted else { continue };
                if *taken.borrow() == Line::Cut {
                    continue;
                }
                let (behind, line, stop) = (behind.clone(), taken.clone(), task.stop().clone());
                task.spawn(async move {
                    tokio::select! {
                        () = connect(socket, &behind, line) => {}
                        () = stop.cancelled() => {}
                    }
                });
            }
        });
        Self { address, line }
    }

    /// `host:port` of this end.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

async fn connect(socket: TcpStream, behind: &Behind, mut line: watch::Receiver<Line>) {
    // Whoever connects to a silent line waits.
    if !opened(&mut line).await {
        return;
    }
    let count = behind.upstreams.len();
    for _ in 0..count {
        let index = behind.next.fetch_add(1, Ordering::Relaxed) % count;
        let Ok(upstream) = TcpStream::connect(&behind.upstreams[index]).await else { continue };
        socket.set_nodelay(true).ok();
        upstream.set_nodelay(true).ok();
        let (from_client, to_client) = socket.into_split();
        let (from_server, to_server) = upstream.into_split();
        // The first direction that ends takes the other one with it, as the end of a process does.
        tokio::select! {
            () = pump(from_client, to_server, line.clone()) => {}
            () = pump(from_server, to_client, line) => {}
        }
        return;
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut line: watch::Receiver<Line>) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        // Cancel safe: a read that lost took nothing, and a change stays until it is seen.
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            changed = line.changed() => {
                if changed.is_err() || !opened(&mut line).await {
                    return;
                }
                continue;
            }
        };
        let Ok(count @ 1..) = read else { return };
        if !opened(&mut line).await || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Waits while the line is silent; false where it is cut.
async fn opened(line: &mut watch::Receiver<Line>) -> bool {
    let spoken = line.wait_for(|line| *line != Line::Silent).await;
    spoken.is_ok_and(|line| *line == Line::Open)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dingtalk_trigger::context::Clock;
    use tokio::time::timeout;

    use super::*;

    const SHORT: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_line_passes_bytes_falls_silent_and_is_cut() {
        let context = Context::new(Clock::system());
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let upstreams = vec![gone.to_string(), server.local_addr().unwrap().to_string()];
        let proxy = Proxy::start(&context, upstreams).await;
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        let (mut other, _) = server.accept().await.unwrap();
        let mut byte = [0];
        client.write_all(b"a").await.unwrap();
        timeout(LONG, other.read_exact(&mut byte)).await.unwrap().unwrap();
        proxy.set(Line::Silent);
        client.write_all(b"b").await.unwrap();
        assert!(timeout(SHORT, other.read_exact(&mut byte)).await.is_err(), "silent");
        proxy.set(Line::Open);
        timeout(LONG, other.read_exact(&mut byte)).await.unwrap().unwrap();
        assert_eq!(&byte, b"b", "what was said in silence arrives");
        proxy.set(Line::Cut);
        assert_eq!(timeout(LONG, other.read(&mut byte)).await.unwrap().unwrap_or(0), 0);
        let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(timeout(LONG, refused.read(&mut byte)).await.unwrap().unwrap_or(0), 0);
        context.finish(LONG).await;
    }
}
