//! Why a turn was buried: the one taxonomy of dead letters, metrics and the admin API.
//!
//! Its words are stored and shown, so one that was ever written is never renamed. Which failure is
//! which reason is decided where it happens.

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// No release can read the entry.
    Decode,
    /// No trigger binds the integration to an expert.
    Unbound,
    /// The runtime refused the turn for good.
    RuntimePermanent,
    /// The runtime failed at every attempt.
    RuntimeExhausted,
    /// The runtime was still silent at the last attempt's time limit.
    RuntimeTimeout,
    /// DingTalk refused the answer for good.
    ReplyPermanent,
    /// DingTalk failed at every attempt.
    ReplyExhausted,
    /// The expert stayed away longer than the hand-off may wait.
    HandoffExpired,
    /// A limit of the service was exceeded.
    Limit,
    /// The entry grew older than the log keeps.
    Expired,
    /// Runs of this turn ended without a trace too often.
    Poison,
    /// DingTalk does not carry the answer's text, or takes no message of its length.
    ReplyContent,
}

impl Reason {
    pub const ALL: [Self; 12] = [
        Self::Decode,
        Self::Unbound,
        Self::RuntimePermanent,
        Self::RuntimeExhausted,
        Self::RuntimeTimeout,
        Self::ReplyPermanent,
        Self::ReplyExhausted,
        Self::HandoffExpired,
        Self::Limit,
        Self::Expired,
        Self::Poison,
        Self::ReplyContent,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Unbound => "unbound",
            Self::RuntimePermanent => "runtime_permanent",
            Self::RuntimeExhausted => "runtime_exhausted",
            Self::RuntimeTimeout => "runtime_timeout",
            Self::ReplyPermanent => "reply_permanent",
            Self::ReplyExhausted => "reply_exhausted",
            Self::HandoffExpired => "handoff_expired",
            Self::Limit => "limit",
            Self::Expired => "expired",
            Self::Poison => "poison",
            Self::ReplyContent => "reply_content",
        }
    }
}
