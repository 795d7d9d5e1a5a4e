//! `hone why`: the whole decision behind an adapter, in words and tables.

use std::collections::BTreeSet;
use std::fmt::Display;

use hone_api::adapter::{AdapterView, Provenance};
use hone_api::cycle::{CycleView, Step, Verdict};
use serde_json::{Map, Value, json};

use super::{adapters, words};
use crate::cli::WhyArgs;
use crate::client::{Client, ClientError, List, path};
use crate::context::{CommandResult, Context};
use crate::output::{Output, Table};

/// Tells it.
///
/// # Errors
/// There is no such adapter, or no daemon.
pub async fn run(context: &Context, args: &WhyArgs) -> CommandResult {
    let (client, output) = (context.client()?, context.output);
    // Who asks for what serves also wants to know why nothing newer does.
    let last = if args.adapter == "live" { Last::of(&client).await? } else { Last::default() };
    let view: AdapterView = match client.get(&path::adapter(&args.adapter)?).await {
        Err(ClientError::Refused { .. }) if matches!(args.adapter.as_str(), "live" | "base") => {
            let text = "the base serves, without an adapter; nothing had to be decided for that";
            if output.is_json() {
                output.value(&last.beside(&json!({"adapter": null, "cycle": null})))?;
            }
            output.line(text)?;
            return Ok(last.tell(output)?);
        }
        other => other?,
    };
    let cycle: Option<CycleView> = match &view.provenance {
        Provenance::Cycle { cycle_id, .. } => {
            Some(client.get(&path::cycle(&cycle_id.to_string())?).await?)
        }
        Provenance::Import { .. } => None,
    };
    let last = last.but(cycle.as_ref());
    if output.is_json() {
        output.value(&last.beside(&json!({"adapter": view, "cycle": cycle})))?;
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
    Ok(last.tell(output)?)
}

/// What came after what serves and changed nothing.
#[derive(Debug, Default)]
struct Last {
    /// The newest cycle that has come to its end.
    cycle: Option<CycleView>,
    /// The newest that was decided, where that is another one: nights without anything new are skipped.
    decided: Option<CycleView>,
}

impl Last {
    async fn of(client: &Client) -> Result<Self, ClientError> {
        let newest: List<CycleView> = client.get("/v1/cycles?limit=100&order=desc").await?;
        Ok(Self::among(newest.data))
    }

    /// `cycles` are the newest first.
    fn among(cycles: Vec<CycleView>) -> Self {
        let mut over = cycles.into_iter().filter(|view| view.finished_at.is_some());
        let cycle = over.next();
        let was_skipped = |view: &CycleView| view.verdict == Some(Verdict::Skipped);
        let decided = match &cycle {
            Some(newest) if was_skipped(newest) => over.find(|view| !was_skipped(view)),
            _ => None,
        };
        Self { cycle, decided }
    }

    /// Without the cycle that made what serves, which is told anyhow.
    fn but(self, own: Option<&CycleView>) -> Self {
        let is_other = |view: &CycleView| own.is_none_or(|own| own.id != view.id);
        Self { cycle: self.cycle.filter(is_other), decided: self.decided.filter(is_other) }
    }

    fn beside(&self, told: &Value) -> Value {
        let mut all = told.clone();
        all["last_cycle"] = json!(self.cycle);
        all["last_decided"] = json!(self.decided);
        all
    }

    fn tell(&self, output: Output) -> std::io::Result<()> {
        for (title, cycle) in [("last cycle", &self.cycle), ("last verdict", &self.decided)] {
            let Some(cycle) = cycle else { continue };
            output.line(format_args!("\n{title}: {} {}", cycle.id, verdict(cycle)))?;
            output.line(format_args!("`hone cycle show {}` tells it step by step.", cycle.id))?;
        }
        Ok(())
    }
}

/// The verdict, or how it ended without one, with the reason.
fn verdict(cycle: &CycleView) -> String {
    let word = cycle.verdict.map_or_else(|| words::word(&cycle.status), |v| words::word(&v));
    format!("{word}: {}", cycle.reason.as_deref().unwrap_or("no reason is recorded"))
}

fn tell(output: Output, cycle: &CycleView) -> std::io::Result<()> {
    output.line(verdict(cycle))?;
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
            Value::Object(inner) if is_grid(inner) => {
                output.line(format_args!("{indent}{name}"))?;
                output.table(&grid(inner))?;
            }
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

/// Whether every member is an object of numbers: that reads best as a table.
fn is_grid(members: &Map<String, Value>) -> bool {
    let row = |value: &Value| {
        value.as_object().is_some_and(|row| !row.is_empty() && row.values().all(Value::is_number))
    };
    !members.is_empty() && members.values().all(row)
}

fn grid(members: &Map<String, Value>) -> Table {
    let columns: BTreeSet<&str> = members
        .values()
        .filter_map(Value::as_object)
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect();
    let mut head = vec![String::new()];
    head.extend(columns.iter().map(|name| format!(">{}", name.replace('_', " "))));
    let mut table = Table::new(&head.iter().map(String::as_str).collect::<Vec<_>>());
    for (name, row) in members {
        let figure =
            |column: &&str| row[*column].as_f64().map_or_else(|| "-".to_owned(), words::number);
        let mut cells = vec![name.clone()];
        cells.extend(columns.iter().map(figure));
        table.row(&cells.iter().map(|cell| cell as &dyn Display).collect::<Vec<_>>());
    }
    table
}

#[cfg(test)]
mod tests {
    use hone_api::UnixMillis;
    use hone_api::cycle::{CycleStatus, Trigger};

    use super::*;

    #[test]
    fn a_cycle_is_told_with_its_reason_however_it_ended() {
        let cycle = CycleView {
            verdict: Some(Verdict::Skipped),
            reason: Some("2 corrected answers".to_owned()),
            ..CycleView::queued(Trigger::Manual, UnixMillis(1))
        };
        assert_eq!(verdict(&cycle), "skipped: 2 corrected answers");
        let broken =
            CycleView { verdict: None, reason: None, status: CycleStatus::Failed, ..cycle };
        assert_eq!(verdict(&broken), "failed: no reason is recorded");
    }

    #[test]
    fn nights_that_were_skipped_hide_no_verdict() {
        let ended = |verdict| CycleView {
            verdict: Some(verdict),
            finished_at: Some(UnixMillis(2)),
            ..CycleView::queued(Trigger::Schedule, UnixMillis(1))
        };
        let running = CycleView::queued(Trigger::Manual, UnixMillis(3));
        let (skipped, rejected) = (ended(Verdict::Skipped), ended(Verdict::Rejected));
        let nights = vec![running, skipped.clone(), ended(Verdict::Skipped), rejected.clone()];
        let last = Last::among(nights);
        assert_eq!((last.cycle, last.decided), (Some(skipped), Some(rejected.clone())));
        let last = Last::among(vec![rejected.clone(), ended(Verdict::Skipped)]);
        assert_eq!((last.cycle, last.decided), (Some(rejected), None));
    }

    #[test]
    fn rows_of_figures_become_a_table() {
        let value = json!({"a": {"train": 76, "held_out": 20}, "b": {"train": 1}});
        let members = value.as_object().unwrap();
        assert!(is_grid(members));
        let text = "   held out  train\na        20     76\nb         -      1\n";
        assert_eq!(grid(members).render(false), text);
        assert!(!is_grid(json!({"a": {"b": {}}}).as_object().unwrap()));
    }
}
