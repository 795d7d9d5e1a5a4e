//! Layers of settings and who set what.
//!
//! The default layer holds every key, so it is also the schema: a key that it lacks is unknown, and
//! the type of its default tells how the text of a variable or a flag is to be read.

use std::path::Path;

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use crate::Error;

/// The default layer, compiled in.
pub(crate) const DEFAULTS: &str = include_str!("../hone.toml");
/// Its name in messages.
pub(crate) const DEFAULT_LAYER: &str = "default";
/// What a variable's name begins with.
const PREFIX: &str = "HONE__";

/// One layer: a dictionary of sections, and the name that messages give it.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) name: String,
    pub(crate) dict: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

impl Layer {
    /// The compiled-in layer.
    pub(crate) fn defaults() -> Result<Self, Error> {
        Self::parse(DEFAULT_LAYER.to_owned(), DEFAULTS)
    }

    /// A configuration file.
    pub(crate) fn file(path: &Path) -> Result<Self, Error> {
        let text = fs_err::read_to_string(path).map_err(Error::Read)?;
        Self::parse(path.display().to_string(), &text)
    }

    fn parse(name: String, text: &str) -> Result<Self, Error> {
        let table: toml::Table = toml::from_str(text).map_err(|error| Error::Syntax {
            layer: name.clone(),
            message: in_one_line(&error, text),
        })?;
        let dict = Value::serialize(&table).ok().and_then(Value::into_dict).unwrap_or_default();
        Ok(Self { name, dict })
    }

    /// One variable or flag: `key` is dotted, `text` is read as `schema`'s default is typed.
    pub(crate) fn single(
        name: String,
        key: &str,
        text: &str,
        schema: &Dict,
    ) -> Result<Self, Error> {
        let mut value = match find(schema, key) {
            Some(Value::String(..)) => Value::from(text),
            Some(_) => from_toml(text),
            None => return Err(unknown(name, key, schema)),
        };
        for part in key.rsplit('.') {
            value = Value::from(Dict::from([(part.to_owned(), value)]));
        }
        Ok(Self { name, dict: value.into_dict().unwrap_or_default() })
    }

    /// Fails on the first key that the schema lacks.
    pub(crate) fn check_keys(&self, schema: &Dict) -> Result<(), Error> {
        for key in keys(&self.dict) {
            if find(schema, &key).is_none() {
                return Err(unknown(self.name.clone(), &key, schema));
            }
        }
        Ok(())
    }
}

/// What is wrong with a file and where, without the drawing that the parser makes of it.
fn in_one_line(error: &toml::de::Error, text: &str) -> String {
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    let before = error.span().and_then(|span| text.get(..span.start));
    match before {
        Some(before) => format!("line {}: {message}", before.matches('\n').count() + 1),
        None => message,
    }
}

/// The variables that are settings, as (name, dotted key, text).
pub(crate) fn variables(
    environment: impl IntoIterator<Item = (String, String)>,
) -> Vec<(String, String, String)> {
    let mut found: Vec<_> = environment
        .into_iter()
        .filter_map(|(name, text)| {
            let key = name.strip_prefix(PREFIX)?.to_ascii_lowercase().replace("__", ".");
            Some((name, key, text))
        })
        .collect();
    found.sort();
    found
}

/// A value that is not a text by default: TOML, or, so that the type's own message appears, text.
fn from_toml(text: &str) -> Value {
    toml::from_str::<toml::Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .and_then(|value| Value::serialize(value).ok())
        .unwrap_or_else(|| Value::from(text))
}

fn unknown(layer: String, key: &str, schema: &Dict) -> Error {
    let hint = keys(schema)
        .into_iter()
        .map(|known| (distance(&known, key), known))
        .min()
        .filter(|(distance, _)| *distance <= 4)
        .map(|(_, known)| known);
    Error::UnknownKey { layer, key: key.to_owned(), hint }
}

/// The dotted keys of all values that are not themselves tables. An empty table is a key too.
pub(crate) fn keys(dict: &Dict) -> Vec<String> {
    fn walk(prefix: &str, dict: &Dict, found: &mut Vec<String>) {
        for (name, value) in dict {
            let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            match value {
                Value::Dict(_, inner) if !inner.is_empty() => walk(&key, inner, found),
                _ => found.push(key),
            }
        }
    }
    let mut found = Vec::new();
    walk("", dict, &mut found);
    found
}

/// The value at a dotted key.
pub(crate) fn find<'a>(dict: &'a Dict, key: &str) -> Option<&'a Value> {
    let (first, rest) = key.split_once('.').map_or((key, None), |(a, b)| (a, Some(b)));
    match (dict.get(first)?, rest) {
        (value, None) => Some(value),
        (Value::Dict(_, inner), Some(rest)) => find(inner, rest),
        _ => None,
    }
}

/// Levenshtein's distance, for hints.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
