//! Evaluate: the adapter that serves and the candidate answer the same questions: those that were
//! corrected, and the control suites. Corrections are judged by adapters that never saw them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use fail::fail_point;
use hone_api::chat::Message;
use hone_api::cycle::Verdict;
use hone_config::Config;
use hone_dataset::{Example, Kind, Snapshot};
use hone_eval::{Bootstrap, Evidence, Part, Report, RowResult, Suite, compare, groups};
use hone_text::{FrontEnd, Talk};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::attempt::judge;
use super::evidence::{self, Judges, is_new};
use super::{BEAT, End, Work, general, judged, train};
use crate::compare::{Side, answer};
use crate::stained;

pub(super) async fn run(mut work: Work<'_>) -> anyhow::Result<End> {
    let halt = work.halt.clone();
    // Dropping the comparison keeps the answers that there are.
    let end = tokio::select! {
        end = evaluate(&mut work) => end,
        () = halt.cancelled() => Ok(End::Halted),
    };
    for fold in 0..MOST_FOLDS {
        work.services.engine.unload(judge(work.cycle.id, fold));
    }
    end
}

/// More folds than there ever are.
const MOST_FOLDS: usize = 10;

/// The questions of a cycle.
struct Questions {
    /// Corrections that the serving adapter does not know, of those that are judged, with their folds.
    folds: Vec<(usize, Suite)>,
    /// What the candidate was taught, and what both were.
    corrected: Vec<Suite>,
    controls: Vec<Suite>,
}

async fn evaluate(work: &mut Work<'_>) -> anyhow::Result<End> {
    let services = work.services;
    let id = work.cycle.candidate.context("the cycle has no candidate")?;
    let against = stained::champion(services).await?;
    work.cycle.champion = against.compared;
    if against.serves == Some(id) {
        let reason = "a person promoted it before it was compared".to_owned();
        let outcome = json!({ "epoch": services.registry.live().epoch });
        return Ok(End::Over { verdict: Verdict::Promoted, reason, outcome });
    }
    let (snapshot, questions) = {
        let config = services.settings.now();
        let snapshot = work.cycle.snapshot.clone().context("the cycle has no snapshot")?;
        let folder = services.dirs.snapshots().join(snapshot);
        let front_end = Arc::clone(services.engine.front_end());
        tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
            let mut snapshot = Snapshot::read(&folder)?;
            snapshot.examples.retain(|example| fits_whole(&front_end, example));
            let lengths = Lengths::of(&config);
            let mut comparable = snapshot.examples.clone();
            comparable.retain(|example| lengths.hold(&front_end, example));
            name_groups(&mut comparable);
            let questions = questions(&config, &comparable, snapshot.manifest.folds)?;
            Ok((snapshot, questions))
        })
        .await??
    };
    let champion = Side::load(services, against.compared).await?;
    let candidate = Side::load(services, Some(id)).await?;
    let base = Side::load(services, None).await?;
    let judges = judges(work, snapshot.manifest.folds).await?;

    let all: Vec<&Suite> = questions.corrected.iter().chain(&questions.controls).collect();
    let mut total = Progress::of(&questions);
    let mut champion_rows = ask(work, &champion, &all, &mut total).await?;
    let mut candidate_rows = ask(work, &candidate, &all, &mut total).await?;
    let controls: Vec<&Suite> = questions.controls.iter().collect();
    let mut base_rows = ask(work, &base, &controls, &mut total).await?;
    if controls.is_empty() && !services.settings.now().evaluation.suites.is_empty() {
        let rows = general::agreement(services, &base, [&champion, &candidate]).await?;
        let [of_base, of_champion, of_candidate] = rows;
        base_rows = of_base;
        champion_rows.extend(of_champion);
        candidate_rows.extend(of_candidate);
    }
    let candidate_controls: Vec<RowResult> =
        candidate_rows.iter().filter(|row| row.part == Part::Control).cloned().collect();
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for (fold, suite) in &questions.folds {
        before.extend(ask(work, &champion, &[suite], &mut total).await?);
        after.extend(ask(work, &judges[*fold], &[suite], &mut total).await?);
    }
    let preferences = judged::preferences(work, &questions.folds, (&before, &after)).await?;
    champion_rows.extend(before);
    candidate_rows.extend(after);

    let mut report = compare(&champion_rows, &candidate_rows, Bootstrap::default())?;
    if !base_rows.is_empty() {
        let compared = compare(&base_rows, &candidate_controls, Bootstrap::default())?;
        report.against_base = compared.controls;
        report.families_against_base = compared.families;
        report.conduct_change_against_base = compared.conduct_change;
    }
    if snapshot.examples.iter().any(is_new) {
        work.progress("likelihoods of corrections".to_owned(), json!({})).await?;
        let sides = Judges { champion: &champion, candidate: &candidate, folds: &judges };
        let kept = work.run_dir().join("evidence.json");
        let measured = evidence::measure(services, &snapshot, sides, &kept).await?;
        let evidence = Evidence::of(&measured, SEED)?;
        report.evidence = Some(Evidence { judge: preferences, ..evidence });
    }

    let scores = report.scores();
    let registry = services.registry.clone();
    tokio::task::spawn_blocking(move || registry.set_scores(id, scores)).await??;
    fail_point!("eval.report");
    let message = message(&report);
    Ok(End::Next { outcome: outcome(&report, &champion, &questions)?, message })
}

