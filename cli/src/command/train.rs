//! `hone train`: fine-tune without a daemon, or the job that a daemon gave.

use std::path::Path;

use hone_api::RunId;
use hone_config::{Recompute, TrainingSettings};
use hone_trainer::{Job, Scheduler, TrainingConfig, TrainingOutcome, TrainingProgress};

use super::base::Base;
use super::words;
use crate::cli::{RecomputeArg, SchedulerArg, TrainArgs, TrainingArgs};
use crate::context::{CommandResult, Context, Failure, model_flags};
use crate::output::{Bars, Table};
use hone_daemon::{child, memory};

/// Trains.
///
/// # Errors
/// The rows, the model or the hyper-parameters are refused, or training fails.
pub fn run(context: &Context, args: &TrainArgs) -> CommandResult {
    if let Some(job) = &args.job {
        return for_daemon(context, job);
    }
    let (Some(data), Some(out)) = (&args.data, &args.out) else {
        return Err(Failure::Usage("--data FILE.jsonl and --out DIR, or --job DIR".to_owned()));
    };
    if out.join("adapter_model.safetensors").exists() {
        let text = format!("{} already has an adapter; choose another --out", out.display());
        return Err(Failure::Usage(text));
    }
    let config = context.config(model_flags(&args.model))?.config;
    let training = with_flags(&args.training, &config.training);
    training.check().map_err(|error| Failure::Usage(error.to_string()))?;
    if !data.is_file() {
        let data = data.display();
        return Err(anyhow::anyhow!("there is no file {data}; name JSON lines with --data").into());
    }
    let data = fs_err::canonicalize(data)?;
    let (base, ()) = Base::prepare_if(context, &args.model, |_, found| {
        memory::admit_training(&training, &found.config, found.format)
    })?;
    let new = NewFolder::make(out)?;
    let dir = base.config.server.data_dir.join("runs").join(RunId::new().to_string());
    let mut job = Job::new(base.folder(), data, training);
    job.out = fs_err::canonicalize(out)?;
    job.base_name = Some(base.config.model.name());
    // --threads speaks of this run; training.threads of training beside a daemon that serves.
    job.threads =
        args.model.threads.map_or_else(|| config.training_threads(), |_| config.model.cores());
    job.write(&dir)?;

    let output = context.output;
    let run = dir.display();
    output.say(format_args!(
        "if it is interrupted, `hone train --job {run}` goes on from its last checkpoint"
    ));
    let mut bar = Bars::new(output, "Train", 0);
    let mut broken = Ok(());
    let outcome = hone_trainer::run(&dir, &mut |line| {
        bar.at(line.step as u64, line.steps as u64, &note(line));
        if output.is_json() && broken.is_ok() {
            broken = output.value(line);
        }
    })?;
    broken?;
    new.keep();
    bar.finish("");
    if output.is_json() {
        output.value(&outcome)?;
    } else {
        tell(context, &outcome)?;
    }
    Ok(())
}

/// The folder of the result. It is made before the work, so that one that cannot be made is told at
/// once; if it was made here and nothing comes of the work, it goes again.
#[derive(Debug)]
struct NewFolder<'a>(Option<&'a Path>);

