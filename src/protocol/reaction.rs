//! A reaction: the small sign on a person's own message that says it was seen.
//!
//! Whether and when one is given is decided elsewhere.

use std::time::Duration;

use serde_json::json;

use crate::protocol::send::verdict::{Verdict, judge_api};

/// The body of `POST /v1.0/robot/emotion/reply`: a pair of eyes.
pub fn body(robot_code: &str, message: &str, conversation_id: &str) -> Vec<u8> {
    let sign = "👀";
    let body = json!({
        "robotCode": robot_code,
        "openMsgId": message,
        "openConversationId": conversation_id,
        "emotionType": 2,
        "emotionName": sign,
        "textEmotion": {
            "emotionId": "2659900",
            "emotionName": sign,
            "text": sign,
            "backgroundId": "im_bg_1",
        },
    });
    body.to_string().into_bytes()
}

/// The answer. DingTalk says `success: false` behind a 200 as well.
pub fn judge(status: u16, after: Option<Duration>, body: &[u8]) -> Verdict {
    judge_api(status, after, body, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::send::codes::Class;

    #[test]
    fn a_reaction_that_was_not_set_is_no_success() {
        let again = |is_ambiguous| Some(Class::Retry { is_ambiguous });
        let table = [
            (200, r#"{"success":true}"#, None),
            (200, r#"{"success":false}"#, Some(Class::Unknown { is_ambiguous: false })),
            (200, r#"{"success":false,"errorCode":"system.err"}"#, again(false)),
            (400, r#"{"code":"system.err"}"#, again(false)),
            (500, r#"{"code":"system.err"}"#, again(false)),
        ];
        for (status, body, expected) in table {
            let found = match judge(status, None, body.as_bytes()) {
                Verdict::Delivered { .. } => None,
                Verdict::Failed { class, .. } => Some(class),
            };
            assert_eq!(found, expected, "{status} {body}");
        }
    }

    #[test]
    fn a_reaction_names_robot_message_and_conversation() {
        let written: serde_json::Value =
            serde_json::from_slice(&body("r", "m==", "cid==")).unwrap();
        assert_eq!(written["robotCode"], "r");
        assert_eq!(written["openMsgId"], "m==");
        assert_eq!(written["openConversationId"], "cid==");
        assert_eq!(written["textEmotion"]["text"], written["emotionName"]);
    }
}
