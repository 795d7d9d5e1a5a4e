//! `hone models`: download and pack ahead, and what is there.

use std::path::{Path, PathBuf};
use std::time::Instant;

use hone_model::{Packed, packed};
use serde_json::json;

use super::base::Base;
use crate::cli::{ModelArgs, ModelsCommand};
use crate::context::{CommandResult, Context, Failure};
use crate::output::{Table, human_duration, preparing};
use hone_daemon::base_model;
use hone_daemon::dirs;

/// Does it.
///
/// # Errors
/// The model is not there, is none, or does not fit.
pub fn run(context: &Context, command: &ModelsCommand) -> CommandResult {
    match command {
        ModelsCommand::Pull { id } => pull(context, id),
        ModelsCommand::Pack { model, weights } => {
            let args =
                ModelArgs { model: model.clone(), weights: *weights, ..ModelArgs::default() };
            pack(context, &args)
        }
        ModelsCommand::List => list(context),
    }
}

fn base_dir(context: &Context) -> Result<PathBuf, Failure> {
    Ok(context.config(Vec::new())?.config.server.data_dir.join("base"))
}

fn pull(context: &Context, id: &str) -> CommandResult {
    let base_dir = base_dir(context)?;
    if Path::new(id).exists() {
        let text = format!(
            "`{id}` lies here and goes before the hub; `hone serve --model {id}` serves it as it is"
        );
        return Err(Failure::Usage(text));
    }
    dirs::make(&base_dir)?;
    let snapshot = base_model::pull(id, &base_dir, &mut *preparing(context.output))?;
    let path = snapshot.path.display();
    if context.output.is_json() {
        let value = json!({"id": id, "commit": snapshot.commit, "path": snapshot.path});
        context.output.value(&value)?;
    }
    context.output.line(format_args!("{path}"))?;
    context.output.say(format_args!("{id} is here, at commit {}", snapshot.commit));
    Ok(())
}

fn pack(context: &Context, args: &ModelArgs) -> CommandResult {
    let begun = Instant::now();
    let base = Base::prepare(context, args)?;
    let folder = base.folder();
    let found =
        packed(folder.parent().unwrap_or(folder)).into_iter().find(|one| one.folder == folder);
    if context.output.is_json() {
        context.output.value(&found.as_ref().map(value))?;
    }
    context.output.line(format_args!("{}", folder.display()))?;
    if let Some(Packed { format, bytes, .. }) = found {
        let (size, took) = (size(bytes), human_duration(begun.elapsed()));
        context
            .output
            .say(format_args!("{} in {format}: {size} ({took})", base.config.model.source));
    }
    Ok(())
}

fn list(context: &Context) -> CommandResult {
    let found = packed(&base_dir(context)?);
    if context.output.is_json() {
        for one in &found {
            context.output.value(&value(one))?;
        }
        return Ok(());
    }
    let mut table = Table::new(&["format", ">size", "digest", "source"]);
    for one in &found {
        let sources: Vec<String> = one.sources.iter().map(|path| told(path)).collect();
        let source = if sources.is_empty() { "?".to_owned() } else { sources.join(", ") };
        table.row(&[
            &one.format,
            &size(one.bytes),
            &&one.digest[..one.digest.len().min(12)],
            &source,
        ]);
    }
    context.output.table(&table)?;
    Ok(())
}

fn value(one: &Packed) -> serde_json::Value {
    let sources: Vec<String> = one.sources.iter().map(|path| told(path)).collect();
    json!({
        "digest": one.digest, "format": one.format.to_string(), "bytes": one.bytes, "folder": one.folder, "sources": sources,
    })
}

/// A source as a person names it: a snapshot of the hub by its id and commit.
fn told(path: &Path) -> String {
    let words: Vec<&str> = path.iter().filter_map(|word| word.to_str()).collect();
    let at =
        words.windows(2).position(|pair| pair[0].starts_with("models--") && pair[1] == "snapshots");
    let id = || {
        let at = at?;
        let repo = words[at].strip_prefix("models--")?.replace("--", "/");
        let commit = words.get(at + 2)?;
        let file: String = words[at + 3..].iter().map(|word| format!("/{word}")).collect();
        Some(format!("{repo}{file}@{commit}"))
    };
    id().unwrap_or_else(|| path.display().to_string())
}

fn size(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_told_by_its_id() {
        let cache = "/home/ann/.cache/huggingface/hub/models--Some--Tiny-1/snapshots/0123";
        assert_eq!(told(Path::new(cache)), "Some/Tiny-1@0123");
        let gguf = format!("{cache}/q4/tiny.gguf");
        assert_eq!(told(Path::new(&gguf)), "Some/Tiny-1/q4/tiny.gguf@0123");
        assert_eq!(told(Path::new("/models/a")), "/models/a");
        assert_eq!(told(Path::new("starter")), "starter");
    }
}
