//! The message that a message replies to, in each shape DingTalk has sent it.
//!
//! Most often `repliedMsg` beside the text, or beside what else is said; in older payloads `quoteMessage` at
//! the top; for a card of the robot itself nothing but ids. What cannot be read leaves the quote without
//! parts: the composer of the turn says that it is there.

use serde_json_borrow::Value;

use super::content;
use crate::domain::inbound::Quote;
use crate::protocol::loose;

/// `body` is the object that holds what the message itself says.
pub fn read(message: &Value<'_>, body: Option<&Value<'_>>) -> Option<Quote> {
    let original = loose::text(message, "originalMsgId");
    // Seen beside a text only: where it stands beside a file or a picture is not documented.
    let text = loose::nested(message, "text");
    let places = [body, text.as_deref(), Some(message)];
    let replied = places
        .into_iter()
        .flatten()
        .find_map(|place| loose::nested(place, "repliedMsg"))
        .or_else(|| loose::nested(message, "quoteMessage"))
        .filter(|replied| replied.is_object());
    let Some(replied) = replied else {
        let is_reply = places.into_iter().flatten().any(|it| loose::is_set(it, "isReplyMsg"));
        let is_there = original.is_some() || is_reply;
        return is_there.then(|| Quote { msg_id: original, parts: Vec::new() });
    };
    let kind = ["msgType", "msgtype"].iter().find_map(|name| loose::said(&replied, name));
    let kind = kind.as_deref().unwrap_or("text");
    Some(Quote {
        msg_id: loose::text(&replied, "msgId").or(original),
        parts: content::parts(&replied, kind, None),
    })
}
