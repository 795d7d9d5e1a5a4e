//! The one error type of this crate.

/// What can go wrong with templates, tokens, grammars and sampling.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A grammar, or a schema, that answers cannot be held to.
    #[error("{0}")]
    Grammar(String),
    /// A text has more tokens than were allowed.
    #[error("the text has {at_least} tokens or more; at most {most} are taken: send less text")]
    TooManyTokens {
        /// So many it has at least; the rest was not counted.
        at_least: usize,
        /// So many were allowed.
        most: usize,
    },
    /// The time for a text was up.
    #[error("the text takes too long to tokenise; send less text")]
    TookTooLong,
    /// Nobody waits for the result any more.
    #[error("cancelled: nobody waits for it any more")]
    Cancelled,
    /// The tokenizer failed.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The chat template failed.
    #[error("chat template: {0}")]
    Template(String),
    /// Sampling parameters that cannot be used.
    #[error("sampling: {0}")]
    Sampling(String),
}
