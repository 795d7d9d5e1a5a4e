//! Passes over a row of logits: the largest values, the sum of exponentials.
//!
//! Each runs over a whole vocabulary for every token of every stream, so they are written in lanes
//! that vectorise, with sums in a fixed order: the same bits on every instruction set.

use std::cmp::Ordering;

use multiversion::multiversion;

/// Values that one instruction may treat together.
const LANES: usize = 16;

/// A token that may be sampled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) token: u32,
    pub(crate) logit: f32,
}

impl Candidate {
    /// Likelier first; of equal ones the smaller id, so that a sample never depends on the order.
    pub(crate) fn before(&self, other: &Self) -> Ordering {
        other.logit.total_cmp(&self.logit).then(self.token.cmp(&other.token))
    }
}

/// Index of the largest value; of equal ones the first, as in PyTorch.
pub(crate) fn argmax(logits: &[f32]) -> u32 {
    let max = maximum(logits);
    let index = logits.iter().position(|l| *l == max).unwrap_or(0);
    u32::try_from(index).unwrap_or(0)
}

/// The `n` largest values, best first; of equal ones the smaller token first.
pub(crate) fn top_logits(logits: &[f32], n: usize) -> Vec<Candidate> {
    const BLOCK: usize = 64;
    let mut top: Vec<Candidate> = Vec::with_capacity(n + 1);
    if n == 0 {
        return top;
    }
    let mut bar = f32::NEG_INFINITY;
    for (block, values) in logits.chunks(BLOCK).enumerate() {
        // Soon nearly all blocks hold nothing above the bar.
        if top.len() == n && !values.iter().fold(false, |above, l| above | (*l > bar)) {
            continue;
        }
        for (at, &logit) in values.iter().enumerate() {
            if top.len() == n && logit <= bar {
                continue;
            }
            let token = u32::try_from(block * BLOCK + at).unwrap_or(u32::MAX);
            let new = Candidate { token, logit };
            let place = top.partition_point(|c| c.before(&new).is_lt());
            top.insert(place, new);
            top.truncate(n);
            bar = top.last().map_or(bar, |last| last.logit);
        }
    }
    top
}

/// The largest value; negative infinity if there is none. NaN is passed over.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
pub(crate) fn maximum(logits: &[f32]) -> f32 {
    // Comparing in lanes vectorises; a fold over `f32::max` does not.
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = logits.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, logit) in lanes.iter_mut().zip(chunk) {
            *lane = if *logit > *lane { *logit } else { *lane };
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

/// `Σ exp((x - max) * scale)` over the values that are not below `bound`. The values must not be
/// above `max`.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
pub(crate) fn mass(logits: &[f32], max: f32, scale: f32, bound: f32) -> f64 {
    let weight = |l: f32| if l >= bound { exp((l - max) * scale) } else { 0.0 };
    let mut sum = 0.0;
    // Blocks keep the f32 sums short. Plain loops: an iterator's `map` or `sum` is compiled without the instructions that this
    // function may use.
    for block in logits.chunks(4096) {
        let mut lanes = [0f32; LANES];
        let chunks = block.chunks_exact(LANES);
        let mut rest = 0f32;
        for logit in chunks.remainder() {
            rest += weight(*logit);
        }
        for chunk in chunks {
            for (lane, logit) in lanes.iter_mut().zip(chunk) {
                *lane += weight(*logit);
            }
        }
        let mut of_block = 0.0;
        for lane in lanes {
            of_block += f64::from(lane);
        }
        sum += f64::from(rest) + of_block;
    }
    sum
}

/// `ln Σ exp(x)`: NaN or infinite if any value is NaN or +∞.
pub(crate) fn log_sum_exp(logits: &[f32]) -> f32 {
    let max = maximum(logits);
    // No early exit, so that it vectorises.
    let broken = logits.iter().fold(false, |broken, l| broken | l.is_nan());
    if !max.is_finite() || broken {
        return f32::NAN;
    }
    (f64::from(max) + mass(logits, max, 1.0, f32::NEG_INFINITY).ln()) as f32
}

/// `e^x` for `x <= 0` to about 2 units in the last place, without a branch, so that loops over it
/// vectorise. Below -87 it is 0.
#[inline]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.max(-87.0);
    let rounded = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    // ln 2 in two parts keeps the remainder exact.
    let r = (clamped - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let mut y = 1.987_569_1e-4;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        y = y * r + c;
    }
    let y = y * r * r + r + 1.0;
    let power = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { y * power }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn exp_is_exact_enough() {
        for i in 0..87_000 {
            let x = -(i as f32) / 1000.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 3e-7, "exp({x}) is off by {error}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn nothing_has_no_largest() {
        assert_eq!(maximum(&[]), f32::NEG_INFINITY);
        assert!(top_logits(&[], 3).is_empty());
        assert!(log_sum_exp(&[]).is_nan());
    }

    proptest! {
        #[test]
        fn the_top_is_what_sorting_gives(
            // Few values, so that many are equal.
            values in prop::collection::vec(-9i8..9, 0..500), n in 0usize..40,
        ) {
            let logits: Vec<f32> = values.iter().map(|v| f32::from(*v)).collect();
            let mut all: Vec<Candidate> = (0u32..)
                .zip(&logits)
                .map(|(token, &logit)| Candidate { token, logit })
                .collect();
            all.sort_by(Candidate::before);
            all.truncate(n);
            prop_assert_eq!(top_logits(&logits, n), all);
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            prop_assert_eq!(maximum(&logits), largest);
        }

        #[test]
        fn the_mass_is_the_sum(logits in prop::collection::vec(-20f32..0.0, 0..300), bound in -20f32..0.0) {
            let exact: f64 =
                logits.iter().filter(|l| **l >= bound).map(|l| (f64::from(*l) * 0.5).exp()).sum();
            let sum = mass(&logits, 0.0, 0.5, bound);
            prop_assert!((sum - exact).abs() <= 1e-5 * (1.0 + exact), "{} {}", sum, exact);
        }
    }
}
