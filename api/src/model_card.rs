//! `/v1/models`: the entries of the model list.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One name that may be asked. OpenAI's four fields, and those that vLLM adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelCard {
    /// What to send as `model`.
    pub id: String,
    /// `model`.
    pub object: String,
    /// Unix seconds.
    pub created: i64,
    /// `hone`.
    pub owned_by: String,
    /// What answers: the base's name, or an adapter's id.
    pub root: String,
    /// The base's name, for adapters.
    pub parent: Option<String>,
    /// Tokens of prompt and answer together.
    pub max_model_len: u32,
}
