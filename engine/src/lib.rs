//! Requests in, tokens out: queue, batch, slots, swap.
//!
//! | module | one idea |
//! |---|---|
//! | [`Request`], [`Event`] | what is asked and what comes back |
//! | [`Generation`] | the caller's stream; dropping it cancels |
//! | [`GrowingAnswer`] | tokens from logits, their text, and the end |
//! | [`Abilities`] | what an engine can do beside answering |
//! | `queue` | bounded admission, people before evaluations, places and turns shared among people |
//! | `share` | who has had how much of the engine's time |
//! | `room` | who gives its cache up when memory is short |
//! | `batch` | what runs in the next step |
//! | `pace` | how much of a prompt a step takes beside streams |
//! | `slots` | resident adapters and the live pointer |
//! | `submitted` | one request that waits |
//! | `sequence` | one running request |
//! | `prefix` | what was computed of prompts, for those that begin alike |
//! | `beginnings` | who waits for a prompt that is being computed |
//! | `warm_up` | what is asked most often is computed before an adapter serves |
//! | `worker` | the one thread that owns the device |
//! | `shared` | what callers and the worker share |
//! | `embed` | one request for embeddings |
//! | `embeddings` | which of them is computed next, between two steps |
//! | `probe` | does an adapter do anything |
//! | [`load_signal`] | tells the trainer how busy serving is |
//! | [`Health`] | counters for metrics and probes |
//!
//! [`Generate`] is the seam: Hone's own decoder is behind it in [`Engine`], other engines can be.
#![forbid(unsafe_code)]

mod abilities;
mod answer;
mod batch;
mod beginnings;
mod config;
mod embed;
mod embeddings;
mod engine;
mod error;
mod generation;
mod health;
pub mod load_signal;
mod lookup;
mod pace;
mod prefix;
mod probe;
mod queue;
mod request;
mod room;
mod sequence;
mod share;
mod shared;
mod slots;
mod submitted;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod warm_up;
mod worker;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hone_api::AdapterId;
use hone_text::FrontEnd;

pub use abilities::Abilities;
pub use answer::GrowingAnswer;
pub use config::EngineConfig;
pub use embed::{EmbedRequest, Embedding};
pub use engine::Engine;
pub use error::Error;
pub use generation::{EventSender, Generation};
pub use health::Health;
pub use request::{Event, Party, Priority, PromptLogprob, Request, Target};

/// What a load says about an adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedAdapter {
    /// SHA-256 of `adapter_model.safetensors`, hex.
    pub digest: String,
    /// The largest change of a logit on a few fixed prompts; above 0.
    pub effect: f32,
}

/// Something that answers requests with a model and its adapters.
pub trait Generate: Send + Sync {
    /// Admits a request. The adapter that [`Target::Live`] names is resolved here, once: it
    /// answers to the last token, whatever is promoted meanwhile.
    ///
    /// # Errors
    /// [`Error::QueueFull`], [`Error::PromptTooLong`], [`Error::EmptyPrompt`],
    /// [`Error::OverBudget`], [`Error::UnknownAdapter`], [`Error::ShuttingDown`], [`Error::Unsupported`],
    /// or a parameter or token id that the model refuses.
    fn submit(&self, request: Request) -> Result<Generation, Error>;

    /// Admits texts whose embeddings are wanted: the mean of the hidden states behind the final norm. The adapter is
    /// resolved here, as for [`Generate::submit`].
    ///
    /// # Errors
    /// [`Error::QueueFull`], [`Error::PromptTooLong`], [`Error::EmptyPrompt`], [`Error::OverBudget`],
    /// [`Error::UnknownAdapter`], [`Error::ShuttingDown`], or a token id that the model does not have.
    fn embed(&self, request: EmbedRequest) -> Result<Embedding, Error>;

    /// Loads a PEFT folder and checks that it changes the model's logits; only then the adapter
    /// can be asked for. Reading happens on the caller's thread, which blocks: call it where
    /// blocking is allowed. One that is loaded already stays as it is.
    ///
    /// # Errors
    /// The folder is not an adapter of this model; [`Error::NoEffect`]; [`Error::Broken`];
    /// [`Error::AdapterMemory`]; [`Error::Refused`].
    fn load(&self, id: AdapterId, dir: &Path) -> Result<LoadedAdapter, Error>;

    /// Sees to it that the base can be made live, for engines that may have let it go. Blocks as [`Generate::load`] does.
    ///
    /// # Errors
    /// [`Error::Refused`]: there is no memory for it.
    fn load_base(&self) -> Result<(), Error> {
        Ok(())
    }

    /// These stay loaded, whoever else needs room. Others leave when they were not asked for longest, and may be loaded
    /// again.
    fn keep(&self, _ids: &[AdapterId]) {}

    /// Takes an adapter out; sequences that began with it finish with it. Returns false if it was
    /// not loaded, or is live.
    fn unload(&self, id: AdapterId) -> bool;

    /// Lets go of all that was kept of prompts, so that nothing of their words is left in memory beside what runs.
    fn forget_prefixes(&self) {}

    /// Whether an adapter can be asked for.
    fn is_loaded(&self, id: AdapterId) -> bool;

    /// Computes what is asked most often of what serves for an adapter that shall serve instead (`None` is the base), so that the
    /// first requests after [`Generate::set_live`] find it. What is not done in time is given up. Blocks as
    /// [`Generate::load`] does.
    fn warm_up(&self, _id: Option<AdapterId>, _patience: Duration) {}

    /// Moves the live pointer to a loaded adapter, or to the base.
    ///
    /// # Errors
    /// [`Error::UnknownAdapter`] if it is not loaded; [`Error::StaleEpoch`] if a newer pointer is
    /// in force.
    fn set_live(&self, id: Option<AdapterId>, epoch: u64) -> Result<(), Error>;

    /// The adapter that serves; `None` is the base.
    fn live(&self) -> Option<AdapterId>;

    /// How the engine fares.
    fn health(&self) -> Health;

    /// Tokenizer, template and limits of the model.
    fn front_end(&self) -> &Arc<FrontEnd>;

    /// Tokens of a prompt and its answer at most: what the model's context holds, or its caches' memory if that is less.
    fn context(&self) -> usize {
        self.front_end().context
    }

    /// What it computes with: the same name, the same bits, if the engine is repeatable.
    fn kernels(&self) -> &str;

    /// What it can do beside answering.
    fn abilities(&self) -> Abilities {
        Abilities::HONE
    }

    /// Admits no more requests, lets those that are here finish until the deadline, and fails the rest. Blocks; returns how
    /// many were failed.
    fn shutdown(&self, _deadline: Duration) -> usize {
        0
    }
}
