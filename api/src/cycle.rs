//! One turn of the loop, as it is stored and shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{AdapterId, CycleId, UnixMillis};

/// The steps of a cycle, in order. Each ends with one stored row, so that a restart goes on there.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Choose rows and write the snapshot.
    Select,
    /// Train a candidate in a child process.
    Train,
    /// Import and verify it.
    Register,
    /// Compare it with the adapter that serves.
    Evaluate,
    /// Let the gate decide.
    Decide,
    /// Make it live.
    Promote,
}

/// Whether a cycle still moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CycleStatus {
    /// Waits for its turn.
    Queued,
    /// Runs.
    Running,
    /// Came to a verdict.
    Finished,
    /// Broke; `reason` says how.
    Failed,
    /// Was told to stop.
    Cancelled,
}

/// What started a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The cron expression.
    Schedule,
    /// Enough new failures.
    Failures,
    /// A person.
    Manual,
}

/// What the gate decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Better, and nothing else worse: it serves now.
    Promoted,
    /// Not better, or worse elsewhere.
    Rejected,
    /// Better, but a person must say yes.
    Held,
    /// Nothing to learn from; no training took place.
    Skipped,
}

/// One row of `GET /v1/cycles`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CycleView {
    /// Its id.
    pub id: CycleId,
    /// Always `cycle`.
    pub object: String,
    /// Whether it still moves.
    pub status: CycleStatus,
    /// What started it.
    pub trigger: Trigger,
    /// The step that runs, or ran last.
    pub step: Step,
    /// What the gate decided.
    pub verdict: Option<Verdict>,
    /// The verdict, or the failure, in words.
    pub reason: Option<String>,
    /// Hash of its snapshot.
    pub snapshot: Option<String>,
    /// The adapter it made.
    pub candidate: Option<AdapterId>,
    /// What served when it was evaluated.
    pub champion: Option<AdapterId>,
    /// What each finished step left: row counts, losses, scores. By step.
    #[serde(default)]
    pub outcomes: BTreeMap<Step, serde_json::Value>,
    /// Unix milliseconds.
    pub created_at: UnixMillis,
    /// Unix milliseconds.
    pub finished_at: Option<UnixMillis>,
}

impl CycleView {
    /// A cycle that has not begun.
    #[must_use]
    pub fn queued(trigger: Trigger, now: UnixMillis) -> Self {
        Self {
            id: CycleId::new(),
            object: "cycle".to_owned(),
            status: CycleStatus::Queued,
            trigger,
            step: Step::Select,
            verdict: None,
            reason: None,
            snapshot: None,
            candidate: None,
            champion: None,
            outcomes: BTreeMap::new(),
            created_at: now,
            finished_at: None,
        }
    }
}

/// When a cycle starts by itself: `next` of `GET /v1/cycles`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NextCycle {
    /// Whether any does.
    pub enabled: bool,
    /// The next time by the clock, in Unix milliseconds; null: never.
    pub at: Option<UnixMillis>,
    /// Or when so many new failures have come; null: never.
    pub failures: Option<u64>,
    /// Failures that came since the last cycle began.
    #[serde(default)]
    pub came: u64,
    /// How many more start a cycle, or are needed before one can learn; null: none are missing, or
    /// nothing starts by their number.
    #[serde(default)]
    pub missing: Option<u64>,
    /// All of it in one sentence for a person.
    #[serde(default)]
    pub message: String,
}

/// One event of `GET /v1/cycles/{id}/events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CycleEvent {
    /// The cycle.
    pub cycle_id: CycleId,
    /// Counts the cycle's events from 1; the SSE `id`, for `Last-Event-ID`.
    pub sequence: u64,
    /// When.
    pub at: UnixMillis,
    /// The step it belongs to.
    pub step: Step,
    /// `step_started`, `progress`, `step_finished`, `finished`, `failed`, `cancelled`.
    pub kind: String,
    /// One sentence for a person.
    pub message: String,
    /// Figures, e.g. `{"step":12,"steps":150,"loss":0.4,"tokens_per_second":2100}`.
    #[serde(default)]
    pub data: serde_json::Value,
}
