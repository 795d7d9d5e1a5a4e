//! What is known of a person, and its removal.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::adapter::AdapterState;
use crate::{AdapterId, ErasureId, InteractionId, UnixMillis};

/// Whose traces are meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// One answered request, with what was said of it.
    Interaction(InteractionId),
    /// An end user by the keyed hash of her name: what she asked, whoever's key it came through, what was
    /// said of it, and what she said of other answers.
    User(String),
}

/// An adapter that was trained on something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaughtAdapter {
    /// Which one.
    pub id: AdapterId,
    /// Where it stands.
    pub state: AdapterState,
}

/// A snapshot in which something is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HoldingSnapshot {
    /// Its hash, which is its folder's name.
    pub hash: String,
    /// Rows and rehearsal questions that come from the subject.
    pub rows: usize,
}

/// `GET /v1/subjects/{user}` and `GET /v1/interactions/{id}/recall`: who saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecallView {
    /// Always `recall`.
    pub object: String,
    /// Whose traces.
    pub subject: Subject,
    /// Interactions in the log.
    pub interactions: u32,
    /// Feedback items: on these interactions, and what the user said of others.
    pub feedback: u32,
    /// The data sets that hold some of it.
    pub snapshots: Vec<HoldingSnapshot>,
    /// The adapters that were trained on those, or go on from one that was; also after it was erased.
    pub adapters: Vec<TaughtAdapter>,
}

/// The receipt of `DELETE /v1/subjects/{user}` and `DELETE /v1/interactions/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErasureView {
    /// Its id.
    pub id: ErasureId,
    /// Always `erasure`.
    pub object: String,
    /// Whose traces.
    pub subject: Subject,
    /// When it was asked for.
    pub at: UnixMillis,
    /// What was removed.
    pub removed: Removed,
    /// The data sets that were rewritten.
    pub snapshots: Vec<HoldingSnapshot>,
    /// The adapters that were trained on it. The next cycle that runs trains without it, from the base, and
    /// takes these away.
    pub adapters: Vec<TaughtAdapter>,
    /// What happens now, in one sentence.
    pub next: String,
}

/// How much of each kind was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Removed {
    /// Interactions of the log, with their answers.
    pub interactions: u32,
    /// Feedback items.
    pub feedback: u32,
    /// Rows of data sets.
    pub snapshot_rows: usize,
    /// Runs with their checkpoints.
    pub runs: usize,
    /// Files of kept answers to evaluations.
    pub answer_files: usize,
}
