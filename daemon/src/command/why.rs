//! `hone why`: the whole decision behind an adapter, in words and tables.

use hone_api::adapter::{AdapterView, Provenance};
use hone_api::cycle::{CycleView, Step, Verdict};
use serde_json::{Value, json};

use super::{Context, Outcome, adapters, words};
use crate::cli::WhyArgs;
use crate::client::ClientError;
use crate::output::Output;

/// Tells it.
///
/// # Errors
/// There is no such adapter, or no daemon.
pub async fn run(context: &Context, args: &WhyArgs) -> Outcome {
    let (client, output) = (context.client()?, context.output);
    let view: AdapterView = match client.get(&format!("/v1/adapters/{}", args.adapter)).await {
        Err(ClientError::Refused { status: 404, .. }) if args.adapter == "live" => {
            let text = "the base serves, without an adapter; nothing had to be decided for that";
            if output.is_json() {
                output.value(&json!({"adapter": null, "cycle": null}))?;
            }
            output.line(text)?;
            return Ok(());
        }
        other => other?,
    };
    let cycle: Option<CycleView> = match &view.provenance {
        Provenance::Cycle { cycle_id, .. } => {
            Some(client.get(&format!("/v1/cycles/{cycle_id}")).await?)
        }
        Provenance::Import { .. } => None,
    };
    if output.is_json() {
        output.value(&json!({"adapter": view, "cycle": cycle}))?;
        return Ok(());
    }
    output.line(format_args!("{} is {}", view.id, words::word(&view.state)))?;
    match cycle {
        Some(cycle) => tell(output, &cycle)?,
        None => {
            output.line(format_args!(
                "It was imported ({}); no cycle decided about it.",
                adapters::origin(&view)
            ))?;
            output.line("`hone eval --suite FILE --adapter ID --against live` compares it.")?;
        }
    }
    Ok(())
}

fn tell(output: Output, cycle: &CycleView) -> std::io::Result<()> {
    let verdict = cycle.verdict.map_or_else(|| words::word(&cycle.status), |v| words::word(&v));
    output.line(format_args!(
        "{verdict}: {}",
        cycle.reason.as_deref().unwrap_or("no reason is recorded")
    ))?;
    let champion = cycle.champion.map_or_else(|| "the base".to_owned(), |id| id.to_string());
    output.line(format_args!(
        "Cycle {} began {} by {}; it was compared with {champion}.",
        cycle.id,
        words::time(cycle.created_at),
        words::word(&cycle.trigger)
    ))?;
    for (step, title) in [
        (Step::Select, "Data"),
        (Step::Train, "Training"),
        (Step::Register, "Verification"),
        (Step::Evaluate, "Evaluation"),
        (Step::Decide, "Verdict"),
        (Step::Promote, "Promotion"),
    ] {
        if let Some(outcome) = cycle.outcomes.get(&step) {
            output.heading(title)?;
            match serde_json::from_value::<hone_eval::Report>(outcome.clone()) {
                Ok(report) => output.line(report.table().trim_end())?,
                Err(_) => tree(output, outcome, "")?,
            }
        }
    }
    if cycle.verdict == Some(Verdict::Held) {
        output.line("\nIt waits for you: `hone adapters promote candidate`, or delete it.")?;
    }
    Ok(())
}

/// Any outcome: plain figures first, then what is nested, indented.
fn tree(output: Output, value: &Value, indent: &str) -> std::io::Result<()> {
    let plain = words::figures(value);
    if !plain.is_empty() {
        output.line(format_args!("{indent}{plain}"))?;
    }
    let deeper = format!("{indent}  ");
    for (name, value) in value.as_object().into_iter().flatten() {
        let name = name.replace('_', " ");
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                output.line(format_args!("{indent}{name}"))?;
                tree(output, value, &deeper)?;
            }
            Value::String(text) if text.chars().count() > 80 => {
                output.line(format_args!("{indent}{name}: {text}"))?;
            }
            _ => {}
        }
    }
    Ok(())
}
