//! Train: on the snapshot, from the base or what serves, in child processes: one adapter for each fold that judges, and
//! the candidate on all rows.
//!
//! A run that was killed (lack of memory, a crash) is tried again, with less need of memory; a run
//! that refused says why, and trying again would not help it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use hone_config::Recompute;
use hone_dataset::mix::passes;
use hone_dataset::{Mix, Snapshot};
use hone_trainer::{Job, TrainingConfig, TrainingOutcome, TrainingProgress};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::attempt::{Attempt, Attempts};
use super::{BEAT, End, Work, other_models, start};
use crate::child::{self, ChildLimits, Ended};

/// How often a killed run is started again.
const STRIKES: usize = 3;
/// A finished adapter goes on at this part of the learning rate.
const MENDING_RATE: f64 = 0.4;
/// A run that goes on has one pass in so many less: what it adds moves what is there the more, the longer it takes.
const FEWER: usize = 3;
/// Who judges a fold rehearses this part of what the candidate does. It serves nobody, so that what it forgets harms nobody, and
/// what it is asked is only whether the answers to a fold follow from the others. That shows by the end of one schedule, whether the
/// others are known by heart or not.
const JUDGES_REHEARSE: f64 = 0.4;
/// With so many corrections who judges sees each as often as the candidate does, not more often because it has fewer.
const JUDGES_SEE_AS_MUCH: usize = 100;
/// The rows of a run, beside its job.
const ROWS: &str = "rows.jsonl";

/// Where a try has its adapter.
pub(super) fn adapter_of(run: &Path, number: u32) -> PathBuf {
    try_dir(run, number).join("adapter")
}

/// The adapter that a try's training made.
pub(super) async fn trained_by(run: &Path, number: u32) -> anyhow::Result<PathBuf> {
    made_by(&try_dir(run, number)).await
}

/// The adapter that judges a fold.
pub(super) async fn judge_of(run: &Path, fold: usize) -> anyhow::Result<PathBuf> {
    made_by(&fold_dir(run, fold)).await
}

fn try_dir(run: &Path, number: u32) -> PathBuf {
    run.join(format!("try-{number}"))
}

fn fold_dir(run: &Path, fold: usize) -> PathBuf {
    run.join(format!("fold-{fold}"))
}

pub(super) async fn run(work: Work<'_>) -> anyhow::Result<End> {
    let attempt = Attempts::of(work.cycle).attempt;
    let folder = work.cycle.snapshot.clone().context("the cycle has no snapshot")?;
    let folder = work.services.dirs.snapshots().join(folder);
    let snapshot = Arc::new(tokio::task::spawn_blocking(move || Snapshot::read(&folder)).await??);
    let run = work.run_dir();
    // First the ones that judge: all rows but a fold's, by the same recipe.
    for fold in 0..snapshot.manifest.folds {
        let mix = Mix {
            without_fold: Some(fold),
            rehearsal: JUDGES_REHEARSE,
            as_of_all: snapshot.manifest.new >= JUDGES_SEE_AS_MUCH,
            ..Mix::default()
        };
        let plan = Plan { dir: fold_dir(&run, fold), mix, attempt: Attempt::default() };
        if one(&work, &snapshot, plan).await?.is_none() {
            return Ok(End::Halted);
        }
    }
    let mix = Mix { rehearsal: attempt.rehearsal, ..Mix::default() };
    let plan = Plan { dir: try_dir(&run, attempt.trained), mix, attempt };
    match one(&work, &snapshot, plan).await? {
        Some(outcome) => Ok(next(&outcome, snapshot.manifest.folds, &attempt)),
        None => Ok(End::Halted),
    }
}

/// One training run.
struct Plan {
    dir: PathBuf,
    mix: Mix,
    attempt: Attempt,
}

