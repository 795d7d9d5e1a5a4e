//! What can go wrong with the database, in words that say what to do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hone_api::{CycleId, InteractionId};
use rusqlite::ErrorCode;

/// Errors of the store. Cloneable, because one failed commit answers everybody who waited for it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Neither stored nor being answered right now.
    #[error("there is no interaction `{0}`; use the `id` of an answer that this daemon gave")]
    UnknownInteraction(InteractionId),
    /// Answered, but the answer could not be written.
    #[error(
        "the answer `{0}` could not be stored when it was given, because the disk was full or \
         failed, so it takes no feedback; see to the disk, and ask again"
    )]
    Lost(InteractionId),
    /// No such row.
    #[error("there is no cycle `{0}`; `GET /v1/cycles` lists them")]
    UnknownCycle(CycleId),
    /// No such key.
    #[error("there is no key `{0}`; `hone keys list` shows them")]
    UnknownKey(String),
    /// Without a key of this scope nobody could make another.
    #[error(
        "the first key must have the scope admin, or nobody could make another: \
         `hone keys create --name operator --scope admin`"
    )]
    FirstKey,
    /// The same, at the other end.
    #[error(
        "this is the last key with the scope admin, and without one nobody could make another; make \
         a new one first: `hone keys create --name operator --scope admin`"
    )]
    LastAdminKey,
    /// The key came before, with another body.
    #[error(
        "the Idempotency-Key `{key}` was sent before with another body; use a new key for a new body"
    )]
    IdempotencyMismatch {
        /// The key.
        key: String,
    },
    /// An id that is taken.
    #[error("`{0}` is stored already; every record needs an id of its own")]
    Duplicate(String),
    /// No space left. What was acknowledged before is safe.
    #[error(
        "the disk with the database is full; free some space and send the request again \
         (nothing that was acknowledged is lost)"
    )]
    DiskFull,
    /// The file is damaged, or is not a database.
    #[error(
        "the database {} is damaged ({detail}); stop Hone and restore it from a backup (`hone restore`), or \
         move it away",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        detail: String,
    },
    /// Not the file any more that was opened.
    #[error(
        "{file} {what} while Hone runs, so nothing is kept; put the same file back, or stop Hone and restore a \
         backup into an empty data directory (`hone restore`)"
    )]
    Gone {
        /// The file's name; where it lies is not everybody's business, who may ask whether Hone is ready.
        file: String,
        /// What became of it.
        what: &'static str,
    },
    /// Written by a later version of Hone.
    #[error(
        "the database {} was written by a newer Hone; install that version, or restore the backup \
         made before the upgrade",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
    },
    /// From before the audit trail was chained.
    #[error(
        "the database {} was written by an older Hone; `hone serve` brings it up to date at its start",
        path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be opened.
    #[error(
        "cannot open the database {}: {detail}; check that the folder exists and is writable",
        path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        detail: String,
    },
    /// A stored value does not have the form that this version writes.
    #[error(
        "column `{column}` holds a value that cannot be read: {detail}; start the version of Hone \
         that wrote it, or restore a copy of `hone.db`"
    )]
    Value {
        /// The column.
        column: &'static str,
        /// Why.
        detail: String,
    },
    /// A row of the audit trail is missing, or is not what was written.
    #[error(
        "the audit trail is broken: {detail}; keep this database as evidence, and compare it with a backup"
    )]
    BrokenChain {
        /// The first row that is at fault.
        sequence: u64,
        /// What is wrong, in words.
        detail: String,
    },
    /// A head that was noted before is not in the audit trail.
    #[error(
        "no row of the audit trail has the hash {head}, and its {rows} rows fit each other: rows were cut \
         off at its end, or it is another trail; compare it with a backup"
    )]
    HeadNotFound {
        /// The hash, in hex.
        head: String,
        /// Rows that there are.
        rows: u64,
    },
    /// `audit.head` cannot be read.
    #[error(
        "{} cannot be read ({detail}); compare the audit trail with a head that you noted elsewhere, then \
         remove the file: the next start notes a new one",
        path.display()
    )]
    AuditHead {
        /// The file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// After [`crate::Store::close`].
    #[error("the database is closed; the daemon is shutting down")]
    Closed,
    /// Anything else that SQLite reports.
    #[error("the database failed: {0}")]
    Sqlite(#[source] Arc<rusqlite::Error>),
}

/// The result of store calls.
pub type Result<T> = std::result::Result<T, Error>;

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt { path: PathBuf::from("hone.db"), detail: error.to_string() }
            }
            _ => Self::Sqlite(Arc::new(error)),
        }
    }
}

impl Error {
    /// Puts the file's real path into errors met while opening it.
    pub(crate) fn opening(error: rusqlite::Error, path: &Path) -> Self {
        match error.into() {
            Self::Corrupt { detail, .. } => Self::Corrupt { path: path.to_owned(), detail },
            Self::Sqlite(source) => {
                Self::Open { path: path.to_owned(), detail: source.to_string() }
            }
            other => other,
        }
    }

    pub(crate) fn value(column: &'static str, detail: impl std::fmt::Display) -> Self {
        Self::Value { column, detail: detail.to_string() }
    }
}

/// Whether an insert failed because its key is taken.
pub(crate) fn is_taken(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|inner| {
        matches!(
            inner.extended_code,
            rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY | rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE
        )
    })
}
