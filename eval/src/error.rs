//! What can go wrong while measuring.

use std::io;

/// What can go wrong while measuring. Messages say what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk said no.
    #[error("the disk refused ({0}); check space and permissions of the data directory")]
    Io(#[from] io::Error),
    /// A line of a suite that is no row.
    #[error("{file}, line {line}: {what}")]
    Line {
        /// The suite's file or name.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// A check that cannot be applied.
    #[error("the check cannot be applied: {0}")]
    Check(String),
    /// Neither a built-in suite nor a file.
    #[error("there is no suite `{name}`; give a .jsonl file, or one of {known}")]
    UnknownSuite {
        /// As asked for.
        name: String,
        /// The built-in ones.
        known: String,
    },
    /// A suite without rows.
    #[error("suite `{0}` has no row that may be asked (with `split` heldout, or none)")]
    EmptySuite(String),
    /// The two sides did not answer the same questions.
    #[error("the answers do not pair up: {0}; evaluate both adapters on the same suites")]
    Unpaired(String),
    /// Scores that no test can be made of.
    #[error("the scores of answers under questions are no table of numbers: {0}")]
    Scores(String),
    /// The engine said no.
    #[error("the engine could not answer: {0}")]
    Engine(String),
    /// A conversation that cannot be made into a prompt.
    #[error("suite `{suite}`, row {row} cannot be asked: {what}")]
    Prompt {
        /// The suite.
        suite: String,
        /// Counted from 1.
        row: usize,
        /// What is wrong.
        what: String,
    },
    /// Another adapter answered than the one that is measured.
    #[error("{answered} answered instead of {expected}; load the adapter and evaluate again")]
    WrongAdapter {
        /// Digest of the adapter that was to answer, or `base`.
        expected: String,
        /// Digest of the adapter that answered, or `base`.
        answered: String,
    },
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