/// Trains one adapter; `None` if it was told to halt.
async fn one(
    work: &Work<'_>,
    snapshot: &Arc<Snapshot>,
    plan: Plan,
) -> anyhow::Result<Option<TrainingOutcome>> {
    let config = work.services.settings.now();
    let Plan { dir, mix, attempt } = plan;
    let packed = work.services.trainable()?;
    let base = &packed.folder;
    let found = {
        let (dir, base) = (dir.clone(), base.clone());
        tokio::task::spawn_blocking(move || begun(&dir, &base)).await??
    };
    let mut job = match found {
        Some(job) => job,
        None => {
            let mut training = TrainingConfig::from(&config.training);
            let served = start::adapter(work, &attempt, &training).await?;
            // Whether what is kept is close enough to the base, the gate asks.
            let kept = served.clone().filter(|_| training.kl_weight > 0.0);
            // Where nothing but the base is kept, rows with one teacher share batches.
            let rehearses_base = kept.is_some() && attempt.rehearses_base();
            let goes_on = served.is_some();
            let mut mix = Mix { goes_on, keeps: kept.is_some(), rehearses_base, ..mix };
            if !config.model.is_starter() {
                mix = other_models::rehearse_less(mix);
                let rate = config.training.learning_rate;
                training = other_models::learn_more(training, rate, packed.config.hidden_size);
            }
            let rows = dir.join(ROWS);
            let (of_run, path) = (Arc::clone(snapshot), rows.clone());
            let digest =
                tokio::task::spawn_blocking(move || write_rows(&of_run, mix, &path)).await??;
            training.kl_weight *= attempt.kl;
            training.epochs = match served.is_some() {
                true => training.epochs - training.epochs / FEWER,
                false => passes(snapshot.taught(mix.without_fold).len(), training.epochs),
            };
            if mix.without_fold.is_some() {
                training.rounds = 1;
            }
            let mut start = served;
            if let Some(number) = attempt.mends {
                start = Some(made_by(&try_dir(&work.run_dir(), number)).await?);
                training = one_pass(training);
            } else if attempt.rounds > 1 {
                training.rounds += attempt.rounds;
                training.learned_loss /= 4.0;
            }
            let mut job = Job::new(base, rows, training);
            job.data_digest = Some(digest);
            job.base_name = Some(config.model.name());
            (job.start, job.kept) = (start, kept);
            job.threads = config.training_threads();
            job.load_signal = Some(work.services.dirs.load_signal());
            job.write(&dir)?;
            job
        }
    };
    let limits = ChildLimits { nice: config.training.nice, timeout: config.training.timeout.0 };
    for strike in 1..=STRIKES {
        if let Some(outcome) = TrainingOutcome::read(&dir)? {
            return Ok(Some(outcome));
        }
        match self::attempt(work, &dir, limits).await? {
            Ended::Done => {}
            Ended::Stopped => return Ok(None),
            Ended::Refused(reason) => bail!("training failed: {reason}"),
            Ended::TimedOut => bail!(
                "training took longer than training.timeout ({}); raise it, or train on less",
                config.training.timeout
            ),
            Ended::Killed(reason) => {
                tracing::warn!(cycle = %work.cycle.id, strike, reason, "the training run was killed");
                if strike == STRIKES {
                    bail!(
                        "the training run was killed {STRIKES} times ({reason}); is there memory enough?"
                    );
                }
                work.progress(format!("the run was killed ({reason}); trying again"), json!({}))
                    .await?;
                need_less(&mut job, &dir, strike)?;
                job.write(&dir)?;
            }
        }
    }
    match TrainingOutcome::read(&dir)? {
        Some(outcome) => Ok(Some(outcome)),
        None => bail!("the training process ended well but left no outcome in {}", dir.display()),
    }
}

/// A pass from a finished adapter: it knows what it was taught, and takes small steps.
fn one_pass(training: TrainingConfig) -> TrainingConfig {
    let learning_rate = training.learning_rate * MENDING_RATE;
    TrainingConfig { learning_rate, epochs: 1, rounds: 1, focus: 0, ..training }
}

