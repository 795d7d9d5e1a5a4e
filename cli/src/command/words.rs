//! Values of the API as words for a person.

use std::fmt::Display;

use hone_api::UnixMillis;
use serde::Serialize;
use serde_json::Value;

/// The word that the API has for a value, e.g. `promoted`.
pub fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

/// A value, or a dash for none.
pub fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// How many of what: `1 row`, `2 rows`.
pub fn count(number: impl Display, what: &str) -> String {
    let number = number.to_string();
    let plural = if number == "1" { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// An instant in the local time zone, to the second.
pub fn time(at: UnixMillis) -> String {
    let zone = jiff::tz::TimeZone::system();
    match jiff::Timestamp::from_millisecond(at.0) {
        Ok(at) => jiff::ZonedDateTime::new(at, zone).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => at.0.to_string(),
    }
}

/// A share between 0 and 1 as a percentage.
pub fn percent(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

/// A number with few digits.
pub fn number(value: f64) -> String {
    if value == value.trunc() || value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 0.1 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    }
}

/// Long hexadecimal numbers are for programs; `--json` has them.
fn is_digest(text: &str) -> bool {
    text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The plain members of an object as `name value, name value`; nested ones are left out.
pub fn figures(value: &Value) -> String {
    let Some(object) = value.as_object() else {
        return if value.is_null() { String::new() } else { value.to_string() };
    };
    let mut parts = Vec::new();
    for (name, value) in object {
        let name = name.replace('_', " ");
        match value {
            Value::Number(n) => parts.push(format!("{name} {}", number(n.as_f64().unwrap_or(0.0)))),
            Value::String(text) if is_digest(text) => {}
            Value::String(text) if text.chars().count() <= 80 => {
                parts.push(format!("{name} {text}"))
            }
            Value::Bool(yes) => parts.push(format!("{name} {}", if *yes { "yes" } else { "no" })),
            _ => {}
        }
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_are_plain_members_only() {
        let value =
            json!({"train_rows": 400, "loss": 0.123_456, "rows": [1, 2], "x": null, "ok": true});
        assert_eq!(figures(&value), "train rows 400, loss 0.12, ok yes");
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!((count(1, "row"), count(0, "row")), ("1 row".to_owned(), "0 rows".to_owned()));
    }

    #[test]
    fn words_are_the_apis() {
        assert_eq!(word(&hone_api::cycle::Verdict::Promoted), "promoted");
    }
}
