//! The files of `deploy/`, read.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

/// A path from the root of the repository.
pub(crate) fn path(below: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(below)
}

/// A file's text.
pub(crate) fn text(below: &str) -> Result<String> {
    Ok(fs_err::read_to_string(path(below))?)
}

/// A YAML or JSON file.
pub(crate) fn tree(below: &str) -> Result<Value> {
    serde_saphyr::from_str(&text(below)?).with_context(|| below.to_owned())
}

/// The value of `name=` in a unit file, each time that it stands there.
pub(crate) fn unit(name: &str) -> Result<Vec<String>> {
    let text = text("deploy/systemd/hone.service")?;
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    Ok(lines.map(str::to_owned).collect())
}

/// Each string below `value` that stands under `key`, however deep.
pub(crate) fn all<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match value {
                    Value::String(text) if name == key => found.push(text),
                    value => all(value, key, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| all(value, key, found)),
        _ => {}
    }
}
