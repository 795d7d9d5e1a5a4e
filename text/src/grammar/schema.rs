//! JSON schemas on their way into a grammar.

use serde_json::{Map, Value, json};

use crate::Error;

/// Bytes of a schema.
pub const SCHEMA_BYTES: usize = 64 << 10;
/// Schemas inside of schemas.
pub const SCHEMA_DEPTH: usize = 32;

/// White space between things: at most a space, or a line break and its indent. Models that may write more do so without end.
const SPACE: &str = r"(\x20|\n[\x20\t]{0,16})";
/// In a call: all on one line, as models write them.
const SPACE_IN_LINE: &str = r"\x20";

/// Keywords whose value is one schema, or a list of them.
const SCHEMAS: [&str; 16] = [
    "items",
    "additionalItems",
    "prefixItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contentSchema",
];
/// Keywords whose value has a schema for each name.
const NAMED: [&str; 5] =
    ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];
/// Keywords that say more of the same value than its properties.
const FURTHER: [&str; 5] = ["allOf", "anyOf", "oneOf", "$ref", "patternProperties"];
/// The formats that are applied.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"];

/// A schema that answers are held to.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonSchema {
    pub(super) value: Value,
    /// Formats that only describe, because nobody here knows them.
    remarks: Vec<String>,
}

impl JsonSchema {
    /// Reads a schema.
    ///
    /// Where it names properties and does not say what else may be there, nothing else may: what fits the narrower
    /// schema fits the wider, and a model that may invent names does.
    ///
    /// # Errors
    /// [`Error::Grammar`]: it is larger or deeper than a schema may be, or none at all.
    pub fn new(mut value: Value) -> Result<Self, Error> {
        if !matches!(value, Value::Object(_)) {
            return Err(Error::Grammar("a schema must be an object".to_owned()));
        }
        let length = value.to_string().len();
        if length > SCHEMA_BYTES {
            let words = format!("the schema has {length} bytes; at most {SCHEMA_BYTES}");
            return Err(Error::Grammar(words));
        }
        let mut apart = true;
        each(&mut value, 0, &mut |keywords| apart &= stands_alone(keywords))?;
        let mut remarks = Vec::new();
        each(&mut value, 0, &mut |keywords| {
            remarks.extend(drop_unknown_format(keywords));
            if apart && keywords.contains_key("properties") {
                keywords.entry("additionalProperties").or_insert(Value::Bool(false));
            }
        })?;
        remarks.sort();
        remarks.dedup();
        Ok(Self { value, remarks })
    }

    /// Formats that nobody here knows, which therefore say nothing.
    #[must_use]
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// As a rule in Lark.
    #[must_use]
    pub fn lark(&self) -> String {
        self.rule(SPACE, false)
    }

    /// As [`Self::lark`], all on one line. `lenient`: keywords that are not supported say nothing.
    #[must_use]
    pub fn lark_in_line(&self, lenient: bool) -> String {
        self.rule(SPACE_IN_LINE, lenient)
    }

    fn rule(&self, space: &str, lenient: bool) -> String {
        let mut schema = self.value.clone();
        schema["x-guidance"] = json!({
            "whitespace_flexible": true, "whitespace_pattern": space, "lenient": lenient, "coerce_one_of": lenient,
        });
        format!("%json {schema}")
    }
}

/// Whether closing an object cannot make it contradict what else is said of the same value.
fn stands_alone(keywords: &Map<String, Value>) -> bool {
    let further = FURTHER.iter().any(|further| keywords.contains_key(*further));
    let parts = keywords.get("allOf").and_then(Value::as_array).map_or(0, Vec::len);
    parts < 2 && !(keywords.contains_key("properties") && further)
}

/// JSON Schema has formats that nobody knows only describe.
fn drop_unknown_format(keywords: &mut Map<String, Value>) -> Option<String> {
    let format = keywords.get("format")?.as_str()?;
    if FORMATS.contains(&format) {
        return None;
    }
    let format = format.to_owned();
    keywords.shift_remove("format");
    Some(format)
}

/// Shows a schema and all inside of it.
fn each(
    schema: &mut Value,
    depth: usize,
    show: &mut impl FnMut(&mut Map<String, Value>),
) -> Result<(), Error> {
    let Value::Object(keywords) = schema else { return Ok(()) };
    if depth > SCHEMA_DEPTH {
        let words = format!("schemas are nested more than {SCHEMA_DEPTH} deep");
        return Err(Error::Grammar(words));
    }
    for name in SCHEMAS {
        match keywords.get_mut(name) {
            Some(Value::Array(several)) => {
                several.iter_mut().try_for_each(|one| each(one, depth + 1, show))?;
            }
            Some(one) => each(one, depth + 1, show)?,
            None => {}
        }
    }
    for name in NAMED {
        if let Some(Value::Object(named)) = keywords.get_mut(name) {
            named.values_mut().try_for_each(|one| each(one, depth + 1, show))?;
        }
    }
    show(keywords);
    Ok(())
}
