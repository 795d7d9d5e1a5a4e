//! `hone cycle`: start and inspect turns of the loop.

use hone_api::cycle::{CycleStatus, CycleView, Verdict};
use serde_json::{Value, json};

use super::{follow, words};
use crate::cli::CycleCommand;
use crate::client::{Client, List, path};
use crate::context::{CommandResult, Context, Failure};
use crate::output::Table;

/// Does what was asked for.
///
/// # Errors
/// The daemon says no; with `--wait`, the cycle did not come to a verdict.
pub async fn run(context: &Context, command: CycleCommand) -> CommandResult {
    let client = context.client()?;
    match command {
        CycleCommand::Run { wait } => start(context, &client, wait).await,
        CycleCommand::List { limit } => list(context, &client, limit).await,
        CycleCommand::Show { id } => {
            let id = id_or_newest(&client, id).await?;
            let view: CycleView = client.get(&path::cycle(&id)?).await?;
            show(context, &view)
        }
        CycleCommand::Cancel { id } => {
            let id = id_or_newest(&client, id).await?;
            let answer: Value =
                client.post(&format!("{}/cancel", path::cycle(&id)?), &json!({})).await?;
            if context.output.is_json() {
                context.output.value(&answer)?;
            }
            context.output.line(format_args!("{id} is told to stop"))?;
            Ok(())
        }
    }
}

async fn start(context: &Context, client: &Client, wait: bool) -> CommandResult {
    let view: CycleView = client.post("/v1/cycles", &json!({})).await?;
    if !wait {
        if context.output.is_json() {
            context.output.value(&view)?;
        }
        context.output.line(view.id)?;
        context.output.say("follow it with `hone cycle show`, or start with --wait");
        return Ok(());
    }
    let view = follow::follow(client, &view.id.to_string(), context.output).await?.view;
    show(context, &view)?;
    match view.status {
        CycleStatus::Finished => Ok(()),
        _ => Err(Failure::Told),
    }
}

async fn list(context: &Context, client: &Client, limit: usize) -> CommandResult {
    let cycles: List<CycleView> =
        client.get(&format!("/v1/cycles?limit={limit}&order=desc")).await?;
    let mut table = Table::new(&["cycle", "began", "by", "status", "step", "verdict", "candidate"]);
    for view in &cycles.data {
        if context.output.is_json() {
            context.output.value(view)?;
        }
        table.row(&[
            &view.id,
            &words::time(view.created_at),
            &words::word(&view.trigger),
            &words::word(&view.status),
            &words::word(&view.step),
            &view.verdict.map_or_else(|| "-".to_owned(), |verdict| words::word(&verdict)),
            &words::or_dash(view.candidate),
        ]);
    }
    context.output.table(&table)?;
    if cycles.data.is_empty() {
        context.output.say("no cycle yet; start one with `hone cycle run`");
    }
    Ok(())
}

/// One cycle in words, or as JSON.
fn show(context: &Context, view: &CycleView) -> CommandResult {
    let output = context.output;
    if output.is_json() {
        output.value(view)?;
        return Ok(());
    }
    let verdict = view.verdict.map_or_else(|| words::word(&view.status), |v| words::word(&v));
    output.line(format_args!("{}  {}", view.id, verdict))?;
    if let Some(reason) = &view.reason {
        output.line(reason)?;
    }
    output.line(format_args!(
        "began {} by {}",
        words::time(view.created_at),
        words::word(&view.trigger)
    ))?;
    for (step, outcome) in &view.outcomes {
        output.line(format_args!("  {:9} {}", words::word(step), words::figures(outcome)))?;
    }
    if view.verdict == Some(Verdict::Held)
        && let Some(candidate) = view.candidate
    {
        output.say(format_args!("let it serve with `hone adapters promote {candidate}`"));
    }
    Ok(())
}

async fn id_or_newest(client: &Client, id: Option<String>) -> Result<String, Failure> {
    if let Some(id) = id {
        return Ok(id);
    }
    let newest: List<CycleView> = client.get("/v1/cycles?limit=1&order=desc").await?;
    match newest.data.first() {
        Some(view) => Ok(view.id.to_string()),
        None => Err(anyhow::anyhow!("no cycle yet; start one with `hone cycle run`").into()),
    }
}
