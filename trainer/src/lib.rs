//! A job directory in, a candidate adapter out: QLoRA on candle.
//!
//! [`run`] is the whole story. It is meant for a process of its own: an out-of-memory, a panic or
//! bad data in training must not stop serving. Whatever stops it, running it again on the same
//! directory goes on from the newest checkpoint and ends with the same bytes.
#![forbid(unsafe_code)]

pub mod batch;
mod bench;
pub mod checkpoint;
mod error;
pub mod export;
mod focus;
mod formats;
pub mod job;
mod json;
pub mod optim;
mod outcome;
pub mod probe;
pub mod rows;
mod run;
pub mod schedule;
#[cfg(test)]
mod tests;
mod tfevents;
pub mod throttle;
mod training_config;
mod unfinished;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use fail::fail_point;
use hone_config::Recompute;
use hone_model::Model;
use hone_model::train::{LoraLayout, TrainSequence, Trainable};

pub use bench::{BenchFigures, BenchShape, bench};
pub use error::Error;
pub use job::{Job, Phase, TrainingProgress};
pub use outcome::TrainingOutcome;
pub use training_config::{Scheduler, TrainingConfig};
pub use unfinished::sweep;

use checkpoint::Identity;
use rows::{Lesson, Renderer, Rows};
use run::{Setting, Trained};
use throttle::Throttle;

/// Trains the job of a directory: reads the rows, plans the memory, trains, exports, verifies.
///
/// `progress` sees every line that goes to `progress.jsonl`. A complete job returns its outcome
/// again; an interrupted one is resumed.
///
/// # Errors
/// See [`Error`]; nothing is exported then.
pub fn run(
    job_dir: &Path,
    progress: &mut dyn FnMut(&TrainingProgress),
) -> Result<TrainingOutcome, Error> {
    run_until(job_dir, &AtomicBool::new(false), progress)
}

/// As [`run`], but ends with a checkpoint soon after `stop` is set.
///
/// # Errors
/// [`Error::Stopped`]; running the job again goes on there. Else as [`run`].
pub fn run_until(
    job_dir: &Path,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(&TrainingProgress),
) -> Result<TrainingOutcome, Error> {
    if let Some(outcome) = TrainingOutcome::read(job_dir)? {
        return Ok(outcome);
    }
    let started = Instant::now();
    let job = Job::read(job_dir)?;
    let mut log = fs_err::OpenOptions::new()
        .create(true)
        .append(true)
        .open(job_dir.join("progress.jsonl"))?;
    let mut events = tfevents::EventFile::create(job_dir)?;
    let mut report = |line: TrainingProgress| -> Result<(), Error> {
        let mut text = serde_json::to_vec(&line).map_err(|error| Error::Json {
            path: job_dir.join("progress.jsonl"),
            error: error.to_string(),
        })?;
        text.push(b'\n');
        log.write_all(&text)?;
        events.report(&line)?;
        progress(&line);
        Ok(())
    };

    let model = Arc::new(Model::open(&job.base, threads(job.threads))?);
    let rows = read_rows(&job, &model)?;
    job.check_digest(&rows.digest)?;
    let training = &job.training;
    let layout = LoraLayout::new(
        model.config(),
        training.rank,
        training.alpha as f32,
        &training.target_modules,
    )?;
    let trainable = Trainable::new(Arc::clone(&model), layout);
    let work = probe::Work {
        config: model.config(),
        format: model.format(),
        layout: trainable.layout(),
        tokens: largest_batch(&rows, training),
        recompute: training.recompute,
    };
    let plan = work.plan(&hone_machine::available())?;
    report(prepared(&rows, plan))?;

    let layers = model.config().num_layers;
    let read = |dir: &Option<PathBuf>| {
        dir.as_deref().map(|dir| export::read(dir, trainable.layout(), layers)).transpose()
    };
    let (start, kept) = (read(&job.start)?, read(&job.kept)?.map(Arc::new));
    let throttle = Arc::new(Throttle::new(job.load_signal.as_deref()));
    let setting = Setting {
        trainable: &trainable,
        rows: &rows,
        training,
        plan,
        start,
        kept,
        identity: identity(&job, &model, &rows)?,
        checkpoints: run::checkpoints(job_dir),
        throttle: Arc::clone(&throttle),
        started,
        stop,
    };
    let trained = run::train(&setting, &mut report)?;

    let name = job.base_name.as_deref();
    let mut weights = trained.weights.clone();
    // So what is written is what is judged.
    for layer in &mut weights {
        trainable.layout().round(layer, model.adapter_format());
    }
    export::write(&job.out, name, trainable.layout(), training.alpha, &weights)?;
    fail_point!("train.export");
    // What cannot be loaded must not count as a success.
    let adapter = model.load_adapter(&job.out)?;
    let files = export::checksums(&job.out)?;
    let outcome = outcome(&setting, &job, &trained, adapter.digest(), files);
    json::write_json(&job_dir.join("outcome.json"), &outcome)?;
    report(finished(&outcome))?;
    Ok(outcome)
}

