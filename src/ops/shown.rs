//! JSON for a person's eyes: a list as columns, an object as lines.
//!
//! A list shows its columns, cuts long cells and says how it goes on; an object shows all it has.
//! Machines take `--json` instead.

use serde_json::Value;

const WIDTH_MAX: usize = 48;

/// The lines of an answer; of a list's items these columns.
pub fn lines(value: &Value, columns: &[&str]) -> Vec<String> {
    match value.get("items").and_then(Value::as_array) {
        Some(items) => {
            let next = value.get("next").and_then(Value::as_str);
            let more = next.map(|next| format!("more: --after {next}"));
            table(items, columns).into_iter().chain(more).collect()
        }
        None => fields("", value),
    }
}

fn table(items: &[Value], columns: &[&str]) -> Vec<String> {
    if items.is_empty() {
        return vec!["nothing".to_owned()];
    }
    let mut rows = vec![columns.iter().map(ToString::to_string).collect::<Vec<_>>()];
    rows.extend(items.iter().map(|item| {
        columns.iter().map(|column| cell(item.get(*column).unwrap_or(&Value::Null))).collect()
    }));
    let width = |column: usize| {
        let widest = rows.iter().map(|row| row.get(column).map_or(0, |cell| cell.chars().count()));
        widest.max().unwrap_or(0).min(WIDTH_MAX)
    };
    let widths: Vec<_> = (0..columns.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// One line for each value, named by its path.
fn fields(path: &str, value: &Value) -> Vec<String> {
    let below =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(map) => map.iter().flat_map(|(name, it)| fields(&below(name), it)).collect(),
        Value::Array(list) if list.iter().any(Value::is_object) => list
            .iter()
            .enumerate()
            .flat_map(|(index, it)| fields(&below(&index.to_string()), it))
            .collect(),
        Value::Null if path.is_empty() => vec![],
        other => vec![format!("{path}: {}", cell(other))],
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.replace('\n', " "),
        Value::Array(list) => list.iter().map(cell).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_columns_and_objects_are_lines() {
        let list = json!({ "items": [{ "id": "a", "n": 1 }, { "id": "long", "n": null }] });
        assert_eq!(lines(&list, &["id", "n"]), ["id    n", "a     1", "long  –"]);
        assert_eq!(lines(&json!({ "items": [] }), &["id"]), ["nothing"]);
        let page = json!({ "items": [{ "id": "a" }], "next": "7.a" });
        assert_eq!(lines(&page, &["id"]), ["id", "a", "more: --after 7.a"]);
        let object = json!({ "a": { "b": "x" }, "c": ["1", "2"], "d": [{ "e": true }] });
        assert_eq!(lines(&object, &[]), ["a.b: x", "c: 1,2", "d.0.e: true"]);
        assert!(lines(&Value::Null, &[]).is_empty());
    }
}