/// Writes the rows of a run, one JSON object a line; their BLAKE3 in hex.
fn write_rows(snapshot: &Snapshot, mix: Mix, path: &Path) -> anyhow::Result<String> {
    let mut text = Vec::new();
    for row in snapshot.mix(mix) {
        serde_json::to_writer(&mut text, &row)?;
        text.push(b'\n');
    }
    if let Some(dir) = path.parent() {
        fs_err::create_dir_all(dir)?;
    }
    let digest = blake3::hash(&text).to_hex().to_string();
    fs_err::write(path, text)?;
    Ok(digest)
}

/// The job of a run that has begun. It keeps the settings it began with: another rank would not fit
/// its checkpoint. If another base serves since, or if the disk did not keep what the run is made of, all
/// that was done goes.
fn begun(dir: &Path, base: &Path) -> anyhow::Result<Option<Job>> {
    if !dir.join("job.json").exists() {
        return Ok(None);
    }
    let why = match Job::read(dir).and_then(|job| job.check_rows().map(|()| job)) {
        Ok(job) if job.base != base => "another base serves now".to_owned(),
        Ok(job) => {
            if let Some(outcome) = TrainingOutcome::read(dir)?
                && !outcome.has_its_adapter()
            {
                tracing::warn!(run = %dir.display(), "its adapter is damaged; the run makes it again");
                fs_err::remove_file(dir.join("outcome.json"))?;
            }
            return Ok(Some(job));
        }
        Err(error) => error.to_string(),
    };
    tracing::warn!(run = %dir.display(), "{why}; the run begins anew");
    fs_err::remove_dir_all(dir)?;
    Ok(None)
}

/// The adapter that a run made, after a look whether the disk kept it.
async fn made_by(dir: &Path) -> anyhow::Result<PathBuf> {
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || match TrainingOutcome::read(&dir)? {
        Some(outcome) if outcome.has_its_adapter() => Ok(dir.join("adapter")),
        _ => bail!("the adapter in {} is damaged; start another cycle", dir.display()),
    })
    .await?
}

/// Makes the next try need less memory: first at the cost of time only, then with smaller batches,
/// which is another computation, so that its checkpoints are of no use any more.
fn need_less(job: &mut Job, dir: &Path, strike: usize) -> std::io::Result<()> {
    job.training.recompute = Recompute::Always;
    if strike > 1 {
        job.training.batch_tokens = (job.training.batch_tokens / 2).max(256);
        let checkpoints = dir.join("checkpoints");
        if checkpoints.exists() {
            fs_err::remove_dir_all(checkpoints)?;
        }
    }
    Ok(())
}

async fn attempt(work: &Work<'_>, dir: &Path, limits: ChildLimits) -> anyhow::Result<Ended> {
    let (send, mut lines) = mpsc::unbounded_channel::<TrainingProgress>();
    let train = child::train(dir, limits, work.halt, move |one| {
        let _ = send.send(one); // the receiver lives as long as this future
    });
    tokio::pin!(train);
    let mut last: Option<Instant> = None;
    let ended = loop {
        tokio::select! {
            ended = &mut train => break ended?,
            Some(one) = lines.recv() => {
                if let Some(loss) = one.loss {
                    work.services.metrics.training_loss(loss);
                }
                let due = last.is_none_or(|last| last.elapsed() >= BEAT);
                if due || one.validation_loss.is_some() {
                    last = Some(Instant::now());
                    tell(work, &one).await?;
                }
            }
        }
    };
    Ok(ended)
}

async fn tell(work: &Work<'_>, one: &TrainingProgress) -> anyhow::Result<()> {
    work.progress(one.message.clone(), serde_json::to_value(one)?).await
}

fn next(outcome: &TrainingOutcome, folds: usize, attempt: &Attempt) -> End {
    let message = format!(
        "{} steps, loss {:.3}, {:.0} tokens/s; {folds} more runs to judge by",
        outcome.steps, outcome.train_loss, outcome.tokens_per_second,
    );
    let mut shown = shown(outcome);
    shown["folds"] = json!(folds);
    shown["attempt"] = json!(attempt.name());
    End::Next { outcome: shown, message }
}