/// Threads of a job: as told, or one for each core.
fn threads(wanted: usize) -> usize {
    match wanted {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => threads,
    }
}

fn read_rows(job: &Job, model: &Model) -> Result<Rows, Error> {
    let renderer = Renderer {
        tokenizer: &model.front_end().tokenizer,
        template: &model.front_end().template,
        config: model.config(),
    };
    Rows::read(&job.data, renderer, &job.training)
}

/// Tokens of the largest batch that can occur: the longest row, or a full batch of long ones.
fn largest_batch(rows: &Rows, training: &TrainingConfig) -> usize {
    let wordings = rows.train.iter().flat_map(Lesson::wordings);
    let mut lengths: Vec<usize> =
        wordings.chain(&rows.validation).map(TrainSequence::rows).collect();
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    let longest = lengths.first().copied().unwrap_or(0);
    lengths.iter().take(training.batch_size).sum::<usize>().min(training.batch_tokens).max(longest)
}

/// What a checkpoint must belong to. The thread count is left out: it changes no result.
fn identity(job: &Job, model: &Model, rows: &Rows) -> Result<Identity, Error> {
    let training = TrainingConfig { recompute: Recompute::Auto, ..job.training.clone() };
    let text = serde_json::to_vec(&training)
        .map_err(|error| Error::Json { path: job.data.clone(), error: error.to_string() })?;
    Ok(Identity {
        base: model.digest().to_owned(),
        data: rows.digest.clone(),
        training: blake3::hash(&text).to_hex().to_string(),
    })
}

fn prepared(rows: &Rows, plan: probe::Plan) -> TrainingProgress {
    let refused: usize = rows.refused.values().sum();
    let reasons: Vec<String> =
        rows.refused.iter().map(|(reason, count)| format!("{count}: {reason}")).collect();
    let refused = match refused {
        0 => String::new(),
        count => format!(", {count} refused ({})", reasons.join("; ")),
    };
    TrainingProgress {
        phase: Phase::Prepare,
        step: 0,
        steps: 0,
        epoch: 0.0,
        loss: None,
        validation_loss: None,
        learning_rate: 0.0,
        gradient_norm: None,
        tokens: 0,
        supervised_tokens: 0,
        tokens_per_second: 0.0,
        seconds: 0.0,
        waited_seconds: 0.0,
        message: format!(
            "{} rows to train on, {} to measure on{refused}; about {} MiB, intermediates {}",
            rows.train.len(),
            rows.validation.len(),
            plan.bytes >> 20,
            if plan.keep { "kept" } else { "computed again" },
        ),
    }
}

fn outcome(
    setting: &Setting<'_>,
    job: &Job,
    trained: &Trained,
    digest: &str,
    adapter_files: BTreeMap<String, String>,
) -> TrainingOutcome {
    let counters = &trained.counters;
    let best = counters.early_stop().best;
    TrainingOutcome {
        adapter: job.out.clone(),
        adapter_digest: digest.to_owned(),
        adapter_files,
        base_digest: setting.identity.base.clone(),
        data_digest: setting.identity.data.clone(),
        train_rows: setting.rows.train.len(),
        validation_rows: setting.rows.validation.len(),
        refused: setting.rows.refused.clone(),
        steps: counters.step,
        epochs: counters.epochs_done as f64,
        stopped_early: trained.stopped_early,
        best_step: best.map_or(counters.step, |(_, step)| step),
        train_loss: trained.train_loss,
        validation_loss: best.map(|(loss, _)| loss),
        initial_validation_loss: counters.initial_bits.map(f64::from_bits),
        tokens: counters.tokens,
        supervised_tokens: counters.supervised_tokens,
        seconds: setting.started.elapsed().as_secs_f64(),
        waited_seconds: setting.throttle.waited().as_secs_f64(),
        tokens_per_second: trained.tokens_per_second,
        resumed_at: trained.resumed_at,
        planned_bytes: setting.plan.bytes,
        training: job.training.clone(),
    }
}

fn finished(outcome: &TrainingOutcome) -> TrainingProgress {
    TrainingProgress {
        phase: Phase::Finished,
        step: outcome.steps,
        steps: outcome.steps,
        epoch: outcome.epochs,
        loss: Some(outcome.train_loss),
        validation_loss: outcome.validation_loss,
        learning_rate: 0.0,
        gradient_norm: None,
        tokens: outcome.tokens,
        supervised_tokens: outcome.supervised_tokens,
        tokens_per_second: outcome.tokens_per_second,
        seconds: outcome.seconds,
        waited_seconds: outcome.waited_seconds,
        message: format!(
            "trained {} steps in {:.0} s, {:.0} tokens/s",
            outcome.steps, outcome.seconds, outcome.tokens_per_second
        ),
    }
}
