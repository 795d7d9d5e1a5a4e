//! The one error type of this crate.

use std::time::Duration;

use hone_api::AdapterId;

/// Why a request, an adapter or the engine itself was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// As many requests wait as may.
    #[error(
        "{waiting} requests are waiting, no more are admitted; try again in {} s",
        .retry_after.as_secs()
    )]
    QueueFull {
        /// Requests that wait.
        waiting: usize,
        /// When there will be room, at the present pace. Whole seconds.
        retry_after: Duration,
    },
    /// The prompt leaves no room for an answer.
    #[error("the prompt has {tokens} tokens and the context holds {context}; shorten the prompt")]
    PromptTooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// The model's context.
        context: usize,
    },
    /// A prompt without tokens.
    #[error("the prompt is empty; send at least one token")]
    EmptyPrompt,
    /// The request alone needs more cache than the engine has.
    #[error(
        "the request needs {needed} bytes of cache and the engine has {capacity}; ask for fewer \
         tokens or raise engine.kv_memory"
    )]
    OverBudget {
        /// Bytes for the prompt and `max_tokens`.
        needed: usize,
        /// Bytes of all caches together.
        capacity: usize,
    },
    /// No such adapter in the engine.
    #[error("adapter {0} is not loaded; load it first")]
    UnknownAdapter(AdapterId),
    /// An adapter that changes nothing.
    #[error("adapter {0} changes no logit: its B matrices are zero, or it is for another model")]
    NoEffect(AdapterId),
    /// An adapter whose logits are NaN or infinite.
    #[error("adapter {0} gives logits that are not finite; its weights are broken")]
    Broken(AdapterId),
    /// Adapters have no more memory.
    #[error(
        "the adapters that must stay loaded and this one need {needed} bytes and have {limit}; raise \
         engine.adapter_memory, or use a smaller rank"
    )]
    AdapterMemory {
        /// Bytes of all of them.
        needed: usize,
        /// Bytes that adapters may have.
        limit: usize,
    },
    /// The engine panicked at a text.
    #[error("the engine failed at these embeddings; try again with other texts")]
    EmbeddingsFailed,
    /// A newer live pointer is in force; this one lost the race.
    #[error("the live pointer of epoch {given} is older than epoch {current}, which is in force")]
    StaleEpoch {
        /// The epoch of the pointer that came.
        given: u64,
        /// The epoch that is in force.
        current: u64,
    },
    /// No new requests: the daemon stops.
    #[error("shutting down; try again in a moment")]
    ShuttingDown,
    /// A setting that cannot work.
    #[error("engine.{name}: {reason}")]
    Config {
        /// The key.
        name: &'static str,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// This engine cannot do it for any model; the sentence says what can.
    #[error("{0}")]
    Unsupported(String),
    /// An adapter that another engine than Hone's own cannot take: its files, or the memory that it needs.
    #[error("{0}")]
    Refused(String),
    /// A token id that the model does not have.
    #[error("token {token} is outside of the vocabulary of {vocab}")]
    TokenRange {
        /// The id.
        token: u32,
        /// Vocabulary size.
        vocab: usize,
    },
    /// Sampling parameters, or a text that has no tokens.
    #[error(transparent)]
    Text(#[from] hone_text::Error),
    /// The decoder refused: mostly an adapter's files.
    #[error(transparent)]
    Model(#[from] hone_model::Error),
    /// The load signal or the device thread could not be made.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
