//! The whole loop as a show: users ask and correct, a cycle learns, the answers are better.
//!
//! Nothing in here is special: the daemon is a child process, the users talk HTTP, the verdict is
//! the gate's, and what is measured was never taught.

use std::future::Future;
use std::path::Path;
use std::time::Instant;

use hone_api::cycle::{CycleView, Step, Verdict};
use serde_json::json;

mod ask;
mod host;
mod report;
mod story;
mod workload;

use ask::{Manner, ask_all};
use host::Host;
use report::{DemoReport, stage};

use crate::cli::{DemoArgs, ModelArgs};
use crate::command::follow;
use crate::context::{CommandResult, Context, Failure, model_flags};
use crate::output::Output;

/// The part of the demo's time that is spent on measuring before and after.
const MEASURING: f64 = 0.36;

/// Plays the demo.
///
/// # Errors
/// Something failed, or the model did not get better.
pub async fn run(context: &Context, args: &DemoArgs) -> CommandResult {
    let families = workload::families(&args.families).map_err(|e| Failure::Usage(e.to_string()))?;
    if context.global.config.is_some() {
        let text = "the demo writes a configuration of its own; change settings with variables, e.g. HONE__MODEL__WEIGHTS=q8";
        return Err(Failure::Usage(text.to_owned()));
    }
    let stop = interrupted()?;
    let report = tokio::select! {
        report = play(context, args, &families) => report?,
        () = stop => return Err(anyhow::anyhow!("interrupted; nothing is left behind").into()),
    };
    report.print(context.output)?;
    context.output.say(report.closing_words());
    if report.success { Ok(()) } else { Err(Failure::Told) }
}

/// Resolves when somebody wants the demo to end.
fn interrupted() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => (),
            _ = int.recv() => (),
        }
    })
}

/// The model's flags for the daemon, which has another working directory.
fn model_arguments(args: &ModelArgs) -> anyhow::Result<Vec<String>> {
    let mut words = Vec::new();
    for flag in model_flags(args) {
        let is_path = ["model.source", "model.chat_template"].contains(&flag.key.as_str());
        let lies_here = is_path && Path::new(&flag.value).exists();
        let value = if lies_here {
            std::path::absolute(&flag.value)?.to_string_lossy().into_owned()
        } else {
            flag.value
        };
        words.extend([flag.name, value]);
    }
    Ok(words)
}

async fn play(context: &Context, args: &DemoArgs, families: &[&str]) -> anyhow::Result<DemoReport> {
    let output = context.output;
    let (start, mut stages) = (Instant::now(), Vec::new());
    let bar = crate::output::Bars::new(output, "Start a daemon", 0);
    let model = model_arguments(&args.model)?;
    let host = Host::start(SETTINGS, context.global.data_dir.as_deref(), &model).await?;
    let client = host.client();
    stages.push(stage("start the daemon, pack the model", bar.finish(client.url())));

    let evening = Instant::now();
    let story = story::play(client, output).await?;
    let evening = evening.elapsed();
    stages.push(stage("one evening of ten corrections, and its cycle", evening));
    output.say(story.tell());

    let teaching = workload::teaching(families, workload::teaching_by(evening))?;
    let title = "Users ask and correct";
    let taught =
        ask_all(client, &teaching, Manner { model: "hone", teach: true, title }, output).await?;
    stages.push(stage("users ask, check and correct", taught.took));

    let seconds = args.minutes * 60.0 * MEASURING / 2.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    let each = workload::each_of((taught.rate() * seconds) as usize, families.len());
    let heldout = workload::heldout(families, each)?;
    let title = "Held-out questions, before";
    let before =
        ask_all(client, &heldout, Manner { model: "hone:base", teach: false, title }, output)
            .await?;
    stages.push(stage("held-out questions, before", before.took));

    let cycle: CycleView = client.post("/v1/cycles", &json!({})).await?;
    let followed = follow::follow(client, &cycle.id.to_string(), output).await?;
    let view = followed.view;
    stages.extend(followed.times.iter().map(|(step, time)| stage(cycle_stage(*step), *time)));

    let title = "Held-out questions, after";
    let after =
        ask_all(client, &heldout, Manner { model: "hone", teach: false, title }, output).await?;
    stages.push(stage("held-out questions, after", after.took));

    let (taught, taught_total) = report::lines(&heldout, &before, &after, false);
    let (controls, controls_total) = report::lines(&heldout, &before, &after, true);
    let url = args.keep.then(|| client.url().to_owned());
    let sample = report::sample(&heldout, &before, &after);
    if args.keep {
        kept(output, host);
    }
    Ok(DemoReport {
        success: story.success() && report::succeeded(&view, &taught_total),
        story,
        verdict: view.verdict,
        reason: view.reason.unwrap_or_else(|| "no reason is recorded".to_owned()),
        adapter: view
            .candidate
            .filter(|_| view.verdict == Some(Verdict::Promoted))
            .map_or_else(|| "base".to_owned(), |id| id.to_string()),
        candidate: view.candidate.map(|id| id.to_string()),
        taught,
        taught_total,
        controls,
        controls_total,
        sample,
        seconds: stage("all", start.elapsed()).seconds,
        stages,
        url,
    })
}

/// What the demo's daemon does otherwise than the defaults.
///
/// The cycles are started by hand, so that the questions before them are asked in peace.
const SETTINGS: &str = "[schedule]\nenabled = false\n";

const fn cycle_stage(step: Step) -> &'static str {
    match step {
        Step::Select => "choose what to learn from",
        Step::Train => "train a candidate",
        Step::Register => "verify and load it",
        Step::Evaluate => "compare it on held-out questions",
        Step::Decide => "decide",
        Step::Promote => "promote",
    }
}

fn kept(output: Output, host: Host) {
    let url = host.client().url().to_owned();
    if let Some((folder, pid)) = host.keep() {
        output.say(format_args!(
            "the daemon goes on at {url} with its data in {}; `kill {pid}` ends it",
            folder.display()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_this_directory_are_found_from_another_one() {
        let args = ModelArgs {
            model: Some("org/name".to_owned()),
            chat_template: Some("Cargo.toml".into()),
            ..ModelArgs::default()
        };
        let words = model_arguments(&args).unwrap();
        assert_eq!(words[..3], ["--model", "org/name", "--chat-template"]);
        assert!(Path::new(&words[3]).is_absolute() && words[3].ends_with("Cargo.toml"));
    }
}
