//! Reading a request's body up to the limit.
//!
//! What is over the limit is read and thrown away for a moment: a sender that is cut off while it still
//! writes sees a broken connection instead of the answer. A body that comes in one piece is not copied.

use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::StreamExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::refusal::Refusal;
use crate::protocol::callback;

/// How much more than the limit is read for the sender's sake, and for how long.
const LINGER_FACTOR: usize = 8;
const LINGER: Duration = Duration::from_millis(500);

pub async fn read(mut body: Body, max_bytes: usize) -> Result<Bytes, Refusal> {
    match Limited::new(&mut body, max_bytes).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Box::pin(linger(body, max_bytes.saturating_mul(LINGER_FACTOR))).await;
            let message = format!("the body has more than DT_BODY_MAX_BYTES = {max_bytes} bytes");
            Err(Refusal::too_large(message))
        }
        Err(_) => Err(callback::Error::Malformed("the body").into()),
    }
}

/// Ends when enough was read or enough time has passed: either way the answer is the same.
async fn linger(body: Body, mut bytes_left: usize) {
    let mut stream = body.into_data_stream();
    let rest = async {
        while let Some(Ok(chunk)) = stream.next().await
            && chunk.len() < bytes_left
        {
            bytes_left -= chunk.len();
        }
    };
    tokio::time::timeout(LINGER, rest).await.ok();
}
