//! Why a job could not be done.

use std::path::PathBuf;

/// What stops a training job. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A file is not what it should be.
    #[error("{} is not valid: {error}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        error: String,
    },
    /// The rows are not those that the job was made for.
    #[error("{} has changed since the job was made; restore it, or make a new job", path.display())]
    Rows {
        /// The file.
        path: PathBuf,
    },
    /// A line of the rows' file is not a row.
    #[error(
        "line {line} of {} is not a training row ({error}); repair it, or take it out",
        path.display()
    )]
    Row {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        error: String,
    },
    /// A hyper-parameter is out of range.
    #[error("hyper-parameter `{name}` must be {range}")]
    TrainingConfig {
        /// Its name.
        name: &'static str,
        /// What it may be.
        range: &'static str,
    },
    /// It was told to stop, and wrote a checkpoint.
    #[error("stopped at step {step}; run the job again to go on")]
    Stopped {
        /// Steps done.
        step: usize,
    },
    /// Nothing to train on.
    #[error("no row is left to train on ({refused}); add rows that end with an assistant turn")]
    NoRows {
        /// Refused rows by reason, in words.
        refused: String,
    },
    /// Too many rows are broken for the result to mean anything.
    #[error(
        "{refused} of {rows} rows were refused ({reasons}); repair them, or raise max_refused_share"
    )]
    TooManyRefused {
        /// How many.
        refused: usize,
        /// Of how many.
        rows: usize,
        /// By reason, in words.
        reasons: String,
    },
    /// The numbers broke down.
    #[error("step {step}: the {what} is not finite; lower learning_rate, or look for broken rows")]
    NonFinite {
        /// The optimizer step, counted from 1.
        step: usize,
        /// `loss`, `gradient` or `weights`.
        what: &'static str,
    },
    /// The peak would not fit.
    #[error(
        "training does not fit: {0}; lower batch_tokens or max_length (in a bench: --batch-size or --length), or set recompute to `always`"
    )]
    Memory(#[from] hone_machine::TooMuch),
    /// A checkpoint belongs to another job.
    #[error(
        "{} belongs to other rows, another base or other hyper-parameters; use a new job directory, or delete its checkpoints folder",
        path.display()
    )]
    Checkpoint {
        /// The checkpoint.
        path: PathBuf,
    },
    /// The exported adapter does not change the model.
    #[error(
        "the adapter changes nothing: every weight of B is zero; train longer or raise learning_rate"
    )]
    NoEffect,
    /// The settings that ship are broken.
    #[error(transparent)]
    Settings(#[from] hone_config::Error),
    /// Tokenizer or template.
    #[error(transparent)]
    Text(#[from] hone_text::Error),
    /// Base or kernels.
    #[error(transparent)]
    Model(#[from] hone_model::Error),
    /// The autograd tape.
    #[error("autograd: {0}")]
    Autograd(#[from] candle_core::Error),
    /// A safetensors file cannot be written or read.
    #[error("{}: {error}", path.display())]
    Tensors {
        /// The file.
        path: PathBuf,
        /// What the library says.
        error: String,
    },
}
