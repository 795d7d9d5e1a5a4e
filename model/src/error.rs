//! The one error type of this crate.

use std::path::{Path, PathBuf};

/// What can go wrong with models and adapters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file of the model or adapter does not parse.
    #[error("{file} is not valid: {reason}")]
    Invalid {
        /// File name or path.
        file: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A file of a packed base is not what was packed.
    #[error(
        "{} is not what was packed: {what}; the next start of `hone` packs it again from the model", path.display()
    )]
    Damaged {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it, and where.
        what: String,
    },
    /// A model's file reads otherwise than before, and nobody wrote to it.
    #[error(
        "{} reads otherwise than when it was packed, though nothing has written to it since: its disk or its memory is \
         failing; copy the model again (or, if the file is right, `touch` it)", path.display()
    )]
    Rotten {
        /// The file or folder.
        path: PathBuf,
    },
    /// The model uses something this build does not implement.
    #[error("{what} is not supported; supported: {supported}")]
    Unsupported {
        /// The feature, with its value.
        what: String,
        /// What is supported instead.
        supported: String,
    },
    /// The decoder does not know the model's family.
    #[error("architecture {class:?} of config.json is not supported; supported: {known}")]
    Family {
        /// Its class, or its type where it names none.
        class: String,
        /// The classes that are known.
        known: String,
    },
    /// The checkpoint lacks a tensor.
    #[error(
        "tensor {name} is missing in {file}; the model is incomplete or of another architecture"
    )]
    MissingTensor {
        /// Full tensor name.
        name: String,
        /// The file or folder that was searched.
        file: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor {name} has shape {found:?}, the configuration asks for {expected:?}")]
    Shape {
        /// Full tensor name.
        name: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape that the configuration gives.
        expected: Vec<usize>,
    },
    /// A weight is NaN or infinite.
    #[error(
        "tensor {name} holds a value that is not finite; the file is damaged or training diverged"
    )]
    NotFinite {
        /// Full tensor name.
        name: String,
    },
    /// A segment would pass the longest context of the model.
    #[error("{tokens} tokens do not fit: the context holds {max}")]
    ContextFull {
        /// Tokens after the step.
        tokens: usize,
        /// The model's limit.
        max: usize,
    },
    /// A token id outside of the vocabulary.
    #[error("token {token} is outside of the vocabulary of {vocab}")]
    TokenRange {
        /// The id.
        token: u32,
        /// Vocabulary size.
        vocab: usize,
    },
    /// An adapter or cache was made for a model of other shapes.
    #[error("{what} was made for another model: {reason}")]
    Mismatch {
        /// "adapter" or "cache".
        what: &'static str,
        /// What differs.
        reason: String,
    },
    /// The tokenizer's or the template's.
    #[error(transparent)]
    Text(#[from] hone_text::Error),
    /// The device's.
    #[error(transparent)]
    Device(#[from] hone_device::Error),
    /// A tensor operation of the training side failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    /// Wraps an I/O error with its path.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }

    /// A file of a packed base that is not what was packed.
    pub(crate) fn damaged(path: &Path, what: impl ToString) -> Self {
        Self::Damaged { path: path.to_path_buf(), what: what.to_string() }
    }

    /// A file that does not parse.
    pub(crate) fn invalid(file: impl Into<String>, reason: impl ToString) -> Self {
        Self::Invalid { file: file.into(), reason: reason.to_string() }
    }
}
