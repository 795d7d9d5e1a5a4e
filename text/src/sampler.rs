//! Logits to a token: penalties, temperature, the usual truncations, log-probabilities.
//!
//! The log-probability that is reported and stored is the model's own: under the raw logits,
//! before bias, penalties and temperature. With a grammar it is that among the tokens which the grammar
//! allows, as vLLM has it: its mask is on the logits before anything is read from them. Nothing here sorts the vocabulary: at 150,000 entries
//! that would cost more than a small model's step.

use std::collections::BTreeMap;

use hone_api::sampling_params::SamplingParams;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::sample::sample;
use crate::softmax::{Candidate, argmax, log_sum_exp, top_logits};
use crate::{Error, Grammar};

/// Below this, sampling is greedy.
const GREEDY: f32 = 1e-5;

/// Samples the tokens of one sequence. Equal parameters, seed, prompt and logits give equal tokens;
/// one random number is used per token, whatever the parameters.
#[derive(Debug, Clone)]
pub struct Sampler {
    params: SamplingParams,
    rng: ChaCha8Rng,
    /// How often each token was generated; tokens of the prompt are here with 0. Empty if no
    /// penalty needs it.
    seen: BTreeMap<u32, u32>,
    /// Raw values of the logits that were changed, put back after the sampling.
    changed: Vec<(u32, f32)>,
    /// Working memory for samples of very flat distributions.
    candidates: Vec<Candidate>,
    /// What the tokens must follow.
    grammar: Option<Box<Grammar>>,
    /// What was sampled, where words are forbidden.
    sampled: Vec<u32>,
}

/// A sampled token.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// Its id.
    pub token: u32,
    /// Natural log-probability under the raw logits.
    pub logprob: f32,
    /// The likeliest tokens under the raw logits, best first; as many as `logprobs` asks for.
    pub top: Vec<(u32, f32)>,
}

impl Sampler {
    /// A sampler for a sequence that begins with `prompt`. `seed` is used where the parameters
    /// name none.
    ///
    /// # Errors
    /// [`Error::Sampling`] names the parameter that is out of its range.
    pub fn new(params: &SamplingParams, seed: u64, prompt: &[u32]) -> Result<Self, Error> {
        check(params)?;
        let counts = params.presence_penalty != 0.0
            || params.frequency_penalty != 0.0
            || params.repetition_penalty != 1.0;
        let seen = if counts { prompt.iter().map(|t| (*t, 0)).collect() } else { BTreeMap::new() };
        Ok(Self {
            rng: ChaCha8Rng::seed_from_u64(params.seed.unwrap_or(seed)),
            params: params.clone(),
            seen,
            changed: Vec::new(),
            candidates: Vec::new(),
            grammar: None,
            sampled: Vec::new(),
        })
    }

    /// Holds the tokens to a grammar, from the first on.
    #[must_use]
    pub fn with_grammar(mut self, grammar: Option<Grammar>) -> Self {
        self.grammar = grammar.map(Box::new);
        self
    }

    /// Whether tokens are held to a grammar.
    #[must_use]
    pub fn has_grammar(&self) -> bool {
        self.grammar.is_some()
    }

    /// Samples the next token. `forbidden` tokens are never sampled (end tokens before `min_tokens`).
    /// `logits`: one raw value per entry of the vocabulary; they are changed while sampling and
    /// back to what they were on return, but for those that a grammar forbids.
    ///
    /// # Errors
    /// [`Error::Sampling`] if the logits are not finite: the model or the adapter is broken. [`Error::Grammar`] if the
    /// grammar cannot go on.
    pub fn sample(&mut self, logits: &mut [f32], forbidden: &[u32]) -> Result<Sampled, Error> {
        let mut forbidden = forbidden;
        if let Some(grammar) = &mut self.grammar {
            grammar.mask(logits)?;
            // A complete answer can only end.
            if grammar.is_complete() {
                forbidden = &[];
            }
        }
        let normaliser = log_sum_exp(logits);
        if !normaliser.is_finite() {
            return Err(Error::Sampling(
                "the logits are not finite: the adapter's or the model's weights are broken"
                    .to_owned(),
            ));
        }
        let top = top_logits(logits, usize::from(self.params.logprobs.unwrap_or(0)))
            .into_iter()
            .filter(|c| c.logit > f32::NEG_INFINITY)
            .map(|c| (c.token, c.logit - normaliser))
            .collect();
        let uniform = (self.rng.next_u64() >> 11) as f64 * (-53f64).exp2();

        let whole = self.params.allowed_token_ids.is_some().then(|| logits.to_vec());
        self.keep_allowed(logits);
        self.adjust(logits, forbidden);
        if whole.is_some() && logits.iter().all(|logit| *logit == f32::NEG_INFINITY) {
            return Err(Error::Sampling("no token is allowed here; allow more".to_owned()));
        }
        let token = if self.params.temperature < GREEDY {
            argmax(logits)
        } else {
            sample(&self.params, logits, uniform, &mut self.candidates)
        };
        for &(token, raw) in self.changed.iter().rev() {
            logits[token as usize] = raw;
        }
        if let Some(whole) = whole {
            logits.copy_from_slice(&whole);
        }
        if !self.params.bad_words.is_empty() {
            self.sampled.push(token);
        }
        if let Some(grammar) = &mut self.grammar {
            grammar.accept(token)?;
        }
        if let Some(count) = self.seen.get_mut(&token) {
            *count += 1;
        } else if self.needs_history() {
            self.seen.insert(token, 1);
        }
        Ok(Sampled { token, logprob: logits[token as usize] - normaliser, top })
    }

