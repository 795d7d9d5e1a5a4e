//! Attention of query rows over the cached keys and values of one sequence.
//!
//! Each (row, head) is one softmax over the positions 0, 1, … in that order, whatever other rows run beside it: a chunked
//! prefill, a whole one and a decode step give the same bits.

#![allow(clippy::needless_range_loop)] // tiles of fixed sizes, which the compiler unrolls into registers

use super::soft_cap;
use crate::{
    CACHE_BLOCK as BLOCK,
    cpu::kernels::simd::{LANES, Simd},
    ops::Scores,
};

/// Query rows that attend together: consecutive positions of one sequence, one key/value head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attend {
    /// Query of the first row and of the first head of the group.
    pub(crate) queries: *const f32,
    /// Result, placed as the queries.
    pub(crate) out: *mut f32,
    /// Elements from one row to the next in queries and result.
    pub(crate) row_stride: usize,
    /// Rows.
    pub(crate) rows: usize,
    /// Query heads that share the key/value head.
    pub(crate) group: usize,
    /// Width of a head; a multiple of 16.
    pub(crate) head_dim: usize,
    /// The sequence's blocks of [`CACHE_BLOCK`](crate::CACHE_BLOCK) positions, in order.
    pub(crate) blocks: *const *const f32,
    /// Where in a block the keys of the head begin: groups of 16 positions, `[head_dim][16]` each.
    pub(crate) keys: usize,
    /// Elements from one group of keys to the next.
    pub(crate) key_stride: usize,
    /// Where in a block the values of the head begin, one row a position.
    pub(crate) values: usize,
    /// Elements from one position's values to the next.
    pub(crate) value_stride: usize,
    /// Positions that the first row sees (its own included); each further row sees one more.
    pub(crate) length: usize,
    /// How scores are made.
    pub(crate) scores: Scores,
}

impl Attend {
    /// Keys of the 16 positions of a group.
    #[inline(always)]
    unsafe fn keys(&self, group: usize) -> *const f32 {
        const GROUPS: usize = BLOCK / LANES;
        // SAFETY: the group lies in the sequence, as the caller says.
        unsafe {
            let block = *self.blocks.add(group / GROUPS);
            block.add(self.keys + group % GROUPS * self.key_stride)
        }
    }

    /// Values of a position; those of the others in its block lie around it.
    #[inline(always)]
    unsafe fn values(&self, position: usize) -> *const f32 {
        // SAFETY: the position lies in the sequence, as the caller says.
        unsafe {
            let block = *self.blocks.add(position / BLOCK);
            block.add(self.values + position % BLOCK * self.value_stride)
        }
    }
}

/// Runs the rows; `scores` is working memory.
///
/// # Safety
/// The processor must have the features of `S`; the pointers must be valid for the sizes; no other thread may write
/// these results.
#[inline(always)]
pub(crate) unsafe fn attend<S: Simd>(a: &Attend, scores: &mut Vec<f32>) {
    let total = a.rows * a.group;
    let mut first = 0;
    while first < total {
        // SAFETY: passed on from the caller; the heights stay inside of the rows.
        first += unsafe {
            if total - first >= 4 {
                heads::<S, 4>(a, first, scores)
            } else if total - first >= 2 {
                heads::<S, 2>(a, first, scores)
            } else {
                heads::<S, 1>(a, first, scores)
            }
        };
    }
}

/// Where one (row, head) reads and writes, and which positions it sees: `start..length`.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    start: usize,
    length: usize,
}

#[inline(always)]
unsafe fn heads<S: Simd, const MR: usize>(
    a: &Attend,
    first: usize,
    scores: &mut Vec<f32>,
) -> usize {
    let mut places = [Place { at: 0, start: 0, length: 0 }; MR];
    for (m, place) in places.iter_mut().enumerate() {
        let (row, head) = ((first + m) / a.group, (first + m) % a.group);
        let length = a.length + row;
        let at = row * a.row_stride + head * a.head_dim;
        *place = Place { at, start: a.scores.first(length), length };
    }
    // Scores are held from the first group of 16 positions on that any of the rows sees.
    let hidden = places[0].start / LANES;
    let groups = places[MR - 1].length.div_ceil(LANES);
    let width = (groups - hidden) * LANES;
    if scores.len() < MR * width {
        scores.resize(MR * width, 0.0);
    }
    // SAFETY: queries, results and blocks are valid for the rows, heads and positions used here; a block is allocated
    // whole.
    unsafe {
        let mut queries = [a.queries; MR];
        for (query, place) in queries.iter_mut().zip(places) {
            *query = query.add(place.at);
        }
        let mut group = hidden;
        while group < groups {
            let keys = a.keys(group);
            let out = scores.as_mut_ptr().add((group - hidden) * LANES);
            // Two groups at once, so that more sums are under way than the processor needs to wait for one. From an even
            // one on, both lie in one block.
            if groups - group >= 2 && group.is_multiple_of(2) {
                score::<S, MR, 2>(a, keys, &queries, out, width);
                group += 2;
            } else {
                score::<S, MR, 1>(a, keys, &queries, out, width);
                group += 1;
            }
        }
        let mut inverse = [0.0; MR];
        for m in 0..MR {
            let scores = &mut scores[m * width..][..width];
            let Place { start, length, .. } = places[m];
            let skipped = hidden * LANES;
            inverse[m] = 1.0 / softmax::<S>(scores, start - skipped, length - skipped);
        }
        let mut d = 0;
        while d < a.head_dim {
            if a.head_dim - d >= 64 {
                mix::<S, MR, 4>(a, d, scores, width, &inverse, &places);
                d += 64;
            } else {
                mix::<S, MR, 1>(a, d, scores, width, &inverse, &places);
                d += LANES;
            }
        }
    }
    MR
}

