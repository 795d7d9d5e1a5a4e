//! How much the engine takes on.

use std::path::PathBuf;
use std::time::Duration;

use crate::Error;

/// How much the engine takes on.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineConfig {
    /// Sequences in one step.
    pub max_sequences: usize,
    /// Requests that may wait, of each priority.
    pub max_queue: usize,
    /// Tokens in one step; long prompts are cut into chunks of what is left.
    pub max_step_tokens: usize,
    /// How long a step that decodes may take: prompts have what decoding leaves of it, and a share of the step in any case (see `pace.rs`).
    /// Zero is no target.
    pub target_token_gap: Duration,
    /// Drafts of a sequence in a step, at most; 0 decodes token by token. See [`crate::lookup`].
    pub speculative_tokens: usize,
    /// Bytes for the caches of all running sequences, and for the prefix cache in what they leave.
    pub kv_bytes: usize,
    /// Bytes of them for the prefix cache, at most; 0 turns it off.
    pub prefix_cache_bytes: usize,
    /// Bytes for all resident adapters.
    pub adapter_bytes: usize,
    /// Where to publish how busy serving is; see [`crate::load_signal`].
    pub load_signal: Option<PathBuf>,
}

impl From<&hone_config::EngineSettings> for EngineConfig {
    /// As the settings say, and with all the memory that they name.
    fn from(settings: &hone_config::EngineSettings) -> Self {
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            max_sequences: settings.max_sequences,
            max_queue: settings.max_queue,
            max_step_tokens: settings.max_step_tokens,
            target_token_gap: settings.target_token_gap.0,
            speculative_tokens: settings.speculative_tokens,
            kv_bytes: bytes(settings.kv_memory.0),
            prefix_cache_bytes: bytes(settings.prefix_cache_of(settings.kv_memory.0)),
            adapter_bytes: bytes(settings.adapter_memory.0),
            load_signal: None,
        }
    }
}

impl EngineConfig {
    /// Refuses figures that would let nothing run.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let figures = [
            ("max_sequences", self.max_sequences),
            ("max_queue", self.max_queue),
            ("max_step_tokens", self.max_step_tokens),
            ("kv_memory", self.kv_bytes),
            ("adapter_memory", self.adapter_bytes),
        ];
        match figures.into_iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(Error::Config { name, reason: "must be at least 1".to_owned() }),
            None => Ok(()),
        }
    }
}
