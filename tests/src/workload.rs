//! The starter's workloads: questions with a reference answer and a check.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

/// The rows of one file and one split, e.g. `("averages", "feedback")`.
///
/// # Errors
/// There is no such file.
pub fn rows(name: &str, split: &str) -> Result<Vec<Value>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/starter/workloads");
    let text = fs_err::read_to_string(folder.join(format!("{name}.jsonl")))?;
    let mut rows = Vec::new();
    for line in text.lines() {
        let row: Value = serde_json::from_str(line)?;
        if row["split"] == split {
            rows.push(row);
        }
    }
    Ok(rows)
}
