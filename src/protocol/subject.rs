//! Subjects of our streams, and the derived ids that stand in them.
//!
//! DingTalk's ids are case-sensitive base64 and never go into a subject: a conversation is named by a hash.

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::id::{Conversation, ConversationKey, IntegrationId, Seq};

/// The session key of (integration, DingTalk conversation, sender). `sender` is `None` where a group
/// shares one conversation.
pub fn conversation(
    integration: &IntegrationId,
    conversation_id: &str,
    sender: Option<&str>,
) -> Conversation {
    let mut hash = Sha256::new();
    for part in [integration.as_str(), conversation_id, sender.unwrap_or("*")] {
        // The length goes first, so that no two triples are written alike.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let bytes = digest.first_chunk::<16>().copied().unwrap_or_default();
    let text = BASE32_NOPAD.encode(&bytes).to_ascii_lowercase();
    let key = ConversationKey::parse(&text).expect("base32 of 16 bytes is a key");
    Conversation { integration: integration.clone(), key }
}

/// The runtime's thread for a session: stable for the session key and the epoch.
pub fn thread_id(conversation: &Conversation, epoch: Seq) -> String {
    let name = format!("dingtalk-trigger:{conversation}:{epoch}");
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).to_string()
}
