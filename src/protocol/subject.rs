//! Subjects of our streams, and the derived ids that stand in them.
//!
//! DingTalk's ids are case-sensitive base64 and never go into a subject: a conversation is named by a hash.

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::id::{Conversation, ConversationKey, ExpertId, IntegrationId, Seq};

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
    let mut text = BASE32_NOPAD.encode(&bytes);
    text.make_ascii_lowercase();
    let key = ConversationKey::parse(&text).expect("base32 of 16 bytes is a key");
    Conversation { integration: integration.clone(), key }
}

/// The runtime's thread for a session: stable for the session key and the epoch.
pub fn thread_id(conversation: &Conversation, epoch: Seq) -> String {
    let name = format!("dingtalk-trigger:{conversation}:{epoch}");
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).to_string()
}

/// `dt.in.<integration>.<conversation>`: the log.
pub fn log(conversation: &Conversation) -> String {
    format!("dt.in.{conversation}")
}

/// Under the log's subjects, and no conversation's: an entry that only uses up a sequence.
pub const BLANK: &str = "dt.in._.blank";

/// `dt.timer.<integration>.<conversation>.<purpose>`: one purpose and one time each.
pub fn timer(conversation: &Conversation, purpose: &str) -> String {
    format!("dt.timer.{conversation}.{purpose}")
}

/// `dt.due.<integration>.<conversation>`: where a timer fires.
pub fn due(conversation: &Conversation) -> String {
    format!("dt.due.{conversation}")
}

/// `dt.run.<integration>.<conversation>`: the slot.
pub fn slot(conversation: &Conversation) -> String {
    format!("dt.run.{conversation}")
}

/// `dt.journal.<integration>.<conversation>`.
pub fn journal(conversation: &Conversation) -> String {
    format!("dt.journal.{conversation}")
}

/// `dt.handoff.<expert>.<integration>.<conversation>`.
pub fn handoff(expert: &ExpertId, conversation: &Conversation) -> String {
    format!("dt.handoff.{expert}.{conversation}")
}

/// `dt.dead.<stage>.<integration>.<conversation>`.
pub fn dead(stage: &str, conversation: &Conversation) -> String {
    format!("dt.dead.{stage}.{conversation}")
}

/// `dt.control.<integration>.<conversation>`: a core hint that a control entry was logged.
pub fn control(conversation: &Conversation) -> String {
    format!("dt.control.{conversation}")
}

/// `dt.woken.<worker>.<integration>.<conversation>`: a core hint to the worker that woke a conversation: it
/// runs elsewhere.
pub fn woken(worker: &str, conversation: &Conversation) -> String {
    format!("dt.woken.{worker}.{conversation}")
}

/// The conversation that a subject of ours names in its third and fourth token, or in its fourth and
/// fifth where something stands before it.
pub fn conversation_of(subject: &str) -> Option<Conversation> {
    let mut tokens = subject.split('.').skip(1);
    if matches!(tokens.next()?, "handoff" | "dead" | "woken") {
        tokens.next()?;
    }
    let integration = IntegrationId::parse(tokens.next()?).ok()?;
    let key = ConversationKey::parse(tokens.next()?).ok()?;
    Some(Conversation { integration, key })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn robot() -> IntegrationId {
        IntegrationId::parse("robot-1").unwrap()
    }

    #[test]
    fn a_conversation_is_named_by_a_hash_that_never_changes() {
        let private = conversation(&robot(), "cid+/A==", Some("$:LWCP_v1:$x"));
        assert_eq!(private.to_string(), "robot-1.6nyjkvtus3vinq3fdlv55tch3q");
        assert_ne!(private, conversation(&robot(), "cid+/a==", Some("$:LWCP_v1:$x")));
        assert_ne!(private, conversation(&robot(), "cid+/A==", None));
    }

    #[test]
    fn every_subject_names_its_conversation() {
        let conversation = conversation(&robot(), "cid", None);
        let expert = ExpertId::parse("expert").unwrap();
        for subject in [
            log(&conversation),
            timer(&conversation, "7b1"),
            due(&conversation),
            slot(&conversation),
            journal(&conversation),
            handoff(&expert, &conversation),
            dead("dispatch", &conversation),
            woken("1f", &conversation),
        ] {
            assert_eq!(conversation_of(&subject).as_ref(), Some(&conversation), "{subject}");
        }
        assert_eq!(conversation_of("dt.in"), None);
        assert_eq!(conversation_of(BLANK), None);
    }

    #[test]
    fn a_thread_is_stable_for_its_session() {
        let conversation = conversation(&robot(), "cid", None);
        assert_eq!(thread_id(&conversation, Seq(1)), thread_id(&conversation, Seq(1)));
        assert_ne!(thread_id(&conversation, Seq(1)), thread_id(&conversation, Seq(2)));
    }
}
