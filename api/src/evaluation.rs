//! Evaluations on demand: `/v1/evals`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{AdapterRef, RunId, UnixMillis};

/// The body of `POST /v1/evals`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EvalRequest {
    /// The name of a built-in suite, or a `.jsonl` file's path below the data directory.
    #[schema(min_length = 1)]
    pub suite: String,
    /// The suite itself, as JSON lines; `suite` is then only its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1)]
    pub lines: Option<String>,
    /// Whose answers are scored; default `live`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub adapter: Option<AdapterRef>,
    /// Compare with this one's answers to the same questions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub against: Option<AdapterRef>,
    /// At most so many rows; 0 means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1_048_576)]
    pub limit: Option<usize>,
}

/// Whether an evaluation still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EvalStatus {
    /// Questions are being asked.
    Running,
    /// `report` has the figures.
    Finished,
    /// `error` says why.
    Failed,
}

/// `GET /v1/evals/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvalView {
    /// Its id.
    pub id: RunId,
    /// Always `eval`.
    pub object: String,
    /// Whether it still runs.
    pub status: EvalStatus,
    /// As asked.
    pub request: EvalRequest,
    /// Questions answered so far.
    pub done: usize,
    /// Questions in all.
    pub total: usize,
    /// Scores, intervals, the comparison.
    pub report: Option<serde_json::Value>,
    /// Why it failed.
    pub error: Option<String>,
    /// Unix milliseconds.
    pub created_at: UnixMillis,
    /// Unix milliseconds.
    pub finished_at: Option<UnixMillis>,
}
