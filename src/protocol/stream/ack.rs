//! Acknowledgements of frames, as the official clients send them.
//!
//! Each names the frame's message id; `data` is JSON inside a string. A success is only built by whoever
//! knows that the frame's content is durable.

use serde::Serialize;
use serde_json::{Value, json};

/// An answer to one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    code: u16,
    message: &'static str,
    data: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    code: u16,
    headers: Headers<'a>,
    message: &'a str,
    data: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Headers<'a> {
    content_type: &'a str,
    message_id: &'a str,
}

impl Ack {
    /// A ping is answered with what it carried.
    pub fn ping(data: String) -> Self {
        Self { code: 200, message: "OK", data }
    }

    /// A callback: `response` is null for a message, the card's new data for a button.
    pub fn callback(response: &Value) -> Self {
        Self { code: 200, message: "OK", data: json!({ "response": response }).to_string() }
    }

    pub fn event() -> Self {
        let data = json!({ "status": "SUCCESS", "message": "success" });
        Self { code: 200, message: "OK", data: data.to_string() }
    }

    /// The data cannot be read and could not be the next time.
    pub fn unreadable() -> Self {
        Self { code: 400, message: "data is not readable", data: String::new() }
    }

    pub fn unknown_topic() -> Self {
        Self { code: 404, message: "unknown topic", data: String::new() }
    }

    /// The text that goes back for the frame `message_id`.
    pub fn to_text(&self, message_id: &str) -> String {
        let wire = Wire {
            code: self.code,
            headers: Headers { content_type: "application/json", message_id },
            message: self.message,
            data: &self.data,
        };
        serde_json::to_string(&wire).expect("numbers and strings are always JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_have_the_bytes_of_the_official_clients() {
        let cases = [
            (
                Ack::ping(r#"{"opaque": "0dcb"}"#.to_owned()),
                r#"{"code":200,"headers":{"contentType":"application/json","messageId":"m-1"},"message":"OK","data":"{\"opaque\": \"0dcb\"}"}"#,
            ),
            (
                Ack::callback(&Value::Null),
                r#"{"code":200,"headers":{"contentType":"application/json","messageId":"m-1"},"message":"OK","data":"{\"response\":null}"}"#,
            ),
            (
                Ack::callback(&json!({"cardData": {"cardParamMap": {"k": "v"}}})),
                r#"{"code":200,"headers":{"contentType":"application/json","messageId":"m-1"},"message":"OK","data":"{\"response\":{\"cardData\":{\"cardParamMap\":{\"k\":\"v\"}}}}"}"#,
            ),
            (
                Ack::unknown_topic(),
                r#"{"code":404,"headers":{"contentType":"application/json","messageId":"m-1"},"message":"unknown topic","data":""}"#,
            ),
            (
                Ack::unreadable(),
                r#"{"code":400,"headers":{"contentType":"application/json","messageId":"m-1"},"message":"data is not readable","data":""}"#,
            ),
        ];
        for (ack, expected) in cases {
            assert_eq!(ack.to_text("m-1"), expected);
        }
    }

    #[test]
    fn an_event_is_acknowledged_with_the_status_that_the_platform_demands() {
        let text = Ack::event().to_text("m-2");
        let ack: Value = serde_json::from_str(&text).unwrap();
        let data: Value = serde_json::from_str(ack["data"].as_str().unwrap()).unwrap();
        assert_eq!(data, json!({"status": "SUCCESS", "message": "success"}));
        assert_eq!(ack["headers"]["messageId"], "m-2");
    }

    #[test]
    fn a_message_id_cannot_break_out_of_its_string() {
        let text = Ack::event().to_text("a\"b\n");
        let ack: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(ack["headers"]["messageId"], "a\"b\n");
    }
}
