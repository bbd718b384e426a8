//! Taking messages out of a stream, by sequence or by subject.
//!
//! What is gone already is no error, so both may be repeated. Which messages may go is decided by
//! whoever calls.

use serde_json::{Value, json};

use super::{Error, Nats};
use crate::domain::id::Seq;

impl Nats {
    /// Gone afterwards, also where it was gone before.
    pub async fn delete(&self, stream: &str, seq: Seq) -> Result<(), Error> {
        let question = json!({ "seq": seq.0, "no_erase": true });
        let deleted = self.api::<_, Value>(&format!("STREAM.MSG.DELETE.{stream}"), &question).await;
        match deleted {
            // 10043 and 10057 say that there is no such message.
            Ok(_) | Err(Error::Refused { code: 10037 | 10043 | 10057, .. }) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Everything that `filter` names: a JetStream purge request.
    pub async fn purge(&self, stream: &str, filter: &Value) -> Result<(), Error> {
        self.api::<_, Value>(&format!("STREAM.PURGE.{stream}"), filter).await.map(|_| ())
    }
}
