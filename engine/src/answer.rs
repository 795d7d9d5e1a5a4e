//! An answer as it grows: tokens sampled from logits, the text that may be shown, and the end. Whatever engine computes the
//! logits, this is the same.

use hone_api::chat::FinishReason;
use hone_api::sampling_params::SamplingParams;
use hone_text::{Detokenizer, FrontEnd, Sampled, Sampler, StopMatcher};

use crate::{Event, Request};

/// The answer to one request.
#[derive(Debug)]
pub struct GrowingAnswer {
    tokens: Vec<u32>,
    sampler: Sampler,
    detokenizer: Detokenizer,
    stop: StopMatcher,
    sampling: SamplingParams,
    /// Special tokens whose text is shown.
    shown: Vec<u32>,
    max_new: usize,
}

impl GrowingAnswer {
    /// An answer of at most `max_new` tokens, without any yet. Takes the request's grammar.
    ///
    /// # Errors
    /// The parameter that is out of its range.
    pub fn new(request: &mut Request, max_new: usize) -> Result<Self, hone_text::Error> {
        let sampler = Sampler::new(&request.sampling, random_seed(), &request.prompt)?;
        Ok(Self {
            tokens: Vec::new(),
            sampler: sampler.with_grammar(request.grammar.take()),
            detokenizer: Detokenizer::new(),
            stop: StopMatcher::new(&request.sampling.stop),
            sampling: request.sampling.clone(),
            shown: request.shown.clone(),
            max_new,
        })
    }

    /// What was sampled.
    #[must_use]
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// How many tokens it may have.
    #[must_use]
    pub const fn max_new(&self) -> usize {
        self.max_new
    }

    /// Samples the next token from a row of logits, which are put back as [`Sampler::sample`] says. The token's event, and why
    /// the answer ends with it if it does.
    ///
    /// # Errors
    /// The logits are not finite, or the grammar cannot go on.
    pub fn sample(
        &mut self,
        front_end: &FrontEnd,
        logits: &mut [f32],
    ) -> Result<(Event, Option<FinishReason>), hone_text::Error> {
        let mut forbidden = Vec::new();
        if self.tokens.len() < self.sampling.min_tokens as usize {
            if !self.sampling.ignore_eos {
                forbidden.extend_from_slice(&front_end.end_tokens);
            }
            forbidden.extend_from_slice(&self.sampling.stop_token_ids);
        }
        let sampled = self.sampler.sample(logits, &forbidden)?;
        Ok(self.take(front_end, sampled))
    }

    /// Takes a sampled token: text out, end or not.
    fn take(&mut self, front_end: &FrontEnd, sampled: Sampled) -> (Event, Option<FinishReason>) {
        let Sampled { token, logprob, top } = sampled;
        self.tokens.push(token);
        // After an end token a grammar has nothing more to say.
        let ends = !self.sampling.ignore_eos || self.sampler.has_grammar();
        let is_eos = ends && front_end.is_end(token);
        // As with vLLM, a token that the client chose for the end is part of the text.
        let is_end = is_eos || self.sampling.stop_token_ids.contains(&token);
        let stops_count = self.tokens.len() >= self.sampling.min_tokens as usize;
        let full = self.tokens.len() >= self.max_new;

        let mut text = String::new();
        if self.shown.contains(&token) {
            text = self.detokenizer.finish();
            text += &String::from_utf8_lossy(front_end.tokenizer.token_bytes(token));
        } else if !is_eos {
            text = self.detokenizer.push(&front_end.tokenizer, token);
        }
        if is_end || full {
            text += &self.detokenizer.finish();
        }
        let mut end = None;
        if stops_count {
            let checked = self.stop.push(&text);
            text = checked.text;
            if checked.stopped {
                end = Some(FinishReason::Stop);
            }
        }
        if end.is_none() && (is_end || full) {
            text += &self.stop.finish();
            end = Some(if is_end { FinishReason::Stop } else { FinishReason::Length });
        }
        (Event::Token { token, text, logprob, top }, end)
    }
}

/// A seed for requests that name none: the standard library's per-process randomness.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0u8)
}
