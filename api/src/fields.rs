//! Reading JSON objects field by field, so that every fault is told with the field's name.
//!
//! A derived `Deserialize` stops with words about Rust types and without the path that OpenAI's
//! `param` wants. Here each field is taken out by name; what is left over is known to be unknown.

use std::collections::BTreeMap;

use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::AdapterRef;
use crate::error::Invalid;

/// What a field can be read as, and how that is told to people.
pub trait Plain: DeserializeOwned {
    /// Behind "must be".
    const WORDS: &'static str;
}

impl Plain for String {
    const WORDS: &'static str = "a string";
}

impl Plain for bool {
    const WORDS: &'static str = "true or false";
}

impl Plain for f64 {
    const WORDS: &'static str = "a number";
}

impl Plain for Vec<Value> {
    const WORDS: &'static str = "an array";
}

impl Plain for BTreeMap<String, Value> {
    const WORDS: &'static str = "an object";
}

impl Plain for AdapterRef {
    const WORDS: &'static str = "a string";
}

impl Plain for Value {
    const WORDS: &'static str = "anything";
}

/// A JSON object on its way into a typed request.
#[derive(Debug)]
pub struct Fields {
    map: Map<String, Value>,
    /// In front of the field names in errors, e.g. `messages[0].`.
    prefix: String,
}

impl Fields {
    /// The object in a request body.
    ///
    /// # Errors
    /// It is not an object.
    pub fn new(body: Value) -> Result<Self, Invalid> {
        Self::nested(body, "")
    }

    /// The object that is the value of the field `path`.
    ///
    /// # Errors
    /// It is not an object.
    pub fn nested(value: Value, path: &str) -> Result<Self, Invalid> {
        match value {
            Value::Object(map) if path.is_empty() => Ok(Self { map, prefix: String::new() }),
            Value::Object(map) => Ok(Self { map, prefix: format!("{path}.") }),
            other if path.is_empty() => {
                Err(Invalid::new(format!("the body must be a JSON object, not {}", kind(&other))))
            }
            other => Err(Invalid::field(
                path,
                format!("`{path}` must be an object, not {}", kind(&other)),
            )),
        }
    }

    /// The name of a field as errors tell it.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Whether a field is there and asks for something.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|value| !value.is_null())
    }

    /// Takes a field out; missing and `null` are both `None`.
    pub fn value(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|value| !value.is_null())
    }

    /// Takes a field out; tells missing (`None`) from `null`.
    pub fn present(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name)
    }

    /// Takes a field out and reads it; missing and `null` are both `None`.
    ///
    /// # Errors
    /// It has another type.
    pub fn take<T: Plain>(&mut self, name: &str) -> Result<Option<T>, Invalid> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let kind = kind(&value);
        serde_json::from_value(value).map(Some).map_err(|_| {
            let path = self.path(name);
            Invalid::field(&path, format!("`{path}` must be {}, not {kind}", T::WORDS))
        })
    }

    /// Takes out a field that must be there.
    ///
    /// # Errors
    /// It is missing, `null`, or has another type.
    pub fn required<T: Plain>(&mut self, name: &str) -> Result<T, Invalid> {
        let path = self.path(name);
        self.take(name)?
            .ok_or_else(|| Invalid::field(&path, format!("`{path}` is missing; it is required")))
    }

    /// Takes out an object whose values are strings.
    ///
    /// # Errors
    /// It is something else; the entry at fault is named.
    pub fn texts(&mut self, name: &str) -> Result<Option<BTreeMap<String, String>>, Invalid> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let path = self.path(name);
        let Value::Object(map) = value else {
            let message = format!("`{path}` must be an object, not {}", kind(&value));
            return Err(Invalid::field(&path, message));
        };
        let mut texts = BTreeMap::new();
        for (key, value) in map {
            let Value::String(text) = value else {
                let message = format!(
                    "the value of `{key:.80}` in `{path}` must be a string, not {}",
                    kind(&value)
                );
                return Err(Invalid::field(&path, message));
            };
            texts.insert(key, text);
        }
        Ok(Some(texts))
    }

    /// Takes out a number within bounds.
    ///
    /// # Errors
    /// It is not a number, or out of bounds.
    pub fn number(&mut self, name: &str, low: f64, high: f64) -> Result<Option<f64>, Invalid> {
        let Some(number) = self.take::<f64>(name)? else { return Ok(None) };
        if (low..=high).contains(&number) {
            return Ok(Some(number));
        }
        let path = self.path(name);
        let message = format!("`{path}` must be between {low} and {high}, not {number}");
        Err(Invalid::field(&path, message))
    }

    /// Takes out a whole number within bounds.
    ///
    /// # Errors
    /// It is not a whole number, or out of bounds.
    pub fn whole(&mut self, name: &str, low: i64, high: i64) -> Result<Option<i64>, Invalid> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let path = self.path(name);
        match whole(&value) {
            Some(number) if (low..=high).contains(&number) => Ok(Some(number)),
            _ => {
                let message = format!(
                    "`{path}` must be a whole number between {low} and {high}, not {}",
                    short(&value)
                );
                Err(Invalid::field(&path, message))
            }
        }
    }

    /// Takes out an array of token ids that must be there.
    ///
    /// # Errors
    /// It is missing, or something else.
    pub fn token_ids(&mut self, name: &str) -> Result<Vec<u32>, Invalid> {
        let items: Vec<Value> = self.required(name)?;
        token_ids(&items).ok_or_else(|| {
            let path = self.path(name);
            Invalid::field(&path, format!("`{path}` must be an array of token ids"))
        })
    }

    /// Takes out a field that Hone knows but does not support: accepted while it asks for nothing
    /// (missing, `null`, or one of `harmless`), refused by name otherwise.
    ///
    /// # Errors
    /// It asks for something.
    pub fn unsupported(&mut self, name: &str, harmless: &[Value]) -> Result<(), Invalid> {
        let Some(value) = self.value(name) else { return Ok(()) };
        if harmless.contains(&value) {
            return Ok(());
        }
        let path = self.path(name);
        Err(Invalid::field(&path, format!("`{path}` is not supported; leave it out"))
            .code("unsupported_parameter"))
    }

    /// The names of the fields that nobody took.
    #[must_use]
    pub fn unknown(self) -> Vec<String> {
        self.map.keys().map(|name| self.path(name)).collect()
    }

    /// Ends the reading of one of Hone's own requests, in which unknown fields are errors.
    ///
    /// # Errors
    /// A field is left over.
    pub fn finish(self) -> Result<(), Invalid> {
        match self.unknown().into_iter().next() {
            None => Ok(()),
            Some(name) => Err(Invalid::field(
                &name,
                format!("`{name}` is not a field of this request; leave it out"),
            )
            .code("unknown_parameter")),
        }
    }
}

