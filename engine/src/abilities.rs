//! What an engine can do beside answering.

/// What an engine can do beside answering. What it cannot is refused by name, and told where people look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // independent of each other
pub struct Abilities {
    /// Its name: what `engine.kind` calls it.
    pub engine: &'static str,
    /// Embeddings.
    pub embeddings: bool,
    /// Log-probabilities of a prompt's tokens.
    pub prompt_logprobs: bool,
    /// Requests are computed beside each other, and not one after the other.
    pub batches: bool,
    /// Requests of different adapters, and of the base, run beside each other, and any adapter is loaded when it is asked for.
    pub adapters_side_by_side: bool,
    /// The same request gives the same bits again, whatever runs beside it.
    pub repeatable: bool,
    /// Cycles can train adapters for its model.
    pub training: bool,
}

impl Abilities {
    /// Hone's own decoder.
    pub const HONE: Self = Self {
        engine: "hone",
        embeddings: true,
        prompt_logprobs: true,
        batches: true,
        adapters_side_by_side: true,
        repeatable: true,
        training: true,
    };

    /// What it cannot do, in words for a person.
    #[must_use]
    pub fn lacks(&self) -> Vec<&'static str> {
        let all = [
            (self.embeddings, "embeddings"),
            (self.prompt_logprobs, "log-probabilities of prompts"),
            (self.batches, "answers beside each other"),
            (self.adapters_side_by_side, "several adapters at a time"),
            (self.repeatable, "replay"),
            (self.training, "training cycles"),
        ];
        all.into_iter().filter(|(can, _)| !can).map(|(_, what)| what).collect()
    }
}
