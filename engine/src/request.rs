//! What is asked of the engine, and what comes back.

use std::time::Duration;

use hone_api::chat::FinishReason;
use hone_api::interaction::Timings;
use hone_api::sampling_params::SamplingParams;
use hone_api::{AdapterId, InteractionId};
use hone_text::Grammar;

/// Which weights answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// The base model without an adapter.
    Base,
    /// What the live pointer names when the request is submitted.
    Live,
    /// Exactly this adapter.
    Exact(AdapterId),
}

/// Who goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// A person waits.
    #[default]
    Interactive,
    /// An evaluation: runs in what the others leave, but is never starved.
    Background,
}

/// Who asks, as far as turns and places are shared: equally among callers, and among the users of each. Any numbers will
/// do, as long as equal ones mean the same. Only the requests of one caller share what was computed of their prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Party {
    /// An API key, or an address.
    pub caller: u64,
    /// The end user behind it.
    pub user: u64,
}

/// One answer to generate. `n` answers are `n` requests.
#[derive(Debug, Clone)]
pub struct Request {
    /// The answer's id.
    pub id: InteractionId,
    /// The prompt's token ids.
    pub prompt: Vec<u32>,
    /// How tokens are sampled, and when to stop.
    pub sampling: SamplingParams,
    /// Which weights answer.
    pub target: Target,
    /// From this token of the prompt on, log-probabilities are wanted; `None`: of none. Costs a row of logits per
    /// token. What comes before may be taken from the prefix cache.
    pub echo_from: Option<usize>,
    /// What the answer must follow, at its beginning; `None` leaves the model free.
    pub grammar: Option<Grammar>,
    /// Special tokens whose text is part of the answer's text.
    pub shown: Vec<u32>,
    /// Who goes first.
    pub priority: Priority,
    /// Who asks; says nothing in the background.
    pub party: Party,
}

/// The log-probability of one prompt token.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptLogprob {
    /// Its id.
    pub token: u32,
    /// Given everything before it; `None` for the first token.
    pub logprob: Option<f32>,
    /// The likeliest tokens at its place, best first; as many as `sampling.logprobs` asks for.
    pub top: Vec<(u32, f32)>,
}

/// What happens to a request. `Started`, then `PromptLogprobs` if asked for, then `Token`s, then
/// exactly one of `Finished` and `Failed`; or nothing but `Displaced`.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The first step that computes for it begins.
    Started {
        /// Milliseconds from arrival.
        queue_ms: f64,
    },
    /// One entry per prompt token from `echo_from` on.
    PromptLogprobs(Vec<PromptLogprob>),
    /// One more token.
    Token {
        /// Its id; the end token comes too.
        token: u32,
        /// The characters that may be shown now: whole ones only, nothing that could still become
        /// a stop string; often empty. The pieces joined are the answer's text.
        text: String,
        /// Natural log-probability under the raw logits.
        logprob: f32,
        /// The likeliest tokens, best first; as many as `sampling.logprobs` asks for.
        top: Vec<(u32, f32)>,
    },
    /// The answer is complete.
    Finished {
        /// Why it ended.
        reason: FinishReason,
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Those of them that the prefix cache had, so that they were not computed again.
        cached_tokens: u32,
        /// Tokens sampled, the end token included.
        completion_tokens: u32,
        /// Where the time went.
        timings: Timings,
    },
    /// It gave up its place in the full queue, where its caller had the most, to somebody who had fewer.
    Displaced {
        /// When there will be room, at the present pace. Whole seconds.
        retry_after: Duration,
    },
    /// The answer ends here, incomplete; one sentence says why and what to do.
    Failed(String),
}
