//! A reaction: the small sign on a person's own message that says it was seen.
//!
//! Whether and when one is given is decided elsewhere.

use serde_json::json;

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

#[cfg(test)]
mod tests {
    use super::*;

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
