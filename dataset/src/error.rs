//! What can go wrong between the log and a snapshot.

use std::path::PathBuf;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting outside its range.
    #[error("curation setting `{name}` is {value}; it must be {allowed}")]
    Policy {
        /// The setting.
        name: &'static str,
        /// What it is.
        value: f64,
        /// What it may be.
        allowed: &'static str,
    },
    /// A file of a snapshot cannot be read or written.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A snapshot's files are not what its hash says.
    #[error(
        "the snapshot in {} is damaged ({detail}); delete the folder, the next cycle writes it anew",
        path.display()
    )]
    Corrupt {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A row cannot be written as JSON.
    #[error("a row of the snapshot cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
