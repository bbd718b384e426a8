//! Reading the body of a request: up to a limit, and only a few large ones at once.
//!
//! Guarantees that a stranger's body costs little memory until one of a few readers is free for it, and that a body
//! in one piece is not copied. How long it may take is the listener's limit and the caller's deadline.

use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Up to here every connection may send; what is longer needs a reader.
const SMALL_MAX_BYTES: usize = 64 * 1024;
/// Large bodies that one process reads at once.
const READERS_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the body has more than {0} bytes")]
    TooLarge(usize),
    #[error("the body could not be read to its end")]
    Broken,
}

/// Those who read large bodies. Cheap to clone; all clones are the same few.
#[derive(Debug, Clone)]
pub struct Readers(Arc<Semaphore>);

impl Default for Readers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(READERS_MAX)))
    }
}

/// A body, and its reader if it has one.
#[derive(Debug)]
pub struct Held {
    pub bytes: Bytes,
    _reader: Option<OwnedSemaphorePermit>,
}

impl Readers {
    /// Waits for a reader where the body is large.
    pub async fn read(&self, mut body: Body, max_bytes: usize) -> Result<Held, Error> {
        let (mut first, mut all, mut reader) = (Bytes::new(), BytesMut::new(), None);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Error::Broken)?.into_data() else { continue };
            let length = first.len() + all.len() + data.len();
            if length > max_bytes {
                return Err(Error::TooLarge(max_bytes));
            }
            if first.is_empty() && all.is_empty() {
                first = data;
                continue;
            }
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
            if length > SMALL_MAX_BYTES && reader.is_none() {
                reader = Some(self.0.clone().acquire_owned().await.map_err(|_| Error::Broken)?);
            }
        }
        let bytes = if all.is_empty() { first } else { all.freeze() };
        Ok(Held { bytes, _reader: reader })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::stream;

    use super::*;

    fn body(sizes: &[usize]) -> Body {
        let pieces: Vec<_> =
            sizes.iter().map(|size| Ok::<_, Error>(Bytes::from(vec![b'x'; *size]))).collect();
        Body::from_stream(stream::iter(pieces))
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        let cases: [(&[usize], Result<usize, Error>); 6] = [
            (&[], Ok(0)),
            (&[10], Ok(10)),
            (&[5, 5], Ok(10)),
            (&[11], Err(Error::TooLarge(10))),
            (&[5, 6], Err(Error::TooLarge(10))),
            (&[0, 3, 0, 3], Ok(6)),
        ];
        for (sizes, expected) in cases {
            let held = Readers::default().read(body(sizes), 10).await;
            assert_eq!(held.map(|held| held.bytes.len()), expected, "{sizes:?}");
        }
    }

    #[tokio::test]
    async fn only_so_many_large_bodies_are_held_at_once_and_small_ones_always() {
        let readers = Readers::default();
        let large = [SMALL_MAX_BYTES, SMALL_MAX_BYTES];
        let mut held = vec![];
        for _ in 0..READERS_MAX {
            held.push(readers.read(body(&large), usize::MAX).await.unwrap());
        }
        assert!(readers.read(body(&large), usize::MAX).now_or_never().is_none());
        assert!(readers.read(body(&[5, 5]), usize::MAX).now_or_never().is_some());
        held.pop();
        assert!(readers.read(body(&large), usize::MAX).now_or_never().is_some());
    }
}
