//! What an engine knows of its model's text.

use hone_api::sampling::SamplingDefaults;

use crate::{ChatTemplate, Error, Grammar, Talk, Tokenizer};

/// Tokenizer, template and limits of a model. An engine without weights of its own has one as well.
#[derive(Debug)]
pub struct FrontEnd {
    /// Text to token ids and back.
    pub tokenizer: Tokenizer,
    /// Messages to text.
    pub template: ChatTemplate,
    /// Tokens after which an answer is over.
    pub end_tokens: Vec<u32>,
    /// What its authors recommend where a request does not say.
    pub sampling: SamplingDefaults,
    /// Tokens of the longest sequence, prompt and answer together.
    pub context: usize,
    /// Ids of the model; the tokenizer may have fewer.
    pub vocab_size: usize,
    /// Length of its hidden states, and so of embeddings.
    pub hidden_size: usize,
    /// What tells this model from every other one; hex.
    pub base_digest: String,
}

impl FrontEnd {
    /// The ids of a talk, up to where the answer begins.
    ///
    /// # Errors
    /// Those of [`ChatTemplate::encode_chat`].
    pub fn encode_chat<'a>(&self, talk: impl Into<Talk<'a>>) -> Result<Vec<u32>, Error> {
        self.template.encode_chat(&self.tokenizer, talk, true)
    }

    /// A grammar for whole answers, which end with one of the model's end tokens.
    ///
    /// # Errors
    /// Those of [`Tokenizer::grammar`].
    pub fn grammar(&self, lark: &str) -> Result<Grammar, Error> {
        self.tokenizer.grammar(lark, &self.end_tokens)
    }

    /// Whether a token ends an answer.
    #[must_use]
    pub fn is_end(&self, token: u32) -> bool {
        self.end_tokens.contains(&token)
    }
}
