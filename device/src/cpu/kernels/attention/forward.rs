//! Attention of query rows over the cached keys and values of one sequence.
//!
//! Part by part of the context, as FlashAttention does (Dao and others, 2022): all rows take a part while it is in the processor's
//! nearer caches, and keep the largest score so far, the sum of exponentials and the weighted sum of values, both of which shrink
//! when a larger score comes. So no row of scores is ever held.
//!
//! Each (row, head) goes through the positions 0, 1, … in that order, and parts begin at fixed positions, whatever other rows run
//! beside it: a chunked prefill, a whole one and a decode step give the same bits.

#![allow(clippy::needless_range_loop)] // tiles of fixed sizes, which the compiler unrolls into registers

use super::soft_cap;
use crate::{
    CACHE_BLOCK as BLOCK,
    cpu::kernels::simd::{LANES, Simd},
    ops::Scores,
};

/// Positions of a part: so many that sums are seldom put away, so few that their keys and values stay near.
const PART: usize = 2 * BLOCK;
/// Rows that share a load in the inner loops, with 32 registers.
const TALL: usize = 8;

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

    /// The (row, head) of a number; the heads of a row follow each other.
    #[inline(always)]
    fn place(&self, index: usize) -> Place {
        let (row, head) = (index / self.group, index % self.group);
        let length = self.length + row;
        let at = row * self.row_stride + head * self.head_dim;
        Place { at, start: self.scores.first(length), length }
    }
}

/// Working memory: for each (row, head) the sum of values, the sums of exponentials in 16 lanes, and the largest score; and a tile's
/// scores of one part.
struct Running<'a> {
    values: &'a mut [f32],
    sums: &'a mut [f32],
    largest: &'a mut [f32],
    scores: &'a mut [f32],
}

/// Runs the rows; `scratch` is working memory.
///
/// # Safety
/// The processor must have the features of `S`; the pointers must be valid for the sizes; no other thread may write
/// these results.
#[inline(always)]
pub(crate) unsafe fn attend<S: Simd>(a: &Attend, scratch: &mut Vec<f32>) {
    let total = a.rows * a.group;
    scratch.clear();
    scratch.resize(total * (a.head_dim + LANES + 1) + TALL * PART, 0.0);
    let (values, rest) = scratch.split_at_mut(total * a.head_dim);
    let (sums, rest) = rest.split_at_mut(total * LANES);
    let (largest, scores) = rest.split_at_mut(total);
    largest.fill(f32::NEG_INFINITY);
    let mut running = Running { values, sums, largest, scores };
    let longest = a.length + a.rows - 1;
    for part in a.scores.first(a.length) / PART..longest.div_ceil(PART) {
        let mut first = 0;
        while first < total {
            // SAFETY: passed on from the caller; the heights stay inside of the rows.
            first += unsafe {
                if S::WIDE && total - first >= TALL {
                    heads::<S, TALL>(a, first, part, &mut running)
                } else if total - first >= 4 {
                    heads::<S, 4>(a, first, part, &mut running)
                } else if total - first >= 2 {
                    heads::<S, 2>(a, first, part, &mut running)
                } else {
                    heads::<S, 1>(a, first, part, &mut running)
                }
            };
        }
    }
    let rows = running.values.chunks_exact(a.head_dim).zip(running.sums.chunks_exact(LANES));
    for (index, (values, sums)) in rows.enumerate() {
        let at = a.place(index).at;
        // SAFETY: the place is one of the rows', and the slices hold whole vectors.
        unsafe {
            let inverse = S::splat(1.0 / S::sum(S::load(sums.as_ptr())));
            for (d, values) in values.chunks_exact(LANES).enumerate() {
                let out = S::mul(S::load(values.as_ptr()), inverse);
                S::store(a.out.add(at + d * LANES), out);
            }
        }
    }
}

/// Where one (row, head) reads and writes, and which positions it sees: `start..length`.
#[derive(Clone, Copy, Default)]
struct Place {
    at: usize,
    start: usize,
    length: usize,
}

