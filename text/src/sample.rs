//! One sample from a row of logits: temperature, min-p, top-k, top-p.
//!
//! The truncated sets are small for a trained model, so they are looked for among the likeliest
//! few first. Only a distribution so flat that this fails is taken apart as a whole, and then by
//! selection, not by sorting.

use hone_api::sampling_params::SamplingParams;

use crate::softmax::{Candidate, argmax, exp, mass, maximum, top_logits};

/// How many of the likeliest tokens are tried first.
const HEAD: usize = 256;

/// The scale of one sample.
#[derive(Clone, Copy)]
struct Scale {
    max: f32,
    /// 1 / temperature.
    scale: f32,
    /// Tokens with a smaller logit are dropped.
    bound: f32,
}

impl Scale {
    fn weight(&self, candidate: &Candidate) -> f64 {
        f64::from(exp((candidate.logit - self.max) * self.scale))
    }
}

/// Samples by `uniform`, a number from 0 up to but not including 1. The temperature must not be 0;
/// `memory` is working memory.
pub(crate) fn sample(
    p: &SamplingParams,
    logits: &[f32],
    uniform: f64,
    memory: &mut Vec<Candidate>,
) -> u32 {
    let max = maximum(logits);
    if max == f32::NEG_INFINITY {
        return argmax(logits); // everything is forbidden
    }
    // p(token) >= min_p * p(best), as a bound on the logit.
    let bound = if p.min_p > 0.0 { max + p.temperature * p.min_p.ln() } else { f32::MIN };
    let scale = Scale { max, scale: 1.0 / p.temperature, bound };
    let k = match usize::try_from(p.top_k) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(k) => k,
    };
    if k >= logits.len() && p.top_p >= 1.0 && p.min_p <= 0.0 {
        return sample_from_all(logits, scale, uniform);
    }
    let wanted = k.min(HEAD);
    let mut head = top_logits(logits, wanted);
    let complete = wanted == k
        || head.len() == logits.len()
        || head.last().is_none_or(|last| last.logit < bound);
    head.retain(|candidate| candidate.logit >= bound);
    if complete {
        let total: f64 = head.iter().map(|c| scale.weight(c)).sum();
        let kept = reach(&head, f64::from(p.top_p) * total, scale).unwrap_or(head.len());
        return pick(&head[..kept], scale, uniform);
    }
    if k == usize::MAX {
        let wanted = f64::from(p.top_p) * mass(logits, max, scale.scale, bound);
        if let Some(kept) = reach(&head, wanted, scale) {
            return pick(&head[..kept], scale, uniform);
        }
    }
    sample_from_many(p, k, logits, scale, uniform, memory)
}

/// How many candidates it takes to reach a mass, if they can. At least one.
fn reach(candidates: &[Candidate], mass: f64, scale: Scale) -> Option<usize> {
    let mut sum = 0.0;
    let last = candidates.iter().position(|candidate| {
        sum += scale.weight(candidate);
        sum >= mass
    })?;
    Some(last + 1)
}

fn pick(candidates: &[Candidate], scale: Scale, uniform: f64) -> u32 {
    let total: f64 = candidates.iter().map(|c| scale.weight(c)).sum();
    let mut left = uniform * total;
    let sampled = candidates.iter().find(|candidate| {
        left -= scale.weight(candidate);
        left < 0.0
    });
    // Rounding may use the mass up before the last candidate.
    sampled.or(candidates.last()).map_or(0, |candidate| candidate.token)
}

