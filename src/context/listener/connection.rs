//! One connection: hyper over a stream that tells its [`Watch`] what arrives and what is answered.
//!
//! Guarantees that the connection ends when it is told to, or when its last complete request of a process that
//! stops is answered. A client that is refused while it still sends sees its answer: the rest of what it sends is
//! thrown away for a moment before the connection is closed.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use super::phase::LINGER;
use super::roster::{Seat, Watch};

/// What a head may be at most, and what is read at a time.
const HEAD_MAX_BYTES: usize = 32 * 1024;
/// What is thrown away of a request that was refused.
const LINGER_MAX_BYTES: usize = 8 * 1024 * 1024;

pub(super) async fn serve<A>(stream: TcpStream, seat: Seat, app: A, stop: CancellationToken)
where
    A: Service<Request, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    let watch = seat.watch.clone();
    let stream = Stream {
        stream,
        watch: watch.clone(),
        is_stalled: false,
        linger: None,
        left: LINGER_MAX_BYTES,
    };
    let service = Served { app, watch: watch.clone() };
    let served = http1::Builder::new()
        .max_buf_size(HEAD_MAX_BYTES)
        .max_header_size(HEAD_MAX_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    let mut is_stopping = false;
    loop {
        tokio::select! {
            outcome = served.as_mut() => {
                if outcome.is_err_and(|error| error.is_parse_too_large()) {
                    seat.breached("head_bytes");
                }
                return;
            }
            () = watch.closed() => return,
            () = stop.cancelled(), if !is_stopping => {
                is_stopping = true;
                served.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The application as hyper calls it.
struct Served<A> {
    app: A,
    watch: Arc<Watch>,
}

impl<A> hyper::service::Service<hyper::Request<Incoming>> for Served<A>
where
    A: Service<Request, Response = Response, Error = Infallible> + Clone,
{
    type Response = hyper::Response<Answer>;
    type Error = Infallible;
    type Future = Answered<A::Future>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let has_body = !request.body().is_end_stream();
        self.watch.begun(has_body);
        let request = request.map(|body| match has_body {
            true => Body::new(Received { body, watch: self.watch.clone(), is_complete: false }),
            false => Body::empty(),
        });
        // Applications here are always ready: they are routers.
        Answered { answer: self.app.clone().call(request), watch: Some(self.watch.clone()) }
    }
}

pin_project_lite::pin_project! {
    /// The future of an answer.
    struct Answered<F> {
        #[pin]
        answer: F,
        watch: Option<Arc<Watch>>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for Answered<F> {
    type Output = Result<hyper::Response<Answer>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(response) = ready!(this.answer.poll(context));
        let watch = this.watch.take();
        Poll::Ready(Ok(response.map(|body| Answer { body, watch })))
    }
}

/// The body of a request; it tells when it is complete, or given up.
struct Received {
    body: Incoming,
    watch: Arc<Watch>,
    is_complete: bool,
}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if !self.is_complete && (frame.is_none() || self.body.is_end_stream()) {
            self.is_complete = true;
            self.watch.complete();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if !self.is_complete {
            self.watch.refused();
        }
    }
}

/// The body of an answer; it tells when hyper has all of it.
struct Answer {
    body: Body,
    watch: Option<Arc<Watch>>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.answered();
        }
    }
}

/// The stream below hyper.
struct Stream {
    stream: TcpStream,
    watch: Arc<Watch>,
    is_stalled: bool,
    /// Ends what is thrown away at the end, as does the number of bytes that is left.
    linger: Option<Pin<Box<Sleep>>>,
    left: usize,
}

impl Stream {
    fn noted<T>(&mut self, written: Poll<T>) -> Poll<T> {
        if written.is_pending() != self.is_stalled {
            self.is_stalled = !self.is_stalled;
            self.watch.stalled(self.is_stalled);
        }
        written
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if buffer.filled().len() > before {
            self.watch.received();
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.noted(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        if self.linger.is_none() {
            if !self.watch.lingers() {
                return Poll::Ready(Ok(()));
            }
            self.linger = Some(Box::pin(sleep(LINGER)));
        }
        if self.linger.as_mut().is_some_and(|linger| linger.as_mut().poll(context).is_ready()) {
            return Poll::Ready(Ok(()));
        }
        // Closing with unread bytes makes the system cut the connection, and the client may lose its answer.
        let mut waste = [0; 4096];
        while self.left > 0 {
            let mut buffer = ReadBuf::new(&mut waste);
            let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
            let count = buffer.filled().len();
            if read.is_err() || count == 0 {
                break;
            }
            self.left = self.left.saturating_sub(count);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