/// Of the permutations that the evidence draws.
const SEED: u64 = 17;

/// Loads the adapters that judge; they are no candidates and never enter the registry.
async fn judges(work: &Work<'_>, folds: usize) -> anyhow::Result<Vec<Side>> {
    let mut judges = Vec::new();
    for fold in 0..folds {
        let id = judge(work.cycle.id, fold);
        let dir = train::judge_of(&work.run_dir(), fold).await?;
        let engine = Arc::clone(&work.services.engine);
        let loaded = tokio::task::spawn_blocking(move || engine.load(id, &dir)).await??;
        judges.push(Side::unregistered(id, loaded.digest));
    }
    Ok(judges)
}

/// How many answers there are, of how many.
struct Progress {
    done: usize,
    total: usize,
}

impl Progress {
    fn of(questions: &Questions) -> Self {
        let rows = |suites: &[Suite]| suites.iter().map(|suite| suite.rows.len()).sum::<usize>();
        let judged = questions.folds.iter().map(|(_, suite)| suite.rows.len()).sum::<usize>();
        let total = 2 * (rows(&questions.corrected) + judged) + 3 * rows(&questions.controls);
        Self { done: 0, total }
    }
}

async fn ask(
    work: &Work<'_>,
    side: &Side,
    suites: &[&Suite],
    progress: &mut Progress,
) -> anyhow::Result<Vec<RowResult>> {
    if suites.is_empty() {
        return Ok(Vec::new());
    }
    let suites: Vec<Suite> = suites.iter().map(|suite| (*suite).clone()).collect();
    let (send, mut counts) = mpsc::unbounded_channel();
    let tell = move |done: usize, _| {
        let _ = send.send(done); // the receiver lives as long as this future
    };
    let answers = answer(work.services, side, &suites, &tell);
    tokio::pin!(answers);
    let mut last: Option<Instant> = None;
    let rows = loop {
        tokio::select! {
            rows = &mut answers => break rows?,
            Some(done) = counts.recv() => {
                if last.is_none_or(|last| last.elapsed() >= BEAT) {
                    last = Some(Instant::now());
                    let data = json!({
                        "done": progress.done + done, "total": progress.total,
                        "adapter": side.name(),
                    });
                    work.progress(format!("{} answers", side.name()), data).await?;
                }
            }
        }
    };
    progress.done += rows.len();
    Ok(rows)
}

/// How long a correction may be, so that it trains and an answer as long as it ends.
#[derive(Clone, Copy)]
struct Lengths {
    /// Of the whole conversation; 0 is the context.
    training: usize,
    answer: usize,
}

impl Lengths {
    fn of(config: &Config) -> Self {
        Self { training: config.training.max_length, answer: config.evaluation.max_tokens as usize }
    }

    fn hold(self, front_end: &FrontEnd, example: &Example) -> bool {
        let talk = Talk { messages: &example.messages, tools: &example.tools };
        let whole = front_end.template.encode_training(&front_end.tokenizer, talk);
        let answer = front_end.tokenizer.encode(example.reference(), false);
        let fits = |most: usize, tokens: usize| most == 0 || tokens <= most;
        whole.is_ok_and(|tokens| fits(self.training, tokens.len()))
            && answer.is_ok_and(|tokens| tokens.len() < self.answer)
    }
}

/// Gives corrections that nobody tagged the name of their group in place of a family.
fn name_groups(examples: &mut [Example]) {
    let corrections: Vec<usize> =
        (0..examples.len()).filter(|at| examples[*at].kind == Kind::Supervised).collect();
    let asked: Vec<_> = corrections.iter().map(|at| evidence::asked(&examples[*at])).collect();
    let names = groups(&asked);
    for (at, name) in corrections.into_iter().zip(names) {
        if let Some(name) = name {
            examples[at].family = name;
        }
    }
}

