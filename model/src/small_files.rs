//! A model but for its weights: a few small files.

use std::collections::BTreeMap;

/// The small files of a model, as bytes.
#[derive(PartialEq, Eq)]
pub(crate) struct SmallFiles {
    /// `config.json`.
    pub(crate) config: Vec<u8>,
    /// `generation_config.json`, if there is one.
    pub(crate) generation: Option<Vec<u8>>,
    /// `tokenizer.json`.
    pub(crate) tokenizer: Vec<u8>,
    /// `tokenizer_config.json`, with the chat template in it.
    pub(crate) tokenizer_config: Vec<u8>,
}

impl SmallFiles {
    /// Each with the name that it has in a packed folder.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let always = [
            ("config.json", &self.config),
            ("tokenizer.json", &self.tokenizer),
            ("tokenizer_config.json", &self.tokenizer_config),
        ];
        let generation = self.generation.as_ref().map(|bytes| ("generation_config.json", bytes));
        always.into_iter().chain(generation).map(|(name, bytes)| (name, bytes.as_slice()))
    }

    /// The inverse; `None` if one of those that must be there is not.
    pub(crate) fn from_named(mut files: BTreeMap<&str, Vec<u8>>) -> Option<Self> {
        Some(Self {
            config: files.remove("config.json")?,
            generation: files.remove("generation_config.json"),
            tokenizer: files.remove("tokenizer.json")?,
            tokenizer_config: files.remove("tokenizer_config.json")?,
        })
    }
}
