//! The loss of one row of logits, and its gradient: cross-entropy with a token, and the divergence
//! from the base's distribution.

use super::simd::{LANES, Simd, lanes};

/// The base's logits for the same row, and what the divergence from them counts.
pub(crate) struct BaseRow<'a> {
    /// Becomes the base's distribution.
    pub(crate) logits: &'a mut [f32],
    /// Weight of `KL(base ‖ adapted)`.
    pub(crate) weight: f32,
}

/// `-log p[target] + weight · KL(q ‖ p)` with `p` and `q` the softmax of `logits` and of the base;
/// `logits` become its gradient, `p - onehot + weight · (p - q)`. What is absent counts nothing.
///
/// # Safety
/// The processor has the set's features, the target is inside of the row, and the base is as long.
#[inline(always)]
pub(crate) unsafe fn loss<S: Simd>(
    logits: &mut [f32],
    target: Option<usize>,
    base: Option<BaseRow<'_>>,
) -> f32 {
    let wanted = target.map_or(0.0, |target| logits[target]);
    // SAFETY: passed on from the caller.
    unsafe {
        let mut weight = 0.0;
        let mut divergence = 0.0;
        let mut shares: &[f32] = &[];
        if let Some(base) = base {
            let away = log_sum::<S>(base.logits);
            weight = base.weight;
            divergence = distance::<S>(base.logits, away, logits) - away;
            shares = base.logits;
        }
        let sum = softmax::<S>(logits);
        let own = if target.is_some() { 1.0 } else { 0.0 };
        if !shares.is_empty() {
            toward_base::<S>(logits, shares, own, weight);
            divergence += sum;
        } else if target.is_none() {
            logits.fill(0.0);
        }
        if let Some(target) = target {
            logits[target] -= 1.0;
        }
        own * (sum - wanted) + weight * divergence
    }
}

#[inline(always)]
unsafe fn largest<S: Simd>(row: &[f32]) -> f32 {
    let n = row.len();
    // SAFETY: the slice holds `n` elements.
    unsafe {
        let mut largest = S::splat(f32::NEG_INFINITY);
        lanes!(
            n,
            i,
            {
                largest = S::max(largest, S::load(row.as_ptr().add(i)));
            },
            rest,
            {
                for value in &row[n - rest..] {
                    largest = S::max(largest, S::splat(*value));
                }
            }
        );
        S::largest(largest)
    }
}

/// `log Σ e^row`.
#[inline(always)]
unsafe fn log_sum<S: Simd>(row: &[f32]) -> f32 {
    let n = row.len();
    // SAFETY: the slice holds `n` elements.
    unsafe {
        let largest = largest::<S>(row);
        let shift = S::splat(largest);
        let mut sum = S::splat(0.0);
        let mut tail = 0.0_f32;
        lanes!(
            n,
            i,
            {
                sum = S::add(sum, S::exp(S::sub(S::load(row.as_ptr().add(i)), shift)));
            },
            rest,
            {
                let mut last = [0.0_f32; LANES];
                let value = S::load_some(row.as_ptr().add(i), rest);
                S::store(last.as_mut_ptr(), S::exp(S::sub(value, shift)));
                tail = last[..rest].iter().sum();
            }
        );
        largest + (S::sum(sum) + tail).ln()
    }
}

/// Turns the base's logits into its distribution `q`; gives `Σ q · (base - logits)`. `away` is the
/// [`log_sum`] of the base.
#[inline(always)]
unsafe fn distance<S: Simd>(base: &mut [f32], away: f32, logits: &[f32]) -> f32 {
    let n = base.len();
    // SAFETY: both hold `n` elements.
    unsafe {
        let shift = S::splat(away);
        let mut sum = S::splat(0.0);
        let mut tail = 0.0_f32;
        lanes!(
            n,
            i,
            {
                let at = base.as_mut_ptr().add(i);
                let value = S::load(at);
                let share = S::exp(S::sub(value, shift));
                S::store(at, share);
                sum = S::fma(share, S::sub(value, S::load(logits.as_ptr().add(i))), sum);
            },
            rest,
            {
                let at = base.as_mut_ptr().add(i);
                let value = S::load_some(at, rest);
                let share = S::exp(S::sub(value, shift));
                S::store_some(at, share, rest);
                let apart = S::sub(value, S::load_some(logits.as_ptr().add(i), rest));
                let mut last = [0.0_f32; LANES];
                S::store(last.as_mut_ptr(), S::mul(share, apart));
                tail = last[..rest].iter().sum();
            }
        );
        S::sum(sum) + tail
    }
}

/// Turns logits into their distribution; gives their `log Σ e^logits`.
#[inline(always)]
unsafe fn softmax<S: Simd>(logits: &mut [f32]) -> f32 {
    let n = logits.len();
    // SAFETY: the slice holds `n` elements.
    unsafe {
        let largest = largest::<S>(logits);
        let shift = S::splat(largest);
        let mut sum = S::splat(0.0);
        let mut tail = 0.0_f32;
        lanes!(
            n,
            i,
            {
                let at = logits.as_mut_ptr().add(i);
                let value = S::exp(S::sub(S::load(at), shift));
                S::store(at, value);
                sum = S::add(sum, value);
            },
            rest,
            {
                let at = logits.as_mut_ptr().add(i);
                let value = S::exp(S::sub(S::load_some(at, rest), shift));
                S::store_some(at, value, rest);
                tail = logits[n - rest..].iter().sum();
            }
        );
        let sum = S::sum(sum) + tail;
        let factor = S::splat(1.0 / sum);
        lanes!(
            n,
            i,
            {
                let at = logits.as_mut_ptr().add(i);
                S::store(at, S::mul(S::load(at), factor));
            },
            rest,
            {
                let at = logits.as_mut_ptr().add(i);
                S::store_some(at, S::mul(S::load_some(at, rest), factor), rest);
            }
        );
        largest + sum.ln()
    }
}

/// `p = own · p + weight · (p - q)`.
#[inline(always)]
unsafe fn toward_base<S: Simd>(p: &mut [f32], q: &[f32], own: f32, weight: f32) {
    let n = p.len();
    // SAFETY: both hold `n` elements.
    unsafe {
        let (own, weight) = (S::splat(own), S::splat(weight));
        // Not a closure: that would not get the set's features, and so call every operation.
        macro_rules! step {
            ($p:expr, $q:expr $(,)?) => {{
                let p = $p;
                S::fma(weight, S::sub(p, $q), S::mul(own, p))
            }};
        }
        lanes!(
            n,
            i,
            {
                let at = p.as_mut_ptr().add(i);
                S::store(at, step!(S::load(at), S::load(q.as_ptr().add(i))));
            },
            rest,
            {
                let at = p.as_mut_ptr().add(i);
                let q = S::load_some(q.as_ptr().add(i), rest);
                S::store_some(at, step!(S::load_some(at, rest), q), rest);
            }
        );
    }
}
