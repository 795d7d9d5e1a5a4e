//! `/v1/models`: the entries of the model list.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::sampling::SamplingDefaults;

/// One name that may be asked. OpenAI's four fields, and those that vLLM adds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
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
    /// How tokens are drawn where a request does not say: the model's `generation_config.json`, else OpenAI's defaults.
    pub generation_config: SamplingDefaults,
    /// What computes it: `hone`, or another engine.
    pub engine: String,
    /// What this engine cannot do; empty for Hone's own.
    pub lacks: Vec<String>,
    /// What may be done with it: always one entry, for clients that read it.
    pub permission: Vec<ModelPermission>,
}

/// vLLM's words for what may be done with a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[allow(clippy::struct_excessive_bools)] // the shape is vLLM's
pub struct ModelPermission {
    /// `modelperm-…`.
    pub id: String,
    /// `model_permission`.
    pub object: String,
    /// Unix seconds.
    pub created: i64,
    /// Nobody may.
    pub allow_create_engine: bool,
    /// Everybody may ask.
    pub allow_sampling: bool,
    /// Everybody may see log-probabilities.
    pub allow_logprobs: bool,
    /// Nobody may.
    pub allow_search_indices: bool,
    /// Everybody may see that it is there.
    pub allow_view: bool,
    /// Not through OpenAI's endpoints.
    pub allow_fine_tuning: bool,
    /// `*`.
    pub organization: String,
    /// Always null.
    pub group: Option<String>,
    /// Always false.
    pub is_blocking: bool,
}

impl ModelPermission {
    /// To ask and to look, for everybody.
    #[must_use]
    pub fn to_ask(model: &str, created: i64) -> Self {
        Self {
            id: format!("modelperm-{model}"),
            object: "model_permission".to_owned(),
            created,
            allow_create_engine: false,
            allow_sampling: true,
            allow_logprobs: true,
            allow_search_indices: false,
            allow_view: true,
            allow_fine_tuning: false,
            organization: "*".to_owned(),
            group: None,
            is_blocking: false,
        }
    }
}
