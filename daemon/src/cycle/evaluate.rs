//! Evaluate: the adapter that serves and the candidate answer the same questions: the snapshot's
//! held-out ones, and the control suites.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use hone_api::chat::Message;
use hone_api::cycle::Verdict;
use hone_config::Config;
use hone_dataset::Snapshot;
use hone_eval::{Bootstrap, Report, RowResult, Suite, compare};
use hone_model::Model;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{BEAT, End, Work};
use crate::compare::{Side, answer};

pub(super) async fn run(mut work: Work<'_>) -> anyhow::Result<End> {
    let halt = work.halt.clone();
    // Dropping the comparison keeps the answers that there are.
    tokio::select! {
        end = evaluate(&mut work) => end,
        () = halt.cancelled() => Ok(End::Halted),
    }
}

async fn evaluate(work: &mut Work<'_>) -> anyhow::Result<End> {
    let parts = work.parts;
    let id = work.cycle.candidate.context("the cycle has no candidate")?;
    let pointer = parts.registry.live();
    work.cycle.champion = pointer.live;
    if pointer.live == Some(id) {
        let reason = "a person promoted it before it was compared".to_owned();
        let outcome = json!({ "epoch": pointer.epoch });
        return Ok(End::Over { verdict: Verdict::Promoted, reason, outcome });
    }
    let suites = {
        let config = parts.settings.now();
        let snapshot = work.cycle.snapshot.clone().context("the cycle has no snapshot")?;
        let folder = parts.dirs.snapshots().join(snapshot);
        let model = Arc::clone(parts.engine.model());
        tokio::task::spawn_blocking(move || suites(&config, &model, &folder)).await??
    };
    let champion = Side::load(parts, pointer.live).await?;
    let candidate = Side::load(parts, Some(id)).await?;
    let questions: usize = suites.iter().map(|suite| suite.rows.len()).sum();
    let champion_rows = ask(work, &champion, &suites, 0).await?;
    let candidate_rows = ask(work, &candidate, &suites, questions).await?;
    let report = compare(&champion_rows, &candidate_rows, Bootstrap::default())?;

    let scores = report.scores();
    let registry = parts.registry.clone();
    tokio::task::spawn_blocking(move || registry.set_scores(id, scores)).await??;
    let message = message(&report);
    Ok(End::Next { outcome: outcome(&report, &champion, &suites)?, message })
}

async fn ask(
    work: &Work<'_>,
    side: &Side,
    suites: &[Suite],
    before: usize,
) -> anyhow::Result<Vec<RowResult>> {
    let (send, mut counts) = mpsc::unbounded_channel();
    let progress = move |done: usize, total: usize| {
        let _ = send.send((done, total)); // the receiver lives as long as this future
    };
    let answers = answer(work.parts, side, suites, &progress);
    tokio::pin!(answers);
    let mut last: Option<Instant> = None;
    loop {
        tokio::select! {
            rows = &mut answers => return rows,
            Some((done, total)) = counts.recv() => {
                if last.is_none_or(|last| last.elapsed() >= BEAT) {
                    last = Some(Instant::now());
                    let data = json!({
                        "done": before + done, "total": 2 * total, "adapter": side.name(),
                    });
                    work.progress(format!("{} answers", side.name()), data).await?;
                }
            }
        }
    }
}

/// The questions of a cycle.
fn suites(config: &Config, model: &Model, snapshot: &Path) -> anyhow::Result<Vec<Suite>> {
    let evaluation = &config.evaluation;
    let mut snapshot = Snapshot::read(snapshot)?;
    snapshot.examples.retain(|example| fits(model, example.prompt()));
    let mut suites = vec![Suite::from_examples(&snapshot.examples, evaluation.heldout_rows)?];
    let starter = config.model.is_starter();
    suites.extend(Suite::controls(&evaluation.suites, evaluation.rows_per_suite, starter)?);
    Ok(suites)
}

/// Whether the context holds a conversation and room for an answer. One that was served may not: as
/// turns of a chat a raw completion is longer, and so may be placeholders than what they stand for.
fn fits(model: &Model, prompt: &[Message]) -> bool {
    let tokens = model.template().encode_chat(model.tokenizer(), prompt, true);
    tokens.is_ok_and(|tokens| tokens.len() < model.config().max_positions)
}

fn message(report: &Report) -> String {
    let side = |part: &Option<hone_eval::Comparison>| {
        part.as_ref().map_or_else(
            || "none asked".to_owned(),
            |c| format!("{:.1} % to {:.1} %", c.champion_percent(), c.candidate_percent()),
        )
    };
    format!("held-out {}, controls {}", side(&report.heldout), side(&report.controls))
}

/// The report itself, so that the verdict can be understood from the row alone.
fn outcome(report: &Report, champion: &Side, suites: &[Suite]) -> anyhow::Result<Value> {
    let mut outcome = serde_json::to_value(report)?;
    outcome["champion"] = json!(champion.name());
    let digests: BTreeMap<_, _> = suites.iter().map(|suite| (&suite.name, &suite.digest)).collect();
    outcome["suites"] = json!(digests);
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use hone_api::chat::Role;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_conversation_that_the_context_does_not_hold_is_not_asked() {
        let rig = crate::testing::Rig::new().await;
        let model = rig.parts.engine.model();
        let ask = |text: String| [Message::new(Role::User, text)];
        assert!(fits(model, &ask("How are you?".into())));
        assert!(!fits(model, &ask("long ".repeat(model.config().max_positions))));
    }
}
