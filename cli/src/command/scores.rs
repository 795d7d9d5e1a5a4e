//! What evaluations by a daemon and in this process have in common: words for adapters, and the scores as a table.

use hone_eval::Report;
use serde_json::Value;

use super::words;
use crate::context::CommandResult;
use crate::output::{Output, Table};

/// Whether it is a word for an adapter, and no folder of that name is meant.
pub fn is_word(name: &str) -> bool {
    matches!(name, "base" | "live" | "previous" | "candidate")
}

/// A comparison as a table, plain scores as one too.
pub fn show(output: Output, report: &Value) -> CommandResult {
    if output.is_json() {
        output.value(report)?;
        return Ok(());
    }
    if let Ok(report) = serde_json::from_value::<Report>(report.clone()) {
        output.line(report.table().trim_end())?;
        return Ok(());
    }
    let mut table = Table::new(&["family", ">n", ">accuracy %"]);
    for (family, line) in report["families"].as_object().into_iter().flatten() {
        let count = |name: &str| line[name].as_f64().unwrap_or(0.0);
        let accuracy = 100.0 * count("passed") / count("items").max(1.0);
        table.row(&[&family, &words::number(count("items")), &format!("{accuracy:.1}")]);
    }
    if table.is_empty() {
        output.line(words::figures(report))?;
    }
    output.table(&table)?;
    Ok(())
}