fn shown(outcome: &TrainingOutcome) -> Value {
    json!({
        "train_rows": outcome.train_rows,
        "validation_rows": outcome.validation_rows,
        "refused": outcome.refused,
        "steps": outcome.steps,
        "epochs": outcome.epochs,
        "stopped_early": outcome.stopped_early,
        "best_step": outcome.best_step,
        "train_loss": outcome.train_loss,
        "initial_validation_loss": outcome.initial_validation_loss,
        "validation_loss": outcome.validation_loss,
        "tokens": outcome.tokens,
        "supervised_tokens": outcome.supervised_tokens,
        "tokens_per_second": outcome.tokens_per_second,
        "waited_seconds": outcome.waited_seconds,
        "resumed_at": outcome.resumed_at,
        "adapter_digest": outcome.adapter_digest,
        "data_digest": outcome.data_digest,
        "base_digest": outcome.base_digest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_settings_make_an_adapter_that_is_taken() {
        let limits = hone_adapters::verify::VerifyLimits::default();
        let with = |rank: usize, alpha: f64| {
            let set = |key: &str, value: String| (format!("HONE__TRAINING__{key}"), value);
            let environment = vec![set("RANK", rank.to_string()), set("ALPHA", alpha.to_string())];
            hone_config::ConfigSources { environment, ..hone_config::ConfigSources::default() }
                .load()
        };
        let alpha = |rank: usize| limits.scaling * rank as f64;
        assert!(with(limits.rank, alpha(limits.rank)).is_ok());
        assert!(with(limits.rank + 1, 1.0).is_err());
        assert!(with(4, alpha(4)).is_ok() && with(4, alpha(4) + 1.0).is_err());
    }

    #[test]
    fn a_run_for_another_base_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        assert_eq!(begun(&run, Path::new("/base/a")).unwrap(), None);
        let job = Job::new("/base/a", "/rows.jsonl", TrainingConfig::shipped().unwrap());
        job.write(&run).unwrap();
        let found = begun(&run, Path::new("/base/a")).unwrap().unwrap();
        assert_eq!(found.base, job.base);
        assert_eq!(begun(&run, Path::new("/base/b")).unwrap(), None);
        assert!(!run.exists());
    }

    #[test]
    fn a_run_whose_order_or_rows_are_damaged_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (run, base) = (dir.path().join("run"), Path::new("/base"));
        let spoil = |name: &str| {
            fs_err::create_dir_all(&run).unwrap();
            fs_err::write(run.join(ROWS), "{}\n").unwrap();
            let training = TrainingConfig::shipped().unwrap();
            let mut job = Job::new(base, run.join(ROWS), training);
            job.data_digest = Some(blake3::hash(b"{}\n").to_hex().to_string());
            job.write(&run).unwrap();
            assert!(begun(&run, base).unwrap().is_some());
            let mut bytes = fs_err::read(run.join(name)).unwrap();
            bytes[1] ^= 4;
            fs_err::write(run.join(name), bytes).unwrap();
            assert_eq!(begun(&run, base).unwrap(), None, "{name}");
            assert!(!run.exists(), "{name}");
        };
        spoil(ROWS);
        spoil("job.json");
    }

    #[test]
    fn each_try_needs_less_and_keeps_no_useless_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir(dir.path().join("checkpoints")).unwrap();
        let mut job = Job::new("base", "rows.jsonl", TrainingConfig::shipped().unwrap());
        let before = job.training.batch_tokens;
        need_less(&mut job, dir.path(), 1).unwrap();
        assert_eq!(job.training.recompute, Recompute::Always);
        assert!(dir.path().join("checkpoints").exists() && job.training.batch_tokens == before);
        need_less(&mut job, dir.path(), 2).unwrap();
        assert!(!dir.path().join("checkpoints").exists() && job.training.batch_tokens < before);
    }
}