    fn needs_history(&self) -> bool {
        let p = &self.params;
        p.presence_penalty != 0.0 || p.frequency_penalty != 0.0 || p.repetition_penalty != 1.0
    }

    fn keep_allowed(&self, logits: &mut [f32]) {
        let Some(allowed) = &self.params.allowed_token_ids else { return };
        let kept: Vec<(u32, f32)> = allowed
            .iter()
            .filter_map(|token| Some((*token, *logits.get(*token as usize)?)))
            .collect();
        logits.fill(f32::NEG_INFINITY);
        for (token, logit) in kept {
            logits[token as usize] = logit;
        }
    }

    /// Bias, penalties and bans, in place; remembers what was there.
    fn adjust(&mut self, logits: &mut [f32], forbidden: &[u32]) {
        self.changed.clear();
        let p = &self.params;
        for (&token, &bias) in &p.logit_bias {
            if let Some(logit) = logits.get_mut(token as usize) {
                self.changed.push((token, *logit));
                *logit += bias;
            }
        }
        for (&token, &count) in &self.seen {
            let Some(logit) = logits.get_mut(token as usize) else { continue };
            self.changed.push((token, *logit));
            if p.repetition_penalty != 1.0 {
                let factor = p.repetition_penalty;
                *logit = if *logit > 0.0 { *logit / factor } else { *logit * factor };
            }
            if count > 0 {
                *logit -= p.presence_penalty + p.frequency_penalty * count as f32;
            }
        }
        let ends_word = |word: &&Vec<u32>| match word.split_last() {
            Some((_, before)) => self.sampled.ends_with(before),
            None => false,
        };
        let words = p.bad_words.iter().filter(ends_word).filter_map(|word| word.last());
        for &token in forbidden.iter().chain(words) {
            if let Some(logit) = logits.get_mut(token as usize) {
                self.changed.push((token, *logit));
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}

fn check(p: &SamplingParams) -> Result<(), Error> {
    let within = |name: &str, value: f32, low: f32, high: f32| {
        if value >= low && value <= high {
            Ok(())
        } else {
            Err(Error::Sampling(format!("{name} must be from {low} to {high}, not {value}")))
        }
    };
    within("temperature", p.temperature, 0.0, 100.0)?;
    within("top_p", p.top_p, 0.0, 1.0)?;
    within("min_p", p.min_p, 0.0, 1.0)?;
    within("presence_penalty", p.presence_penalty, -2.0, 2.0)?;
    within("frequency_penalty", p.frequency_penalty, -2.0, 2.0)?;
    within("repetition_penalty", p.repetition_penalty, 0.01, 100.0)?;
    p.logit_bias.values().try_for_each(|bias| within("logit_bias", *bias, -100.0, 100.0))
}

/// Log-probabilities of one token and of the `n` likeliest, under raw logits: for prompts.
///
/// # Errors
/// [`Error::Sampling`] if the logits are not finite.
pub fn log_probabilities(
    logits: &[f32],
    token: u32,
    n: usize,
) -> Result<(f32, Vec<(u32, f32)>), Error> {
    let normaliser = log_sum_exp(logits);
    let logit = logits.get(token as usize).copied().unwrap_or(f32::NAN);
    if !normaliser.is_finite() || logit.is_nan() {
        return Err(Error::Sampling("the logits are not finite".to_owned()));
    }
    let top = top_logits(logits, n).into_iter().map(|c| (c.token, c.logit - normaliser)).collect();
    Ok((logit - normaliser, top))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn greedy() -> SamplingParams {
        SamplingParams { temperature: 0.0, ..SamplingParams::default() }
    }

    fn sample(params: &SamplingParams, logits: &[f32], times: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(params, 7, &[]).unwrap();
        (0..times).map(|_| sampler.sample(&mut logits.to_vec(), &[]).unwrap().token).collect()
    }

    fn softmax(logits: &[f32]) -> Vec<f64> {
        let e: Vec<f64> = logits.iter().map(|l| f64::from(*l).exp()).collect();
        let sum: f64 = e.iter().sum();
        e.iter().map(|x| x / sum).collect()
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        assert_eq!(sample(&greedy(), &[0.0, 3.0, 3.0, 1.0], 2), [1, 1]);
    }

    #[test]
    fn the_draws_have_the_distribution() {
        let logits = [1.0, 0.0, -1.0, 2.0, f32::NEG_INFINITY];
        let params = SamplingParams { temperature: 0.7, ..SamplingParams::default() };
        let sampled = sample(&params, &logits, 40_000);
        let expected = softmax(&logits.map(|l| l / 0.7));
        for (token, p) in (0u32..).zip(expected) {
            let share = sampled.iter().filter(|t| **t == token).count() as f64 / 40_000.0;
            assert!((share - p).abs() < 0.01, "token {token}: {share} instead of {p}");
        }
    }

    #[test]
    fn truncations_cut_what_they_should() {
        let logits: Vec<f32> = (0..300).map(|i| -(i as f32) * 0.05).collect();
        let max =
            |params: SamplingParams| sample(&params, &logits, 2000).into_iter().max().unwrap();
        let all = SamplingParams::default();
        assert_eq!(max(SamplingParams { top_k: 3, ..all.clone() }), 2);
        // exp(-0.05 i) >= 0.5 up to i = 13
        assert_eq!(max(SamplingParams { min_p: 0.5, ..all.clone() }), 13);
        let p = softmax(&logits);
        let mut sum = 0.0;
        let nucleus = p.iter().position(|x| {
            sum += x;
            sum >= 0.9
        });
        let cut = sample(&SamplingParams { top_p: 0.9, ..all.clone() }, &logits, 20_000);
        assert!(cut.iter().all(|t| *t as usize <= nucleus.unwrap()));
        assert!(cut.iter().any(|t| *t as usize + 4 >= nucleus.unwrap()));
        assert_eq!(max(SamplingParams { top_p: 0.0, ..all }), 0);
    }

    #[test]
    fn seeds_repeat() {
        let logits = [0.1, 0.2, 0.3, 0.4, 0.0];
        let params = |seed| SamplingParams { seed, ..SamplingParams::default() };
        assert_eq!(sample(&params(Some(1)), &logits, 50), sample(&params(Some(1)), &logits, 50));
        assert_ne!(sample(&params(Some(1)), &logits, 50), sample(&params(Some(2)), &logits, 50));
        assert_eq!(sample(&params(Some(7)), &logits, 50), sample(&params(None), &logits, 50));
    }

    #[test]
    fn penalties_push_tokens_away() {
        let logits = [1.0, 0.9, 0.8, -5.0];
        let frequency = SamplingParams { frequency_penalty: 0.15, ..greedy() };
        assert_eq!(sample(&frequency, &logits, 4), [0, 1, 0, 2]);
        let presence = SamplingParams { presence_penalty: 0.5, ..greedy() };
        assert_eq!(sample(&presence, &logits, 4), [0, 1, 2, 0]);
        let repetition = SamplingParams { repetition_penalty: 2.0, ..greedy() };
        let mut sampler = Sampler::new(&repetition, 0, &[0]).unwrap();
        assert_eq!(sampler.sample(&mut logits.to_vec(), &[]).unwrap().token, 1);
    }

    #[test]
    fn bias_and_bans_do_not_touch_the_log_probability() {
        let logits = [1.0f32, 0.0, 0.5];
        let raw = softmax(&logits);
        let mut row = logits.to_vec();
        let biased = SamplingParams { logit_bias: [(1, 100.0)].into(), ..greedy() };
        let sampled = Sampler::new(&biased, 0, &[]).unwrap().sample(&mut row, &[]).unwrap();
        assert_eq!(sampled.token, 1);
        assert!((f64::from(sampled.logprob) - raw[1].ln()).abs() < 1e-6);
        assert_eq!(row, logits, "the row must come back unchanged");
        let banned =
            Sampler::new(&greedy(), 0, &[]).unwrap().sample(&mut row, &[0, 2, 99]).unwrap();
        assert_eq!(banned.token, 1);
        assert_eq!(row, logits);
    }

    #[test]
    fn only_what_is_allowed_is_drawn() {
        let logits = [3.0f32, 2.0, 1.0, 0.0];
        let only = SamplingParams { allowed_token_ids: Some(vec![2, 3, 9]), ..greedy() };
        let mut row = logits.to_vec();
        let sampled = Sampler::new(&only, 0, &[]).unwrap().sample(&mut row, &[]).unwrap();
        assert_eq!((sampled.token, row.as_slice()), (2, logits.as_slice()));
        assert!((f64::from(sampled.logprob) - softmax(&logits)[2].ln()).abs() < 1e-6);
        let none = Sampler::new(&only, 0, &[]).unwrap().sample(&mut row, &[2, 3]);
        assert!(none.is_err(), "nothing is left");
        // 0 alone never, 1 after 1 not.
        let words = SamplingParams { bad_words: vec![vec![0], vec![1, 1]], ..greedy() };
        assert_eq!(sample(&words, &logits, 5), [1, 2, 1, 2, 1]);
    }

    #[test]
    fn broken_logits_are_an_error() {
        let mut sampler = Sampler::new(&greedy(), 0, &[]).unwrap();
        assert!(sampler.sample(&mut [0.0, f32::NAN], &[]).is_err());
        assert!(sampler.sample(&mut [0.0, f32::INFINITY], &[]).is_err());
        assert!(sampler.sample(&mut [], &[]).is_err());
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        let params = SamplingParams { temperature: -1.0, ..SamplingParams::default() };
        let error = Sampler::new(&params, 0, &[]).unwrap_err().to_string();
        assert_eq!(error, "sampling: temperature must be from 0 to 100, not -1");
        let params = SamplingParams { top_p: f32::NAN, ..SamplingParams::default() };
        assert!(Sampler::new(&params, 0, &[]).is_err());
    }

    proptest! {
        #[test]
        fn logprobs_are_log_softmax(logits in prop::collection::vec(-30f32..30.0, 1..200), n in 0u8..8) {
            let params = SamplingParams { logprobs: Some(n), ..SamplingParams::default() };
            let exact = softmax(&logits);
            let mut sampler = Sampler::new(&params, 3, &[]).unwrap();
            let s = sampler.sample(&mut logits.clone(), &[]).unwrap();
            prop_assert!((f64::from(s.logprob) - exact[s.token as usize].ln()).abs() < 1e-4);
            let mut order: Vec<usize> = (0..logits.len()).collect();
            order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
            order.truncate(usize::from(n));
            let top: Vec<usize> = s.top.iter().map(|t| t.0 as usize).collect();
            prop_assert_eq!(top, order);
            for (token, logprob) in &s.top {
                prop_assert!((f64::from(*logprob) - exact[*token as usize].ln()).abs() < 1e-4);
            }
        }

        /// A truncated sample stays within the set that a full sort gives.
        #[test]
        fn draws_stay_in_the_sorted_set(
            logits in prop::collection::vec(-8f32..8.0, 1..400),
            top_k in 0u32..50, top_p in 0.05f32..1.0, seed: u64,
        ) {
            let params = SamplingParams { top_k, top_p, seed: Some(seed), ..SamplingParams::default() };
            let token = sample(&params, &logits, 1)[0] as usize;
            let mut order: Vec<usize> = (0..logits.len()).collect();
            order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
            if top_k > 0 { order.truncate(top_k as usize); }
            let kept: Vec<f32> = order.iter().map(|i| logits[*i]).collect();
            let p = softmax(&kept);
            let mut sum = 0.0;
            let n = p.iter().take_while(|x| { let go = sum < f64::from(top_p) - 1e-5; sum += **x; go }).count();
            let allowed = &order[..(n + 1).min(order.len())];
            prop_assert!(allowed.contains(&token), "{} not in {:?}", token, allowed);
        }
    }
}