impl Place {
    /// What it sees of a part, by the places in it.
    #[inline(always)]
    fn within(self, part: usize) -> (usize, usize) {
        let begin = part * PART;
        (self.start.saturating_sub(begin), self.length.saturating_sub(begin).min(PART))
    }
}

/// `MR` rows from `first` on take a part.
#[inline(always)]
unsafe fn heads<S: Simd, const MR: usize>(
    a: &Attend,
    first: usize,
    part: usize,
    running: &mut Running<'_>,
) -> usize {
    let mut places = [Place::default(); MR];
    for (m, place) in places.iter_mut().enumerate() {
        *place = a.place(first + m);
    }
    // Of the rows the first begins first, and the last sees most.
    let (begin, end) = (places[0].within(part).0, places[MR - 1].within(part).1);
    if begin >= end {
        return MR;
    }
    let (mut group, groups) = (begin / LANES, end.div_ceil(LANES));
    let begin = group * LANES;
    // SAFETY: queries, results and blocks are valid for the rows, heads and positions used here; a block is allocated
    // whole.
    unsafe {
        let mut queries = [a.queries; MR];
        for (query, place) in queries.iter_mut().zip(places) {
            *query = query.add(place.at);
        }
        while group < groups {
            let keys = a.keys(part * (PART / LANES) + group);
            let out = running.scores.as_mut_ptr().add(group * LANES);
            // Two groups at once, so that more sums are under way than the processor needs to wait for one. From an even
            // one on, both lie in one block.
            if groups - group >= 2 && group.is_multiple_of(2) {
                score::<S, MR, 2>(a, keys, &queries, out);
                group += 2;
            } else {
                score::<S, MR, 1>(a, keys, &queries, out);
                group += 1;
            }
        }
        // First the largest score of each row, then the exponentials: so no row waits for what another one is about to find.
        let mut rows = [Seen::default(); MR];
        for m in 0..MR {
            let (from, to) = places[m].within(part);
            let (from, to) = (from.max(begin).min(to.max(begin)) - begin, to.max(begin) - begin);
            let scores = &mut running.scores[m * PART..][begin..groups * LANES];
            let before = raise::<S>(scores, (from, to), &mut running.largest[first + m]);
            rows[m] = Seen { from, to, before, largest: running.largest[first + m] };
        }
        let mut shrink = [1.0; MR];
        for m in 0..MR {
            let scores = &mut running.scores[m * PART..][begin..groups * LANES];
            let sums = &mut running.sums[(first + m) * LANES..][..LANES];
            shrink[m] = exponentials::<S>(scores, rows[m], sums);
        }
        let tile = Tile {
            origin: part * PART,
            begin,
            places: &places,
            scores: running.scores,
            shrink: &shrink,
        };
        let values = running.values.as_mut_ptr().add(first * a.head_dim);
        let mut d = 0;
        while d < a.head_dim {
            if MR == TALL && a.head_dim - d >= 32 {
                tile.mix::<S, 2>(a, d, values);
                d += 32;
            } else if MR < TALL && a.head_dim - d >= 64 {
                tile.mix::<S, 4>(a, d, values);
                d += 64;
            } else {
                tile.mix::<S, 1>(a, d, values);
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
                S::store(out.add(m * PART + n * LANES), score);
            }
        }
    }
}

/// What one row sees of a part's scores, and its largest score before the part and with it.
#[derive(Clone, Copy, Default)]
struct Seen {
    from: usize,
    to: usize,
    before: f32,
    largest: f32,
}

/// Raises the largest score so far to that of `from..to`, around which the scores become minus infinity. Returns what it was before.
#[inline(always)]
unsafe fn raise<S: Simd>(scores: &mut [f32], (from, to): (usize, usize), largest: &mut f32) -> f32 {
    if from >= to {
        return *largest;
    }
    scores[..from].fill(f32::NEG_INFINITY);
    scores[to..].fill(f32::NEG_INFINITY);
    // SAFETY: the slice holds whole vectors.
    unsafe {
        let mut most = S::splat(*largest);
        for part in scores.chunks_exact(LANES) {
            most = S::max(most, S::load(part.as_ptr()));
        }
        std::mem::replace(largest, S::largest(most))
    }
}