impl<'a> NewFolder<'a> {
    fn make(out: &'a Path) -> std::io::Result<Self> {
        let made = !out.exists();
        fs_err::create_dir_all(out)?;
        Ok(Self(made.then_some(out)))
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for NewFolder<'_> {
    fn drop(&mut self) {
        if let Some(out) = self.0 {
            let _ = fs_err::remove_dir(out); // only if nothing is in it
        }
    }
}

/// The daemon's form: progress as JSON lines on stdout. What is there already when the process was
/// killed is taken up again; a job that is complete has no progress, and tells its outcome.
fn for_daemon(context: &Context, job: &Path) -> CommandResult {
    child::end_with_parent()?;
    let stop = child::stop_on_term()?;
    let (mut broken, mut lines) = (Ok(()), 0_usize);
    let trained = hone_trainer::run_until(job, &stop, &mut |line| {
        lines += 1;
        if broken.is_ok() {
            broken = context.output.value(line);
        }
    });
    match trained {
        // As the daemon asked; it goes on from the checkpoint.
        Err(hone_trainer::Error::Stopped { .. }) => {}
        other => {
            let outcome = other?;
            if lines == 0 {
                broken = context.output.value(&outcome);
            }
        }
    }
    Ok(broken?)
}

fn note(line: &TrainingProgress) -> String {
    let mut parts = Vec::new();
    if let Some(loss) = line.loss {
        parts.push(format!("loss {loss:.3}"));
    }
    if let Some(loss) = line.validation_loss {
        parts.push(format!("validation {loss:.3}"));
    }
    if line.tokens_per_second > 0.0 {
        parts.push(format!("{:.0} tokens/s", line.tokens_per_second));
    }
    if parts.is_empty() { line.message.clone() } else { parts.join("  ") }
}

fn tell(context: &Context, outcome: &TrainingOutcome) -> CommandResult {
    let mut table = Table::new(&["", ">"]);
    let loss =
        |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    table.row(&[
        &"rows",
        &format!("{} + {} for validation", outcome.train_rows, outcome.validation_rows),
    ]);
    for (reason, count) in &outcome.refused {
        table.row(&[&"refused", &format!("{count}: {reason}")]);
    }
    table.row(&[&"steps", &format!("{} in {:.1} epochs", outcome.steps, outcome.epochs)]);
    table.row(&[&"training loss", &loss(Some(outcome.train_loss))]);
    let losses =
        format!("{} -> {}", loss(outcome.initial_validation_loss), loss(outcome.validation_loss));
    table.row(&[&"validation loss", &losses]);
    table.row(&[&"tokens/s", &words::number(outcome.tokens_per_second.round())]);
    table.row(&[&"seconds", &words::number(outcome.seconds)]);
    table.row(&[&"adapter", &outcome.adapter.display()]);
    context.output.table(&table)?;
    Ok(())
}

/// The settings' hyper-parameters, but for those that flags name.
fn with_flags(args: &TrainingArgs, settings: &TrainingSettings) -> TrainingConfig {
    let mut training = TrainingConfig::from(settings);
    macro_rules! take {
        ($($name:ident),*) => { $(if let Some(value) = args.$name.clone() { training.$name = value; })* };
    }
    take!(
        rank,
        alpha,
        dropout,
        kl_weight,
        learning_rate,
        warmup_ratio,
        epochs,
        batch_size,
        accumulation
    );
    take!(batch_tokens, clip, weight_decay, beta1, beta2, epsilon, max_length, target_modules);
    take!(early_stop_patience, validation_share, max_refused_share, seed, checkpoint_every);
    if let Some(scheduler) = args.scheduler {
        training.scheduler = match scheduler {
            SchedulerArg::Cosine => Scheduler::Cosine,
            SchedulerArg::Linear => Scheduler::Linear,
            SchedulerArg::Constant => Scheduler::Constant,
        };
    }
    if let Some(recompute) = args.recompute {
        training.recompute = match recompute {
            RecomputeArg::Auto => Recompute::Auto,
            RecomputeArg::Always => Recompute::Always,
            RecomputeArg::Never => Recompute::Never,
        };
    }
    training
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn training() -> TrainingSettings {
        hone_config::Config::defaults(Path::new("d")).unwrap().training
    }

    fn parsed(words: &[&str], training: &TrainingSettings) -> TrainingConfig {
        let words = ["hone", "train", "--data", "d", "--out", "o"].iter().chain(words);
        match Cli::try_parse_from(words).unwrap().command {
            Some(Command::Train(args)) => with_flags(&args.training, training),
            _ => panic!("that is `train`"),
        }
    }

    #[test]
    fn a_folder_that_was_made_for_nothing_goes() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        drop(NewFolder::make(&out).unwrap());
        assert!(!out.exists());
        NewFolder::make(&out).unwrap().keep();
        assert!(out.exists());
        drop(NewFolder::make(&out).unwrap());
        assert!(out.exists(), "it was there before");
    }

    #[test]
    fn flags_change_only_what_they_name() {
        let settings = TrainingSettings { seed: 5, epochs: 9, ..training() };
        assert_eq!(parsed(&[], &settings), TrainingConfig::from(&settings));
        let training = parsed(
            &["--rank", "4", "--target-modules", "q_proj,v_proj", "--scheduler", "linear"],
            &settings,
        );
        let expected = TrainingConfig {
            rank: 4,
            target_modules: vec!["q_proj".into(), "v_proj".into()],
            scheduler: Scheduler::Linear,
            ..TrainingConfig::from(&settings)
        };
        assert_eq!(training, expected);
        assert_eq!((training.seed, training.epochs), (5, 9), "as the settings say");
    }

    #[test]
    fn the_help_names_the_defaults() {
        // What the help of a flag promises must be what is trained without settings.
        let command = <Cli as clap::CommandFactory>::command();
        let train = command.find_subcommand("train").unwrap();
        let help = |name: &str| {
            let arg = train.get_arguments().find(|arg| arg.get_long() == Some(name)).unwrap();
            arg.get_help().unwrap().to_string()
        };
        let training = TrainingConfig::from(&training());
        for (name, value) in [
            ("rank", training.rank as f64),
            ("alpha", training.alpha),
            ("dropout", training.dropout),
            ("kl-weight", training.kl_weight),
            ("learning-rate", training.learning_rate),
            ("warmup-ratio", training.warmup_ratio),
            ("epochs", training.epochs as f64),
            ("batch-size", training.batch_size as f64),
            ("accumulation", training.accumulation as f64),
            ("batch-tokens", training.batch_tokens as f64),
            ("clip", training.clip),
            ("weight-decay", training.weight_decay),
            ("beta1", training.beta1),
            ("beta2", training.beta2),
            ("max-length", training.max_length as f64),
            ("early-stop-patience", training.early_stop_patience as f64),
            ("validation-share", training.validation_share),
            ("max-refused-share", training.max_refused_share),
            ("seed", training.seed as f64),
            ("checkpoint-every", training.checkpoint_every as f64),
        ] {
            assert!(help(name).contains(&format!("[default: {value}]")), "{name}: {}", help(name));
        }
    }
}