/// Reads a field that may be absent (`None`), null (`Some(None)`) or there.
pub(crate) fn present_or_null<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

/// A whole number. JSON does not tell 5 from 5.0, so neither does this.
#[allow(clippy::cast_possible_truncation)] // checked to be whole and small
fn whole(value: &Value) -> Option<i64> {
    let is_exact = |number: &f64| number.fract() == 0.0 && number.abs() < 9e15;
    value.as_i64().or_else(|| value.as_f64().filter(is_exact).map(|number| number as i64))
}

/// Token ids, if that is what all of these are.
pub(crate) fn token_ids(items: &[Value]) -> Option<Vec<u32>> {
    items.iter().map(|item| whole(item).and_then(|id| u32::try_from(id).ok())).collect()
}

/// A value's type in words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A value for an error message, cut if it is long.
pub(crate) fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 { text } else { kind(value).to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_asks_for_nothing_is_accepted() {
        for harmless in [json!({}), json!({"tools": null}), json!({"tools": []})] {
            let mut fields = Fields::new(harmless).unwrap();
            assert_eq!(fields.unsupported("tools", &[json!([])]), Ok(()));
        }
        let mut fields = Fields::new(json!({"tools": [1]})).unwrap();
        let refused = fields.unsupported("tools", &[json!([])]).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some("tools"));
    }

    #[test]
    fn leftovers_are_named_with_their_path() {
        let fields = Fields::nested(json!({"x": 1, "y": 2}), "messages[3]").unwrap();
        assert_eq!(fields.unknown(), ["messages[3].x", "messages[3].y"]);
    }

    #[test]
    fn a_value_that_is_no_text_is_named() {
        let mut fields = Fields::new(json!({"metadata": {"b": "x", "a": 5}, "tags": [1]})).unwrap();
        let error = fields.texts("metadata").unwrap_err();
        assert_eq!(error.message, "the value of `a` in `metadata` must be a string, not a number");
        assert_eq!(error.param.as_deref(), Some("metadata"));
        let error = fields.texts("tags").unwrap_err();
        assert_eq!(error.message, "`tags` must be an object, not an array");
    }

    #[test]
    fn another_type_is_told_in_plain_words_and_not_echoed() {
        let mut fields = Fields::new(json!({"stream": "x".repeat(9999), "top_p": true})).unwrap();
        let error = fields.take::<bool>("stream").unwrap_err();
        assert_eq!(error.message, "`stream` must be true or false, not a string");
        let error = fields.number("top_p", 0.0, 1.0).unwrap_err();
        assert_eq!(error.message, "`top_p` must be a number, not a boolean");
        let error = fields.required::<String>("model").unwrap_err();
        assert_eq!(error.message, "`model` is missing; it is required");
    }

    #[test]
    fn bounds_hold() {
        let mut fields = Fields::new(json!({"a": 2.5, "b": 1e300, "c": 7, "d": 1.5})).unwrap();
        assert_eq!(fields.number("a", 0.0, 3.0), Ok(Some(2.5)));
        assert!(fields.number("b", 0.0, 3.0).is_err());
        assert_eq!(fields.whole("c", 0, 9), Ok(Some(7)));
        let mut floats = Fields::new(json!({"e": 3.0, "ids": [1, 2.0]})).unwrap();
        assert_eq!(floats.whole("e", 0, 9), Ok(Some(3)));
        assert_eq!(floats.token_ids("ids"), Ok(vec![1, 2]));
        assert!(fields.whole("d", 0, 9).unwrap_err().message.contains("1.5"));
    }
}
