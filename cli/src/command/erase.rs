//! `hone erase` and `hone recall`: a person's traces, or one answer's.

use hone_api::erasure::{ErasureView, HoldingSnapshot, RecallView, TaughtAdapter};

use super::words;
use crate::cli::SubjectArgs;
use crate::client::{ClientError, path};
use crate::context::{CommandResult, Context};
use crate::output::Output;

/// Removes them and prints the receipt.
///
/// # Errors
/// The daemon is not there, or says no.
pub async fn erase(context: &Context, args: &SubjectArgs) -> CommandResult {
    let receipt: ErasureView = context.client()?.delete_as(&of(args)?).await?;
    let output = context.output;
    if output.is_json() {
        output.value(&receipt)?;
        return Ok(());
    }
    let removed = &receipt.removed;
    output.line(format_args!("receipt   {}", receipt.id))?;
    output.line(format_args!(
        "removed   {}, {}, {} of data sets, {}, {} of kept answers",
        words::count(removed.interactions, "interaction"),
        words::count(removed.feedback, "feedback item"),
        words::count(removed.snapshot_rows, "row"),
        words::count(removed.runs, "run"),
        words::count(removed.answer_files, "file"),
    ))?;
    seen_by(output, &receipt.snapshots, &receipt.adapters)?;
    output.line(format_args!("next      {}", receipt.next))?;
    Ok(())
}

/// Tells who saw them.
///
/// # Errors
/// The daemon is not there, or says no.
pub async fn recall(context: &Context, args: &SubjectArgs) -> CommandResult {
    let recall_of = match &args.interaction {
        Some(id) => format!("{}/recall", path::interaction(id)?),
        None => of(args)?,
    };
    let view: RecallView = context.client()?.get(&recall_of).await?;
    let output = context.output;
    if output.is_json() {
        output.value(&view)?;
        return Ok(());
    }
    output.line(format_args!(
        "log       {}, {}",
        words::count(view.interactions, "interaction"),
        words::count(view.feedback, "feedback item")
    ))?;
    seen_by(output, &view.snapshots, &view.adapters)?;
    Ok(())
}

fn of(args: &SubjectArgs) -> Result<String, ClientError> {
    match (&args.interaction, &args.user) {
        (Some(id), _) => path::interaction(id),
        (None, user) => path::subject(user.as_deref().unwrap_or_default()),
    }
}

fn seen_by(
    output: Output,
    snapshots: &[HoldingSnapshot],
    adapters: &[TaughtAdapter],
) -> std::io::Result<()> {
    for snapshot in snapshots {
        let rows = words::count(snapshot.rows, "row");
        output.line(format_args!("data set  {:.16}  {rows}", snapshot.hash))?;
    }
    for adapter in adapters {
        output.line(format_args!("adapter   {}  {}", adapter.id, words::word(&adapter.state)))?;
    }
    if snapshots.is_empty() && adapters.is_empty() {
        output.line("trained   nothing")?;
    }
    Ok(())
}
