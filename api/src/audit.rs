//! The audit trail as it is told: one row for each change of state, bound to the row before it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::UnixMillis;

/// A row of the audit trail. `hash` is the BLAKE3 of `previous` followed by `content`, both as the bytes of
/// these texts; so whoever has the rows can check that none was changed or left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditView {
    /// `audit.row`.
    pub object: String,
    /// Its number: 1, 2, 3 and so on, without a gap.
    pub sequence: u64,
    /// When.
    pub at: UnixMillis,
    /// Who: the id of an API key, `operator` (there were no keys), or a part of the daemon.
    pub actor: String,
    /// What was done, e.g. `adapter.promoted`.
    pub action: String,
    /// To what: an id.
    pub subject: String,
    /// Why, in words.
    pub reason: String,
    /// Digests, scores, the states before and after.
    pub data: Value,
    /// The text that the hash covers: the fields from `sequence` to `data` as one JSON object.
    pub content: String,
    /// The hash of the row before, in hex; of the first row 64 zeros.
    pub previous: String,
    /// This row's hash, in hex.
    pub hash: String,
}
