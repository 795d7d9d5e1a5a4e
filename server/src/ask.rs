//! A checked request, before anything of it is computed.

use std::collections::BTreeMap;

use actix_web::HttpRequest;
use hone_api::InteractionId;
use hone_api::chat::Message;
use hone_api::interaction::{Endpoint, ResponseEcho};
use hone_api::sampling_params::SamplingParams;
use hone_engine::Target;

use crate::caller::Caller;
use crate::deadline::Deadline;
use crate::grammars::Made;
use crate::tools::ToolUse;

/// What may be kept of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keep {
    /// The text and the tokens; without them the answer teaches nothing.
    pub(crate) text: bool,
    /// Whether it is listed as a stored completion.
    pub(crate) stored: bool,
}

impl Keep {
    /// `"store": false` or the header `x-hone-no-train: 1` keeps the text out.
    pub(crate) fn of(request: &HttpRequest, store: Option<bool>) -> Self {
        let private = request
            .headers()
            .get("x-hone-no-train")
            .is_some_and(|value| !matches!(value.as_bytes(), b"0" | b"false" | b""));
        let text = !private && store != Some(false);
        Self { text, stored: text && store == Some(true) }
    }
}

/// One prompt, as text and as tokens.
#[derive(Debug, Clone)]
pub(crate) struct PromptIn {
    /// What is kept: the conversation, or one user message.
    pub(crate) messages: Vec<Message>,
    /// What the engine gets.
    pub(crate) tokens: Vec<u32>,
}

/// A prompt's answers under way: their id, and the seed of the first, from which the others' follow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    pub(crate) id: InteractionId,
    pub(crate) seed: u64,
}

impl Begun {
    /// Without a seed in the request one is chosen and logged, so that every answer can be computed again. Each prompt
    /// has its own: two that are equal are answered independently.
    pub(crate) fn new(asked: &SamplingParams) -> Self {
        Self { id: InteractionId::new(), seed: asked.seed.unwrap_or_else(random_seed) }
    }
}

/// From the standard library's randomness; below 2^53, so that every JSON reader keeps it whole.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0u8) >> 11
}

/// A checked request.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) endpoint: Endpoint,
    /// The model's name as the client sent it.
    pub(crate) model: String,
    pub(crate) target: Target,
    /// At least one.
    pub(crate) prompts: Vec<PromptIn>,
    /// Answers per prompt; at least one.
    pub(crate) answers: u32,
    /// `max_tokens` may be 0: then only the prompt is scored.
    pub(crate) sampling: SamplingParams,
    pub(crate) echo_logprobs: bool,
    /// What each answer is held to.
    pub(crate) grammar: Option<Made>,
    /// What the model was told of.
    pub(crate) tools: Option<ToolUse>,
    pub(crate) keep: Keep,
    /// The end user, hashed.
    pub(crate) user: Option<String>,
    /// The conversation, hashed.
    pub(crate) conversation: Option<String>,
    pub(crate) caller: Caller,
    /// Who asks, hashed.
    pub(crate) source: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    /// Only of `/v1/responses`.
    pub(crate) response: Option<ResponseEcho>,
    pub(crate) deadline: Deadline,
    /// For the header `x-hone-ignored`.
    pub(crate) ignored: Vec<String>,
}
