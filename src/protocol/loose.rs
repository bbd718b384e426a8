//! Reading JSON whose types drift: DingTalk sends the same field as number or text, as object or as
//! JSON in a string.
//!
//! Every function is total: what is absent, empty or of no use is `None`. Texts are borrowed from what
//! was received, as most of it is looked at once and never kept.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json_borrow::Value;

use super::surrogate;

/// A field of an object.
pub fn field<'a>(from: &'a Value<'a>, name: &str) -> Option<&'a Value<'a>> {
    from.as_object()?.get(name)
}

/// A text that is not blank, also where it came as a number.
pub fn text(from: &Value<'_>, name: &str) -> Option<String> {
    said(from, name).map(Cow::into_owned)
}

/// As [`text`], to look at.
pub fn said<'a>(from: &'a Value<'a>, name: &str) -> Option<Cow<'a, str>> {
    match field(from, name)? {
        Value::Str(text) if !text.trim().is_empty() => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Str(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A whole number, also where it came as text.
pub fn number(from: &Value<'_>, name: &str) -> Option<i64> {
    match field(from, name)? {
        Value::Number(number) => number.as_i64(),
        Value::Str(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// True for `true` and `"true"`.
pub fn is_set(from: &Value<'_>, name: &str) -> bool {
    match field(from, name) {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::Str(text)) => text == "true",
        Some(Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_)) | None => false,
    }
}

/// JSON, also with half an emoji in it.
pub fn parse(text: &str) -> Option<Value<'_>> {
    serde_json::from_str(text).ok().or_else(|| {
        let mended: serde_json::Value = surrogate::mended(text.as_bytes())?;
        Value::deserialize(mended).ok()
    })
}

/// An object or array, also where it came as JSON in a string; any other text stays a text.
pub fn nested<'a>(from: &'a Value<'a>, name: &str) -> Option<Cow<'a, Value<'a>>> {
    let value = field(from, name)?;
    match value {
        Value::Null => None,
        Value::Str(text) => match parse(text) {
            Some(inner) if inner.is_object() || inner.is_array() => Some(Cow::Owned(inner)),
            Some(_) | None => Some(Cow::Borrowed(value)),
        },
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Some(Cow::Borrowed(value))
        }
    }
}

/// The items of an array, also where it came as JSON in a string.
pub fn items<'a>(from: &'a Value<'a>, name: &str) -> Vec<Value<'a>> {
    match nested(from, name).map(Cow::into_owned) {
        Some(Value::Array(items)) => items,
        Some(
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Str(_) | Value::Object(_),
        )
        | None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_read_in_every_type_they_come_in() {
        let from = json!({ "n": 5, "s": "6", "blank": " ", "no": null, "on": "true", "off": false,
            "o": {"a": 1}, "js": "{\"a\":1}", "list": "[1]", "word": "hi" });
        let from = Value::from(&from);
        assert_eq!(text(&from, "n").as_deref(), Some("5"));
        assert_eq!(text(&from, "s").as_deref(), Some("6"));
        assert_eq!((text(&from, "blank"), text(&from, "no"), text(&from, "o")), (None, None, None));
        assert_eq!((number(&from, "n"), number(&from, "s")), (Some(5), Some(6)));
        assert_eq!((number(&from, "word"), number(&from, "off")), (None, None));
        assert!(is_set(&from, "on") && !is_set(&from, "off") && !is_set(&from, "absent"));
        for name in ["o", "js"] {
            assert_eq!(nested(&from, name).unwrap().to_string(), r#"{"a":1}"#, "{name}");
        }
        assert_eq!(nested(&from, "word").as_deref(), Some(&Value::Str("hi".into())));
        assert_eq!(nested(&from, "no"), None);
        let cut = json!({ "js": r#"{"a":"b\ud83d"}"# });
        let read = nested(&Value::from(&cut), "js").map(|read| read.to_string());
        assert_eq!(read.as_deref(), Some("{\"a\":\"b\u{fffd}\"}"));
        assert_eq!((items(&from, "list").len(), items(&from, "word").len()), (1, 0));
    }
}
