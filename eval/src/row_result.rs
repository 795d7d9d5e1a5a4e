//! One answer, scored: what reports are made of.

use serde::{Deserialize, Serialize};

use crate::Part;

/// One answer, scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowResult {
    /// The suite.
    pub suite: String,
    /// What the suite is asked for.
    pub part: Part,
    /// The row's family.
    pub family: String,
    /// Its position in the suite, from 0.
    pub row: usize,
    /// Hash of the row.
    pub hash: String,
    /// The answer.
    pub text: String,
    /// Whether it passes the row's check.
    pub passed: bool,
    /// Whether it ended by itself, and not because `max_tokens` was reached.
    pub stopped: bool,
    /// Tokens generated.
    pub tokens: u32,
}
