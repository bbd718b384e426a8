//! Reading JSON whose types drift: DingTalk sends the same field as number or text, as object or as
//! JSON in a string.
//!
//! Every function is total: what is absent, empty or of no use is `None`.

use std::borrow::Cow;

use serde_json::Value;

/// A text that is not blank, also where it came as a number.
pub fn text(from: &Value, field: &str) -> Option<String> {
    match from.get(field)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}

/// A whole number, also where it came as text.
pub fn number(from: &Value, field: &str) -> Option<i64> {
    match from.get(field)? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// True for `true` and `"true"`.
pub fn is_set(from: &Value, field: &str) -> bool {
    match from.get(field) {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => text == "true",
        Some(Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_)) | None => false,
    }
}

/// An object or array, also where it came as JSON in a string; any other text stays a text.
pub fn nested<'a>(from: &'a Value, field: &str) -> Option<Cow<'a, Value>> {
    let value = from.get(field)?;
    match value {
        Value::Null => None,
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(inner) if inner.is_object() || inner.is_array() => Some(Cow::Owned(inner)),
            Ok(_) | Err(_) => Some(Cow::Borrowed(value)),
        },
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Some(Cow::Borrowed(value))
        }
    }
}

/// The items of an array, also where it came as JSON in a string.
pub fn items(from: &Value, field: &str) -> Vec<Value> {
    match nested(from, field).map(Cow::into_owned) {
        Some(Value::Array(items)) => items,
        Some(
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_),
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
        assert_eq!(text(&from, "n").as_deref(), Some("5"));
        assert_eq!(text(&from, "s").as_deref(), Some("6"));
        assert_eq!((text(&from, "blank"), text(&from, "no"), text(&from, "o")), (None, None, None));
        assert_eq!((number(&from, "n"), number(&from, "s")), (Some(5), Some(6)));
        assert_eq!((number(&from, "word"), number(&from, "off")), (None, None));
        assert!(is_set(&from, "on") && !is_set(&from, "off") && !is_set(&from, "absent"));
        assert_eq!(nested(&from, "o"), nested(&from, "js"));
        assert_eq!(nested(&from, "word").as_deref(), Some(&json!("hi")));
        assert_eq!(nested(&from, "no"), None);
        assert_eq!((items(&from, "list"), items(&from, "word")), (vec![json!(1)], vec![]));
    }
}
