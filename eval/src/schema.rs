//! The part of JSON Schema that answers are checked against.
//!
//! Prevents a schema from being half understood: a keyword that is not applied here is refused by
//! name, so that no answer passes because a rule was ignored.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{Error, Result};

/// Keywords that describe and do not constrain.
const REMARKS: [&str; 9] = [
    "$schema",
    "$id",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
];

/// A compiled schema: `type`, `enum`, `const`, `properties`, `required`,
/// `additionalProperties` (true or false) and `items`.
#[derive(Debug, Clone)]
pub(crate) struct Schema {
    /// Empty: any.
    types: Vec<Type>,
    /// Empty: any.
    values: Vec<Value>,
    properties: BTreeMap<String, Schema>,
    required: Vec<String>,
    closed: bool,
    items: Option<Box<Schema>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// [`Error::Check`], naming the keyword that is not supported or not well-formed.
    pub(crate) fn new(schema: &Value) -> Result<Self> {
        let Value::Object(keywords) = schema else {
            return Err(bad("a schema must be an object"));
        };
        let mut compiled = Self {
            types: Vec::new(),
            values: Vec::new(),
            properties: BTreeMap::new(),
            required: Vec::new(),
            closed: false,
            items: None,
        };
        for (keyword, value) in keywords {
            match keyword.as_str() {
                "type" => compiled.types = types(value)?,
                "enum" => compiled.values = list(keyword, value)?.clone(),
                "const" => compiled.values = vec![value.clone()],
                "required" => compiled.required = names(value)?,
                "additionalProperties" => {
                    let open = value.as_bool();
                    compiled.closed =
                        !open.ok_or_else(|| bad("additionalProperties must be true or false"))?;
                }
                "items" => compiled.items = Some(Box::new(Self::new(value)?)),
                "properties" => {
                    for (name, property) in table(value)? {
                        compiled.properties.insert(name.clone(), Self::new(property)?);
                    }
                }
                remark if REMARKS.contains(&remark) => {}
                other => {
                    return Err(bad(&format!(
                        "keyword `{other}` is not supported; type, enum, const, properties, \
                         required, additionalProperties and items are"
                    )));
                }
            }
        }
        if keywords.contains_key("enum") && keywords.contains_key("const") {
            return Err(bad("give `enum` or `const`, not both"));
        }
        Ok(compiled)
    }

    /// Whether a value satisfies the schema.
    pub(crate) fn accepts(&self, value: &Value) -> bool {
        let right_type = self.types.is_empty() || self.types.iter().any(|t| t.fits(value));
        let right_value = self.values.is_empty() || self.values.iter().any(|v| same(v, value));
        right_type
            && right_value
            && match value {
                Value::Object(fields) => self.accepts_fields(fields),
                Value::Array(items) => match &self.items {
                    Some(schema) => items.iter().all(|item| schema.accepts(item)),
                    None => true,
                },
                _ => true,
            }
    }

    fn accepts_fields(&self, fields: &Map<String, Value>) -> bool {
        self.required.iter().all(|name| fields.contains_key(name))
            && fields.iter().all(|(name, value)| match self.properties.get(name) {
                Some(schema) => schema.accepts(value),
                None => !self.closed,
            })
    }
}

impl Type {
    fn fits(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Null, Value::Null)
            | (Self::Boolean, Value::Bool(_))
            | (Self::Number, Value::Number(_))
            | (Self::String, Value::String(_))
            | (Self::Array, Value::Array(_))
            | (Self::Object, Value::Object(_)) => true,
            // 1.0 is an integer in JSON Schema
            (Self::Integer, Value::Number(n)) => {
                n.is_i64() || n.is_u64() || n.as_f64().is_some_and(|n| n.fract() == 0.0)
            }
            _ => false,
        }
    }
}

/// Equality as JSON Schema has it: 1 and 1.0 are the same number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let has = |(name, value)| b.get(name).is_some_and(|other| same(value, other));
            a.len() == b.len() && a.iter().all(has)
        }
        _ => a == b,
    }
}

fn types(value: &Value) -> Result<Vec<Type>> {
    let names = match value {
        Value::String(name) => vec![name.clone()],
        list => names(list)?,
    };
    let known = |name: &String| match name.as_str() {
        "null" => Ok(Type::Null),
        "boolean" => Ok(Type::Boolean),
        "integer" => Ok(Type::Integer),
        "number" => Ok(Type::Number),
        "string" => Ok(Type::String),
        "array" => Ok(Type::Array),
        "object" => Ok(Type::Object),
        other => Err(bad(&format!("type `{other}` is unknown"))),
    };
    names.iter().map(known).collect()
}

fn names(value: &Value) -> Result<Vec<String>> {
    serde_json::from_value(value.clone())
        .map_err(|_| bad("`type` and `required` take names or lists of names"))
}

fn list<'a>(keyword: &str, value: &'a Value) -> Result<&'a Vec<Value>> {
    let list = value.as_array().filter(|list| !list.is_empty());
    list.ok_or_else(|| bad(&format!("`{keyword}` must be a list that is not empty")))
}

fn table(value: &Value) -> Result<&Map<String, Value>> {
    value.as_object().ok_or_else(|| bad("`properties` must be an object"))
}

fn bad(what: &str) -> Error {
    Error::Check(format!("json_schema: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn accepts(schema: Value, value: Value) -> bool {
        Schema::new(&schema).unwrap().accepts(&value)
    }

    #[test]
    fn the_supported_keywords_constrain() {
        let person = json!({
            "type": "object", "required": ["name"], "additionalProperties": false,
            "properties": {
                "name": {"type": "string"},
                "age": {"type": ["integer", "null"]},
                "tags": {"type": "array", "items": {"enum": ["a", "b", 1]}},
            },
        });
        let accepts = |value| accepts(person.clone(), value);
        assert!(accepts(json!({"name": "x", "age": 3.0, "tags": ["a", 1.0]})));
        assert!(accepts(json!({"name": "x", "age": null})));
        for bad in [
            json!({"age": 3}),
            json!({"name": 3}),
            json!({"name": "x", "age": 3.5}),
            json!({"name": "x", "age": "3"}),
            json!({"name": "x", "tags": ["c"]}),
            json!({"name": "x", "more": 1}),
            json!("x"),
        ] {
            assert!(!accepts(bad.clone()), "{bad}");
        }
    }

    #[test]
    fn what_is_not_applied_is_refused_by_name() {
        for (keyword, value) in [
            ("pattern", json!("^a")),
            ("minimum", json!(1)),
            ("oneOf", json!([])),
            ("$ref", json!("#/x")),
        ] {
            let error = Schema::new(&json!({ keyword: value })).unwrap_err();
            assert!(error.to_string().contains(keyword), "{error}");
        }
        assert!(Schema::new(&json!({"properties": {"a": {"format": "date"}}})).is_err());
        assert!(Schema::new(&json!({"type": "text"})).is_err());
        assert!(Schema::new(&json!({"title": "fine", "description": "too"})).is_ok());
        assert!(Schema::new(&json!(true)).is_err());
    }
}
