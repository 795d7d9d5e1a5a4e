//! What a command may use, and how it ends.

use hone_config::{ConfigSources, Flag, LoadedConfig};
use hone_daemon::load;

use crate::cli::{Global, ModelArgs};
use crate::client::{Client, ClientError};
use crate::output::Output;

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
pub type CommandResult = Result<(), Failure>;

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
    pub fn config(&self, flags: Vec<Flag>) -> Result<LoadedConfig, Failure> {
        load::load(&self.sources(flags)).map_err(|error| Failure::Usage(error.to_string()))
    }

    /// Where the settings come from, so that they can be read again.
    pub fn sources(&self, mut flags: Vec<Flag>) -> ConfigSources {
        if let Some(dir) = &self.global.data_dir {
            flags.push(flag("--data-dir", "server.data_dir", dir.to_string_lossy()));
        }
        if self.global.verbose > 0 {
            let filter = if self.global.verbose == 1 { "debug" } else { TRACE };
            flags.push(flag("-v", "telemetry.log", filter));
        }
        ConfigSources::from_process(self.global.config.clone(), flags)
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
    if let Some(file) = &args.chat_template {
        flags.push(flag("--chat-template", "model.chat_template", file.to_string_lossy()));
    }
    if let Some(weights) = args.weights {
        flags.push(flag("--weights", "model.weights", weights.as_str()));
    }
    if let Some(threads) = args.threads {
        flags.push(flag("--threads", "model.threads", threads.to_string()));
    }
    flags
}
