//! Reading a request's body up to the limit.
//!
//! What is over the limit is read and thrown away for a moment: a sender that is cut off while it still
//! writes sees a broken connection instead of the answer.

use std::time::Duration;

use axum::body::Body;
use futures_util::StreamExt;

use super::refusal::Refusal;
use crate::protocol::callback;

/// How much more than the limit is read for the sender's sake, and for how long.
const LINGER_FACTOR: usize = 8;
const LINGER: Duration = Duration::from_millis(500);

pub async fn read(body: Body, max_bytes: usize) -> Result<Vec<u8>, Refusal> {
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| callback::Error::Malformed("the body"))?;
        if bytes.len() + chunk.len() > max_bytes {
            let mut left = max_bytes.saturating_mul(LINGER_FACTOR);
            let linger = async {
                while let Some(Ok(chunk)) = stream.next().await
                    && chunk.len() < left
                {
                    left -= chunk.len();
                }
            };
            // Enough was read or enough time has passed: either way the answer is the same.
            tokio::time::timeout(LINGER, linger).await.ok();
            let message = format!("the body has more than DT_BODY_MAX_BYTES = {max_bytes} bytes");
            return Err(Refusal::too_large(message));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