/// Scores of `NB` groups of 16 positions, which lie in one block: query times key, scaled and capped.
#[inline(always)]
unsafe fn score<S: Simd, const MR: usize, const NB: usize>(
    a: &Attend,
    keys: *const f32,
    queries: &[*const f32; MR],
    out: *mut f32,
    width: usize,
) {
    // SAFETY: passed on from the caller.
    unsafe {
        let scale = S::splat(a.scores.scale);
        let mut sums = [[S::splat(0.0); NB]; MR];
        for d in 0..a.head_dim {
            let mut key = [S::splat(0.0); NB];
            for n in 0..NB {
                key[n] = S::load(keys.add(n * a.key_stride + d * LANES));
            }
            for m in 0..MR {
                let x = S::splat(*queries[m].add(d));
                for n in 0..NB {
                    sums[m][n] = S::fma(key[n], x, sums[m][n]);
                }
            }
        }
        for m in 0..MR {
            for n in 0..NB {
                let mut score = S::mul(sums[m][n], scale);
                if let Some(cap) = a.scores.cap {
                    score = soft_cap::<S>(score, cap);
                }
                S::store(out.add(m * width + n * LANES), score);
            }
        }
    }
}

/// Turns the scores of `start..length` into exponentials of their distance to the largest, zero around them. Returns
/// their sum.
#[inline(always)]
unsafe fn softmax<S: Simd>(scores: &mut [f32], start: usize, length: usize) -> f32 {
    scores[..start].fill(f32::NEG_INFINITY);
    scores[length..].fill(f32::NEG_INFINITY);
    // SAFETY: the slice holds whole vectors.
    unsafe {
        let mut largest = S::splat(f32::NEG_INFINITY);
        for block in scores.chunks_exact(LANES).take(length.div_ceil(LANES)) {
            largest = S::max(largest, S::load(block.as_ptr()));
        }
        let largest = S::splat(S::largest(largest));
        let mut sum = S::splat(0.0);
        for block in scores.chunks_exact_mut(LANES).take(length.div_ceil(LANES)) {
            let value = S::exp(S::sub(S::load(block.as_ptr()), largest));
            S::store(block.as_mut_ptr(), value);
        }
        // The exponential of minus infinity is e^-87 here, so what lies beyond is cleared before it counts.
        scores[..start].fill(0.0);
        scores[length..].fill(0.0);
        for block in scores.chunks_exact(LANES).take(length.div_ceil(LANES)) {
            sum = S::add(sum, S::load(block.as_ptr()));
        }
        S::sum(sum)
    }
}

/// `NV` vectors of the result from lane `d` on: the weighted sum of the values.
#[inline(always)]
unsafe fn mix<S: Simd, const MR: usize, const NV: usize>(
    a: &Attend,
    d: usize,
    scores: &[f32],
    width: usize,
    inverse: &[f32; MR],
    places: &[Place; MR],
) {
    // SAFETY: passed on from the caller.
    unsafe {
        let mut sums = [[S::splat(0.0); NV]; MR];
        let shortest = places[0].length;
        let first = places[0].start / LANES * LANES;
        let mut begin = first;
        while begin < shortest {
            // Within a block one row follows the other.
            let rows = a.values(begin).add(d);
            let end = shortest.min((begin / BLOCK + 1) * BLOCK);
            for position in begin..end {
                let row = rows.add((position - begin) * a.value_stride);
                let mut values = [S::splat(0.0); NV];
                for (n, value) in values.iter_mut().enumerate() {
                    *value = S::load(row.add(n * LANES));
                }
                for (m, sums) in sums.iter_mut().enumerate() {
                    let weight = S::splat(*scores.as_ptr().add(m * width + position - first));
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum = S::fma(value, weight, *sum);
                    }
                }
            }
            begin = end;
        }
        for (m, sums) in sums.iter_mut().enumerate() {
            // Later rows see a few positions more than the first.
            for position in shortest..places[m].length {
                let row = a.values(position).add(d);
                let weight = S::splat(*scores.as_ptr().add(m * width + position - first));
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = S::fma(S::load(row.add(n * LANES)), weight, *sum);
                }
            }
            for (n, sum) in sums.iter().enumerate() {
                let out = a.out.add(places[m].at + d + n * LANES);
                S::store(out, S::mul(*sum, S::splat(inverse[m])));
            }
        }
    }
}
