//! A validator for the subset of JSON Schema (draft 2020-12) that the policy's schema uses.
//!
//! It panics on every other keyword.

use serde_json::Value;

/// A regular expression of the schema, and the equivalent predicate.
type Matcher = (&'static str, fn(&str) -> bool);

/// The regular expressions of the schema, implemented by hand.
const PATTERNS: &[Matcher] = &[
    (r"^(/|\$\{)", |text| text.starts_with('/') || text.starts_with("${")),
    (r"^[A-Za-z0-9_]+$", |text| {
        !text.is_empty() && text.chars().all(|it| it.is_ascii_alphanumeric() || it == '_')
    }),
    (r"^(?!.*\\)(?!(.*/)?\.\.(/|$))(?!/)(?!.*//)(?!.*/$).+$", |text| {
        !text.contains('\\') && text.split('/').all(|name| !name.is_empty() && name != "..")
    }),
    (r"^[0-9]+ *(B|[KMGT]iB|kB|MB|GB)?$", |text| {
        let unit = text.trim_start_matches(|it: char| it.is_ascii_digit());
        let units = ["", "B", "KiB", "MiB", "GiB", "TiB", "kB", "MB", "GB"];
        unit.len() < text.len() && units.contains(&unit.trim_start_matches(' '))
    }),
];

/// Returns whether `value` is valid for `schema`, a part of `root`.
pub(super) fn accepts(root: &Value, schema: &Value, value: &Value) -> bool {
    schema.as_object().unwrap().iter().all(|(keyword, rule)| {
        let sub = |schema: &Value, value: &Value| accepts(root, schema, value);
        let (object, array) = (value.as_object(), value.as_array());
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "examples" => true,
            "$ref" => {
                let name = rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                sub(&root["$defs"][name], value)
            }
            "type" => has_type(rule.as_str().unwrap(), value),
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "anyOf" => rule.as_array().unwrap().iter().any(|schema| sub(schema, value)),
            "minimum" => value.as_i64().is_none_or(|it| it >= rule.as_i64().unwrap()),
            "minLength" => {
                value.as_str().is_none_or(|it| it.len() as u64 >= rule.as_u64().unwrap())
            }
            "pattern" => value.as_str().is_none_or(|text| matches(rule.as_str().unwrap(), text)),
            "minItems" => array.is_none_or(|it| it.len() as u64 >= rule.as_u64().unwrap()),
            "items" => array.is_none_or(|it| it.iter().all(|item| sub(rule, item))),
            "required" => object.is_none_or(|it| {
                rule.as_array().unwrap().iter().all(|key| it.contains_key(key.as_str().unwrap()))
            }),
            "properties" => object.is_none_or(|it| {
                it.iter().all(|(key, value)| rule.get(key).is_none_or(|schema| sub(schema, value)))
            }),
            "propertyNames" => {
                object.is_none_or(|it| it.keys().all(|key| sub(rule, &Value::String(key.clone()))))
            }
            "additionalProperties" => object.is_none_or(|it| {
                let more = it.iter().filter(|(key, _)| {
                    schema.get("properties").is_none_or(|known| known.get(key).is_none())
                });
                let mut more = more.map(|(_, value)| value);
                if rule.is_boolean() { more.next().is_none() } else { more.all(|it| sub(rule, it)) }
            }),
            unknown => panic!("unsupported keyword `{unknown}`"),
        }
    })
}

fn has_type(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        unknown => panic!("unsupported type `{unknown}`"),
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    let known = PATTERNS.iter().find(|(known, _)| *known == pattern);
    known.unwrap_or_else(|| panic!("unsupported pattern {pattern}")).1(text)
}