/// The questions of a cycle.
fn questions(config: &Config, examples: &[Example], folds: usize) -> anyhow::Result<Questions> {
    let evaluation = &config.evaluation;
    let of = |name: &str, part, wanted: &dyn Fn(&Example) -> bool| {
        let chosen: Vec<&Example> = examples.iter().filter(|example| wanted(example)).collect();
        match chosen.is_empty() {
            true => None,
            false => Suite::from_examples(name, part, &chosen, evaluation.heldout_rows).ok(),
        }
    };
    let older = |example: &Example| example.kind == Kind::Supervised && example.older;
    let corrected = [of("taught", Part::Taught, &is_new), of("kept", Part::Kept, &older)];
    let folds = (0..folds).filter_map(|fold| {
        let name = format!("fold-{fold}");
        Some((fold, of(&name, Part::HeldOut, &|example| example.fold == Some(fold))?))
    });
    let starter = config.model.is_starter();
    Ok(Questions {
        folds: folds.collect(),
        corrected: corrected.into_iter().flatten().collect(),
        controls: Suite::controls(&evaluation.suites, evaluation.rows_per_suite, starter)?,
    })
}

/// Whether the context holds a conversation and room for an answer. One that was served may not: as
/// turns of a chat a raw completion is longer, and so may be placeholders than what they stand for.
pub(super) fn fits(front_end: &FrontEnd, prompt: &[Message]) -> bool {
    let tokens = front_end.encode_chat(prompt);
    tokens.is_ok_and(|tokens| tokens.len() < front_end.context)
}

/// Whether the context holds a conversation with its answer.
fn fits_whole(front_end: &FrontEnd, example: &Example) -> bool {
    let talk = Talk { messages: &example.messages, tools: &example.tools };
    let tokens = front_end.template.encode_training(&front_end.tokenizer, talk);
    tokens.is_ok_and(|tokens| tokens.len() < front_end.context)
}

fn message(report: &Report) -> String {
    let side = |part: &Option<hone_eval::Comparison>| {
        part.as_ref().map_or_else(
            || "none asked".to_owned(),
            |c| format!("{:.1} % to {:.1} %", c.champion_percent(), c.candidate_percent()),
        )
    };
    format!(
        "taught {}, held-out {}, controls {}",
        side(&report.taught),
        side(&report.heldout),
        side(&report.controls)
    )
}

/// The report itself, so that the verdict can be understood from the row alone.
fn outcome(report: &Report, champion: &Side, questions: &Questions) -> anyhow::Result<Value> {
    let mut outcome = serde_json::to_value(report)?;
    let judged = questions.folds.iter().map(|(_, suite)| suite);
    let suites = judged.chain(&questions.corrected).chain(&questions.controls);
    outcome["champion"] = json!(champion.name());
    let digests: BTreeMap<_, _> = suites.map(|suite| (&suite.name, &suite.digest)).collect();
    outcome["suites"] = json!(digests);
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use hone_api::chat::Role;

    use super::*;

    fn example(kind: Kind, question: String, answer: &str) -> Example {
        Example {
            id: hone_api::InteractionId::new(),
            kind,
            fold: None,
            older: false,
            cluster: 0,
            source: None,
            of_base: true,
            family: hone_dataset::UNTAGGED.to_owned(),
            tools: Vec::new(),
            messages: vec![
                Message::new(Role::User, question),
                Message::new(Role::Assistant, answer),
            ],
            rejected: None,
            bad_turns: Vec::new(),
            check: hone_api::check::Check::Exact(answer.to_owned()),
            key: String::new(),
        }
    }

    #[test]
    fn corrections_that_nobody_tagged_are_reported_by_group() {
        let average = |at| format!("What is the average of {at} and 7?");
        let ticket = |at| format!("Triage this ticket about order {at}, please.");
        let mut examples: Vec<Example> = (0..8)
            .map(|at| example(Kind::Supervised, average(at), "#### 5"))
            .chain((0..8).map(|at| example(Kind::Supervised, ticket(at), "Decision: Elm")))
            .chain([example(Kind::Replay, average(9), "#### 8")])
            .collect();
        examples[15].family = "mine".to_owned();
        name_groups(&mut examples);
        let named: Vec<&str> = examples.iter().map(|it| it.family.as_str()).collect();
        assert_eq!(named[..8], ["average, what, and"; 8]);
        assert_eq!(named[8..], [&["feedback"; 7][..], &["mine", "feedback"]].concat());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_conversation_that_the_context_does_not_hold_is_not_asked() {
        let rig = crate::testing::Rig::new().await;
        let front_end = rig.services.engine.front_end();
        let ask = |text: String| [Message::new(Role::User, text)];
        assert!(fits(front_end, &ask("How are you?".into())));
        assert!(!fits(front_end, &ask("long ".repeat(front_end.context))));
    }
}