/// Turns the scores that a row sees into exponentials of their distance to its largest, zero around them, and adds them to the
/// sums. Returns the factor of what was summed before.
#[inline(always)]
unsafe fn exponentials<S: Simd>(scores: &mut [f32], seen: Seen, sums: &mut [f32]) -> f32 {
    let Seen { from, to, before, largest } = seen;
    if from >= to {
        scores.fill(0.0);
        return 1.0;
    }
    // SAFETY: the slice holds whole vectors.
    unsafe {
        let shift = S::splat(largest);
        for part in scores.chunks_exact_mut(LANES) {
            let value = S::exp(S::sub(S::load(part.as_ptr()), shift));
            S::store(part.as_mut_ptr(), value);
        }
        // The exponential of minus infinity is e^-87 here, so what lies beyond is cleared before it counts.
        scores[..from].fill(0.0);
        scores[to..].fill(0.0);
        let shrink = if before == largest {
            1.0
        } else if before == f32::NEG_INFINITY {
            0.0
        } else {
            S::to_array(S::exp(S::sub(S::splat(before), shift)))[0]
        };
        let mut sum = S::mul(S::load(sums.as_ptr()), S::splat(shrink));
        for part in scores.chunks_exact(LANES) {
            sum = S::add(sum, S::load(part.as_ptr()));
        }
        S::store(sums.as_mut_ptr(), sum);
        shrink
    }
}

/// The exponentials of `MR` rows in one part.
struct Tile<'a, const MR: usize> {
    /// The part's first position.
    origin: usize,
    /// Where in it the first of them is that any row sees, at the beginning of a group.
    begin: usize,
    places: &'a [Place; MR],
    scores: &'a [f32],
    shrink: &'a [f32; MR],
}

impl<const MR: usize> Tile<'_, MR> {
    /// Adds the part to `NV` vectors of the weighted sums of values from lane `d` on.
    #[inline(always)]
    unsafe fn mix<S: Simd, const NV: usize>(&self, a: &Attend, d: usize, out: *mut f32) {
        // SAFETY: passed on from the caller.
        unsafe {
            let weights = self.scores.as_ptr();
            let mut sums = [[S::splat(0.0); NV]; MR];
            for (m, sums) in sums.iter_mut().enumerate() {
                let shrink = S::splat(self.shrink[m]);
                for (n, sum) in sums.iter_mut().enumerate() {
                    let before = S::load(out.add(m * a.head_dim + d + n * LANES));
                    *sum = S::mul(before, shrink);
                }
            }
            let begin = self.origin + self.begin;
            let shared = self.places[0].length.min(self.origin + PART);
            let mut next = begin;
            while next < shared {
                // Within a block one row follows the other.
                let rows = a.values(next).add(d);
                let end = shared.min((next / BLOCK + 1) * BLOCK);
                for position in next..end {
                    let row = rows.add((position - next) * a.value_stride);
                    let mut values = [S::splat(0.0); NV];
                    for (n, value) in values.iter_mut().enumerate() {
                        *value = S::load(row.add(n * LANES));
                    }
                    for (m, sums) in sums.iter_mut().enumerate() {
                        let weight = S::splat(*weights.add(m * PART + position - self.origin));
                        for (sum, value) in sums.iter_mut().zip(values) {
                            *sum = S::fma(value, weight, *sum);
                        }
                    }
                }
                next = end;
            }
            for (m, sums) in sums.iter_mut().enumerate() {
                // Later rows see a few positions more than the first.
                for position in next..self.places[m].length.min(self.origin + PART) {
                    let row = a.values(position).add(d);
                    let weight = S::splat(*weights.add(m * PART + position - self.origin));
                    for (n, sum) in sums.iter_mut().enumerate() {
                        *sum = S::fma(S::load(row.add(n * LANES)), weight, *sum);
                    }
                }
                for (n, sum) in sums.iter().enumerate() {
                    S::store(out.add(m * a.head_dim + d + n * LANES), *sum);
                }
            }
        }
    }
}
