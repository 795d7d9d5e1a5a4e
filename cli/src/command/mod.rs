//! One verb each: arguments in, one call to where the work is done, words or JSON out.

use std::future::Future;

use hone_config::{Flag, Loaded, Sources};

use crate::cli::{Cli, Command, Global, ModelArgs, ServeArgs};
use crate::client::{Client, ClientError};
use crate::output::Output;
use hone_daemon::load;

mod adapters;
mod audit;
mod backup;
mod base;
mod bench;
mod chat;
mod config;
mod cycle;
mod doctor;
mod erase;
mod eval;
pub mod feedback;
pub mod follow;
mod keys;
mod local_eval;
mod models;
mod replay;
mod serve;
mod status;
mod train;
mod waiting;
mod why;
mod words;

/// Why a command did not do what was asked: exit status 2, 1 and 1.
#[derive(Debug)]
pub enum Failure {
    /// Wrong usage or configuration.
    Usage(String),
    /// It was tried and failed.
    Failed(anyhow::Error),
    /// It failed, and the command has said so.
    Told,
}

/// A list instead of whatever anyhow takes: that could be, one day, a type of a dependency for which such a crate says what
/// its conversions are, and then the two would stand against each other.
macro_rules! failures {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Failed(error.into())
            }
        }
    )*};
}

failures! {
    anyhow::Error,
    std::io::Error,
    std::num::TryFromIntError,
    serde_json::Error,
    rustyline::error::ReadlineError,
    hone_adapters::Error,
    hone_engine::Error,
    hone_eval::Error,
    hone_store::Error,
    hone_trainer::Error,
    crate::client::ClientError,
}

/// What a command returns.
pub type Outcome = Result<(), Failure>;

/// Where a daemon listens that was told nothing else.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// What a command may use.
#[derive(Debug, Clone)]
pub struct Context {
    /// What every command takes.
    pub global: Global,
    /// The terminal.
    pub output: Output,
}

impl Context {
    /// A client of the daemon that `--url` names.
    ///
    /// # Errors
    /// The URL is none, or the authorities are not.
    pub fn client(&self) -> Result<Client, Failure> {
        Client::new(
            self.global.url.as_deref().unwrap_or(DEFAULT_URL),
            self.global.api_key.as_deref(),
            self.global.ca.as_deref(),
        )
        .map_err(|error: ClientError| Failure::Usage(error.to_string()))
    }

    /// The settings: defaults, file, variables, the global flags and these.
    ///
    /// # Errors
    /// The configuration does not hold.
    pub fn config(&self, flags: Vec<Flag>) -> Result<Loaded, Failure> {
        load::load(&self.sources(flags)).map_err(|error| Failure::Usage(error.to_string()))
    }

    /// Where the settings come from, so that they can be read again.
    pub fn sources(&self, mut flags: Vec<Flag>) -> Sources {
        if let Some(dir) = &self.global.data_dir {
            flags.push(flag("--data-dir", "server.data_dir", dir.to_string_lossy()));
        }
        if self.global.verbose > 0 {
            let filter = if self.global.verbose == 1 { "debug" } else { TRACE };
            flags.push(flag("-v", "telemetry.log", filter));
        }
        Sources::from_process(self.global.config.clone(), flags)
    }
}

/// What `-vv` tells: everything, but for who watches folders, which would tell of the log's own growth where that is
/// one of them, and so for ever; and for the tokenizer, which has a line for each sign of a text.
const TRACE: &str = "trace,notify=info,notify_debouncer_full=info,tokenizers=info";

/// A setting by a flag.
pub fn flag(name: &str, key: &str, value: impl Into<String>) -> Flag {
    Flag { name: name.to_owned(), key: key.to_owned(), value: value.into() }
}

/// The settings that the model's flags change.
pub fn model_flags(args: &ModelArgs) -> Vec<Flag> {
    let mut flags = Vec::new();
    if let Some(model) = &args.model {
        flags.push(flag("--model", "model.source", model));
    }
    if let Some(weights) = args.weights {
        flags.push(flag("--weights", "model.weights", weights.as_str()));
    }
    if let Some(threads) = args.threads {
        flags.push(flag("--threads", "model.threads", threads.to_string()));
    }
    flags
}

/// Does what was asked for.
///
/// # Errors
/// [`Failure`]
pub fn run(cli: Cli) -> Outcome {
    let is_child = matches!(&cli.command, Some(Command::Train(args)) if args.job.is_some());
    hone_daemon::fault::arm(is_child)?;
    let context = Context { output: Output::new(cli.global.json), global: cli.global };
    let Some(command) = cli.command else {
        return serve::run(&context, &cli.serve);
    };
    if cli.serve != ServeArgs::default() {
        let text = "--model, --weights, --threads, --listen and --device stand behind the command, not before it";
        return Err(Failure::Usage(text.to_owned()));
    }
    // Also where nothing of it is used: who names a file means it. The daemon reads it with its flags, and a
    // doctor tells of it.
    if context.global.config.is_some() && !matches!(command, Command::Serve(_) | Command::Doctor) {
        context.config(Vec::new())?;
    }
    match command {
        Command::Serve(args) => serve::run(&context, &args),
        Command::Demo(args) => wait(crate::demo::run(&context, &args)),
        Command::Train(args) => train::run(&context, &args),
        Command::Eval(args) => eval::run(&context, &args),
        Command::Bench(command) => bench::run(&context, &command),
        Command::Chat(args) => wait(chat::run(&context, &args)),
        Command::Adapters(command) => wait(adapters::run(&context, command)),
        Command::Cycle(command) => wait(cycle::run(&context, command)),
        Command::Feedback(command) => wait(feedback::run(&context, command)),
        Command::Keys(command) => wait(keys::run(&context, command)),
        Command::Erase(args) => wait(erase::erase(&context, &args)),
        Command::Recall(args) => wait(erase::recall(&context, &args)),
        Command::Replay(args) => wait(replay::run(&context, &args)),
        Command::Audit(command) => wait(audit::run(&context, command)),
        Command::Status => wait(status::run(&context)),
        Command::Why(args) => wait(why::run(&context, &args)),
        Command::Backup(args) => backup::make(&context, &args),
        Command::Restore(args) => wait(backup::restore(&context, &args)),
        Command::Doctor => wait(doctor::run(&context)),
        Command::Models(command) => models::run(&context, &command),
        Command::Config(command) => config::run(&context, &command),
    }
}

/// Runs a command that waits for a network, on this thread.
fn wait(command: impl Future<Output = Outcome>) -> Outcome {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn a_configuration_that_is_named_must_hold_for_every_command() {
        let dir = tempfile::tempdir().unwrap();
        let (wrong, none) = (dir.path().join("wrong.toml"), dir.path().join("none.toml"));
        fs_err::write(&wrong, "[server]\nlisten_on = \"x\"\n").unwrap();
        for file in [wrong, none] {
            for words in [
                &["status"][..],
                &["adapters", "list"][..],
                &["chat"][..],
                &["demo"][..],
                &["eval", "--suite", "control_add"][..],
                &["train", "--job", "nothing"][..],
                &["config", "check"][..],
                &["serve"][..],
            ] {
                let file = file.to_str().unwrap();
                let all = [&["hone", "--config", file][..], words].concat();
                let outcome = run(Cli::try_parse_from(all).unwrap());
                assert!(matches!(outcome, Err(Failure::Usage(_))), "{words:?}: {outcome:?}");
            }
        }
    }
}
