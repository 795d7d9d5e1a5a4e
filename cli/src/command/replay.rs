//! `hone replay`: a logged answer, computed again.

use anyhow::anyhow;
use hone_api::replay::Replay;
use serde_json::json;

use super::words;
use crate::cli::ReplayArgs;
use crate::client::path;
use crate::context::{CommandResult, Context, Failure};

/// Has the daemon compute it again and tells whether it came to the same.
///
/// # Errors
/// The daemon is not there or cannot compute it again; it came to other token ids.
pub async fn run(context: &Context, args: &ReplayArgs) -> CommandResult {
    let path = path::replay(&args.interaction)?;
    let replay: Replay = context.client()?.post(&path, &json!({})).await?;
    let output = context.output;
    if output.is_json() {
        output.value(&replay)?;
    } else {
        let adapter = replay.adapter_id.map_or_else(|| "base".to_owned(), |id| id.to_string());
        output.line(format_args!("answer    {}", replay.id))?;
        output.line(format_args!("adapter   {adapter}"))?;
        if let Some(seed) = replay.seed {
            output.line(format_args!("seed      {seed}"))?;
        }
        for answer in &replay.answers {
            let tokens = words::count(answer.tokens.len() as u64, "token");
            let verdict = match answer.first_difference {
                None => "the same".to_owned(),
                Some(place) => format!("differs from token {place} on"),
            };
            output.line(format_args!("{:<9} {tokens}, {verdict}", answer.index))?;
            output.line(&answer.text)?;
        }
    }
    match replay.reason {
        Some(reason) if !replay.same => Err(Failure::Failed(anyhow!(reason))),
        _ => Ok(()),
    }
}
