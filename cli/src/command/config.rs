//! `hone config`: what holds, and who said so.

use serde_json::{Map, Value, json};

use crate::cli::ConfigCommand;
use crate::context::{CommandResult, Context};
use crate::output::Table;

/// Shows or checks the settings.
///
/// # Errors
/// They do not hold.
pub fn run(context: &Context, command: &ConfigCommand) -> CommandResult {
    let loaded = context.config(Vec::new())?;
    let output = context.output;
    match command {
        ConfigCommand::Show => {
            let mut table = Table::new(&["setting", "value", "set by"]);
            let mut all = Map::new();
            for one in loaded.explain() {
                let value = match &one.value {
                    Value::String(text) => format!("\"{text}\""),
                    other => other.to_string(),
                };
                table.row(&[&one.key, &value, &one.layer]);
                all.insert(one.key.clone(), json!({"value": one.value, "layer": one.layer}));
            }
            output.table(&table)?;
            if output.is_json() {
                output.value(&all)?;
            }
        }
        ConfigCommand::Check => {
            let file = loaded.file.as_ref().map(|path| path.display().to_string());
            let changed = loaded.explain().iter().filter(|one| one.layer != "default").count();
            if output.is_json() {
                output.value(&json!({"ok": true, "file": file, "changed": changed}))?;
            }
            let file = file.unwrap_or_else(|| "no file".to_owned());
            output
                .line(format_args!("good: {file}, {changed} settings differ from the defaults"))?;
        }
    }
    Ok(())
}
