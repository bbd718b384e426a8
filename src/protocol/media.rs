//! Files of messages: how one is asked for, and the address that DingTalk gives for it.
//!
//! Whether that address may be followed is decided by `io::egress`; here it is only read. No input
//! panics.

use serde::Serialize;
use serde_json::Value;

use crate::domain::time::Timestamp;

/// The body of `robot/messageFiles/download`.
pub fn download_body(code: &str, robot_code: &str) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        download_code: &'a str,
        robot_code: &'a str,
    }
    serde_json::to_vec(&Body { download_code: code, robot_code }).expect("texts are always JSON")
}

/// The address in its answer.
pub fn decode_url(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let url = value.get("downloadUrl")?.as_str()?.trim();
    (!url.is_empty()).then(|| url.to_owned())
}

/// Until when a signed address is good, where it says so: `Expires`, in seconds.
pub fn expires_at(url: &str) -> Option<Timestamp> {
    let (_, query) = url.split_once('?')?;
    let query = query.split('#').next().unwrap_or_default();
    let (_, at) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "Expires")?;
    at.parse::<i64>().ok()?.checked_mul(1000).map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_is_asked_for_and_answered_as_dingtalk_documents() {
        let body = String::from_utf8(download_body("mIofN6/+=", "ding1")).unwrap();
        assert_eq!(body, r#"{"downloadCode":"mIofN6/+=","robotCode":"ding1"}"#);
        let url = "http://wukong.oss/x.file?Expires=1671377946&Signature=5B%3D";
        let answer = format!(r#"{{"downloadUrl":"{url}","requestId":"r"}}"#);
        assert_eq!(decode_url(answer.as_bytes()).as_deref(), Some(url));
        for none in ["", "{}", r#"{"downloadUrl":null}"#, r#"{"downloadUrl":" "}"#] {
            assert_eq!(decode_url(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn the_address_says_until_when_it_is_good() {
        let table = [
            ("http://h/x?Expires=1671377946&S=1", Some(1_671_377_946_000)),
            ("http://h/x?S=1&Expires=7#Expires=8", Some(7000)),
            ("http://h/x?Expires=soon", None),
            ("http://h/x?Expires=9223372036854775807", None),
            ("http://h/x", None),
        ];
        for (url, expected) in table {
            assert_eq!(expires_at(url), expected.map(Timestamp), "{url}");
        }
    }
}
