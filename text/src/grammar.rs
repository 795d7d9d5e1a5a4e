//! Answers that follow a grammar: which tokens may come next.
//!
//! A grammar is in llguidance's Lark, in which a JSON schema (`%json {…}`) and a regular expression are one rule each.
//! It reads the same bytes of the tokens as decoding does, so that what it lets through is what the client gets. Nothing
//! here is done for requests without a grammar.

mod schema;

use std::fmt;
use std::sync::Arc;

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};

pub use self::schema::{JsonSchema, SCHEMA_BYTES, SCHEMA_DEPTH};
use crate::Error;

/// Bytes of a grammar, its schemas included.
pub const GRAMMAR_BYTES: usize = 512 << 10;

/// What makes grammars for one tokenizer: its tokens as a tree of bytes.
pub(crate) struct Grammars(ParserFactory);

impl Grammars {
    /// The tree of all tokens: of each its bytes, and whether it is a special one. `ends`: the tokens that end an answer; they
    /// are allowed where the grammar may end.
    pub(crate) fn new<'a>(
        tokens: impl Iterator<Item = (&'a [u8], bool)>,
        ends: &[u32],
    ) -> Result<Self, Error> {
        let word = |(token, (bytes, is_special)): (u32, (&[u8], bool))| match bytes {
            // Bytes that are no text: a special token is none of the characters that it is written with.
            bytes if is_special || ends.contains(&token) => {
                [&[TokTrie::SPECIAL_TOKEN_MARKER], bytes].concat()
            }
            // The marker is no byte of UTF-8; a token that has it can never be part of a text.
            bytes if bytes.contains(&TokTrie::SPECIAL_TOKEN_MARKER) => Vec::new(),
            bytes => bytes.to_vec(),
        };
        let words: Vec<Vec<u8>> = (0..).zip(tokens).map(word).collect();
        let count = u32::try_from(words.len()).unwrap_or(u32::MAX);
        let ends: Vec<u32> = ends.iter().copied().filter(|end| *end < count).collect();
        let Some(&first) = ends.first() else {
            return Err(Error::Grammar("this model has no token that ends an answer".to_owned()));
        };
        let trie = TokTrie::from(&TokRxInfo::new(count, first), &words).with_eos_tokens(&ends);
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let capabilities = InferenceCapabilities::default();
        let mut factory =
            ParserFactory::new(&environment, capabilities, &slices).map_err(to_error)?;
        *factory.limits_mut() = limits();
        factory.quiet();
        Ok(Self(factory))
    }

    /// Compiles a grammar.
    pub(crate) fn compile(&self, lark: &str) -> Result<Grammar, Error> {
        if lark.len() > GRAMMAR_BYTES {
            let (length, most) = (lark.len(), GRAMMAR_BYTES);
            return Err(Error::Grammar(format!("it has {length} bytes; at most {most}")));
        }
        let grammar = TopLevelGrammar::from_lark(lark.to_owned());
        let mut matcher = Matcher::new(self.0.create_parser(grammar));
        // What cannot go on from its beginning is told now, not in the middle of an answer.
        matcher.compute_mask_or_eos().map_err(to_error)?;
        Ok(Grammar(matcher))
    }
}

/// A regular expression, which the whole text must match, as a rule in Lark.
#[must_use]
pub fn regex_rule(pattern: &str) -> String {
    format!("/{}/", llguidance::regex_to_lark(pattern, ""))
}

/// Texts, one of which it must be, as a rule in Lark.
#[must_use]
pub fn choice_rule(choices: &[String]) -> String {
    // Lark's strings are JSON's.
    let quoted = choices.iter().map(|choice| serde_json::json!(choice).to_string());
    quoted.collect::<Vec<_>>().join(" | ")
}

/// How much work a grammar and each of its steps may be.
fn limits() -> ParserLimits {
    ParserLimits {
        // About 20 ms of expressions, 10 ms for one token's mask, and 25 MB of states.
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: 150_000,
        step_max_items: 50_000,
        max_items_in_row: 2_000,
        max_lexer_states: 25_000,
        max_grammar_size: 200_000,
        precompute_large_lexemes: false,
        verbose_errors: false,
    }
}

/// Where an answer stands in its grammar. Cloned for each answer of a request, which costs little.
#[derive(Clone)]
pub struct Grammar(Matcher);

impl Grammar {
    /// The same grammar for another request: nothing is shared, so that one cannot use up what the other may.
    #[must_use]
    pub fn fresh(&self) -> Self {
        Self(self.0.deep_clone())
    }

    /// Leaves the logits of tokens that may come next as they are and makes all others minus infinity.
    ///
    /// # Errors
    /// [`Error::Grammar`]: the step is too much work, or nothing may follow.
    pub(crate) fn mask(&mut self, logits: &mut [f32]) -> Result<(), Error> {
        let allowed = self.0.compute_mask_or_eos().map_err(to_error)?;
        let mut any = false;
        for (logits, bits) in logits.chunks_mut(32).zip(allowed.as_slice()) {
            any |= *bits != 0;
            match *bits {
                u32::MAX => {}
                0 => logits.fill(f32::NEG_INFINITY),
                bits => {
                    for (at, logit) in logits.iter_mut().enumerate() {
                        if bits >> at & 1 == 0 {
                            *logit = f32::NEG_INFINITY;
                        }
                    }
                }
            }
        }
        // A vocabulary may be padded beyond its tokens.
        let known = (allowed.as_slice().len() * 32).min(logits.len());
        logits[known..].fill(f32::NEG_INFINITY);
        match any {
            true => Ok(()),
            false => Err(Error::Grammar("no token may follow".to_owned())),
        }
    }

    /// Takes the token that was sampled.
    ///
    /// # Errors
    /// [`Error::Grammar`]: it was not allowed.
    pub(crate) fn accept(&mut self, token: u32) -> Result<(), Error> {
        // A complete answer ends with any of the end tokens.
        if self.is_complete() {
            return Ok(());
        }
        self.0.consume_token(token).map_err(to_error)
    }

    /// Whether the answer is complete and can have no more text.
    #[must_use]
    pub(crate) fn is_complete(&self) -> bool {
        self.0.is_stopped()
    }
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grammar").field("complete", &self.is_complete()).finish_non_exhaustive()
    }
}

/// The first lines of what llguidance says, which may go on with the whole grammar.
#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn to_error(error: impl fmt::Display) -> Error {
    let text = error.to_string();
    let says = |line: &&str| line.chars().any(|c| c != '^');
    let lines = text.lines().map(str::trim).filter(says);
    let words: String = lines.take(4).collect::<Vec<_>>().join("; ").chars().take(400).collect();
    Error::Grammar(words)
}

#[cfg(test)]
mod tests;