/// Without truncation: the sums of blocks first, then inside of the block that is hit.
fn sample_from_all(logits: &[f32], scale: Scale, uniform: f64) -> u32 {
    const BLOCK: usize = 512;
    let sums: Vec<f64> = logits
        .chunks(BLOCK)
        .map(|block| mass(block, scale.max, scale.scale, scale.bound))
        .collect();
    let mut left = uniform * sums.iter().sum::<f64>();
    let mut hit = None;
    for (block, sum) in sums.iter().enumerate().filter(|(_, sum)| **sum > 0.0) {
        hit = Some(block);
        if left < *sum {
            break;
        }
        left -= sum;
    }
    let start = hit.unwrap_or(0) * BLOCK;
    let mut last = start;
    for (token, &logit) in logits.iter().enumerate().skip(start).take(BLOCK) {
        let weight = f64::from(exp((logit - scale.max) * scale.scale));
        if weight > 0.0 {
            last = token;
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
    }
    u32::try_from(last).unwrap_or(0)
}

/// From a distribution so flat that its likeliest tokens are not enough.
fn sample_from_many(
    p: &SamplingParams,
    k: usize,
    logits: &[f32],
    scale: Scale,
    uniform: f64,
    memory: &mut Vec<Candidate>,
) -> u32 {
    memory.clear();
    memory.extend((0u32..).zip(logits).filter_map(|(token, &logit)| {
        (logit >= scale.bound).then_some(Candidate { token, logit })
    }));
    let mut candidates = memory.as_mut_slice();
    if k < candidates.len() {
        candidates.select_nth_unstable_by(k - 1, Candidate::before);
        candidates = &mut candidates[..k];
    }
    let total: f64 = candidates.iter().map(|c| scale.weight(c)).sum();
    let kept = nucleus(candidates, f64::from(p.top_p) * total, scale);
    // By token, so that the sample does not depend on how the selection shuffles.
    candidates[..kept].sort_unstable_by_key(|candidate| candidate.token);
    pick(&candidates[..kept], scale, uniform)
}

/// Brings the fewest candidates whose weights reach `mass` to the front and returns how many they
/// are. Halves the place of the cut, so each candidate is looked at about twice.
fn nucleus(candidates: &mut [Candidate], mass: f64, scale: Scale) -> usize {
    let (mut low, mut high, mut sum) = (0, candidates.len(), 0.0);
    while high - low > 64 {
        let half = (high - low) / 2;
        let part = &mut candidates[low..high];
        part.select_nth_unstable_by(half, Candidate::before);
        let upper: f64 = part[..half].iter().map(|c| scale.weight(c)).sum();
        if sum + upper >= mass {
            high = low + half;
        } else {
            sum += upper;
            low += half;
        }
    }
    candidates[low..high].sort_unstable_by(Candidate::before);
    let rest = reach(&candidates[low..high], mass - sum, scale);
    rest.map_or(high, |kept| low + kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted(logits: &[f32]) -> Vec<Candidate> {
        let mut all: Vec<Candidate> =
            (0u32..).zip(logits).map(|(token, &logit)| Candidate { token, logit }).collect();
        all.sort_by(Candidate::before);
        all
    }

    proptest! {
        /// The short ways give the sets of the long way.
        #[test]
        fn the_set_is_that_of_a_full_sort(
            logits in prop::collection::vec(-6f32..6.0, 300..1500),
            top_k in prop_oneof![Just(0u32), 1u32..1600],
            top_p in prop_oneof![Just(1.0f32), 0.01f32..1.0],
            min_p in prop_oneof![Just(0.0f32), 0.0001f32..0.9],
            temperature in 0.2f32..3.0,
            uniform in 0.0..1.0f64,
        ) {
            let p = SamplingParams { top_k, top_p, min_p, temperature, ..SamplingParams::default() };
            let token = sample(&p, &logits, uniform, &mut Vec::new());

            let mut all = sorted(&logits);
            let weight = |c: &Candidate| (f64::from(c.logit - all[0].logit) / f64::from(temperature)).exp();
            let weights: Vec<f64> = all.iter().map(weight).collect();
            let mut keep = all.len();
            if min_p > 0.0 {
                keep = weights.iter().filter(|w| **w >= f64::from(min_p) * (1.0 - 1e-5)).count();
            }
            if top_k > 0 { keep = keep.min(top_k as usize); }
            let total: f64 = weights[..keep].iter().sum();
            let mut sum = 0.0;
            let nucleus = weights[..keep].iter().take_while(|w| {
                let more = sum < f64::from(top_p) * total * (1.0 + 1e-5);
                sum += **w;
                more
            }).count();
            all.truncate(nucleus.max(1));
            prop_assert!(all.iter().any(|c| c.token == token), "{} is not among {}", token, all.len());
        }

        #[test]
        fn the_nucleus_of_many_is_the_nucleus_of_a_sort(
            logits in prop::collection::vec(-3f32..3.0, 1..900), share in 0.0..1.0f64,
        ) {
            let scale = Scale { max: 3.0, scale: 1.0, bound: f32::MIN };
            let mut candidates = sorted(&logits);
            let expected = candidates.clone();
            let mass = share * candidates.iter().map(|c| scale.weight(c)).sum::<f64>();
            candidates.sort_by_key(|c| c.token);
            let kept = nucleus(&mut candidates, mass, scale);
            let exact = reach(&expected, mass, scale).unwrap_or(expected.len());
            prop_assert!(kept.abs_diff(exact) <= 1, "{} instead of {}", kept, exact);
            let mut front = candidates[..kept.min(exact)].to_vec();
            front.sort_by(Candidate::before);
            prop_assert_eq!(&front[..], &expected[..kept.min(exact)]);
        }
    }

    #[test]
    fn draws_from_all_have_the_distribution() {
        // Two thirds of the mass in the last of several blocks.
        let mut logits = vec![f32::NEG_INFINITY; 2000];
        (logits[3], logits[1999]) = (0.0, 2f32.ln());
        let scale = Scale { max: 2f32.ln(), scale: 1.0, bound: f32::MIN };
        let sampled = |uniform| sample_from_all(&logits, scale, uniform);
        assert_eq!(
            (sampled(0.0), sampled(0.33), sampled(0.34), sampled(0.999_999)),
            (3, 3, 1999, 1999)
        );
    }
}
