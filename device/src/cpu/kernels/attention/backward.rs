//! Backward of causal attention, one sequence and one key/value head at a time.
//!
//! The probabilities are computed again from queries and keys in blocks of rows, as FlashAttention
//! does, so that memory grows with the length and not with its square. Each task owns the
//! gradients of its key/value head and of the query heads that share it: the sums have one order,
//! whatever the number of threads.

use super::soft_cap;
use crate::{
    cpu::kernels::simd::{LANES, Simd},
    ops::Scores,
};

/// Query rows whose probabilities are held at once.
const ROWS: usize = 64;
/// Rows that share a load in the inner loops.
const TALL: usize = 4;

/// Operands of one sequence and one key/value head. Row strides are in elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttendBackward {
    /// Query of the first row and of the first head of the group, after the rotation.
    pub(crate) queries: *const f32,
    /// Gradient of the result, placed as the queries.
    pub(crate) d_out: *const f32,
    /// Gradient of the queries, placed as the queries; overwritten.
    pub(crate) d_queries: *mut f32,
    /// Elements from one row of queries to the next.
    pub(crate) query_stride: usize,
    /// Keys of the head, after the rotation.
    pub(crate) keys: *const f32,
    /// Values of the head.
    pub(crate) values: *const f32,
    /// Gradient of the keys; overwritten.
    pub(crate) d_keys: *mut f32,
    /// Gradient of the values; overwritten.
    pub(crate) d_values: *mut f32,
    /// Elements from one row of keys or values to the next.
    pub(crate) key_stride: usize,
    /// Query heads that share the key/value head.
    pub(crate) group: usize,
    /// Width of a head; a multiple of 16.
    pub(crate) head_dim: usize,
    /// Rows of the sequence.
    pub(crate) length: usize,
    /// How scores were made.
    pub(crate) scores: Scores,
}

/// Copies rows of one head to blocks of 16 positions, `[head_dim][16]` each, zero-padded.
///
/// # Safety
/// `rows` is valid for `length` rows of `head_dim` elements at `stride`; `out` for the blocks.
unsafe fn transpose(
    rows: *const f32,
    stride: usize,
    length: usize,
    head_dim: usize,
    out: &mut [f32],
) {
    for (block, out) in out.chunks_exact_mut(head_dim * LANES).enumerate() {
        for lane in 0..LANES {
            let position = block * LANES + lane;
            for d in 0..head_dim {
                out[d * LANES + lane] = if position < length {
                    // SAFETY: the position is inside of the rows.
                    unsafe { *rows.add(position * stride + d) }
                } else {
                    0.0
                };
            }
        }
    }
}

/// Gradients of queries, keys and values.
///
/// # Safety
/// The processor must have the features of `S`; the pointers must be valid for the sizes; no other
/// thread may touch these gradients.
#[inline(always)]
pub(crate) unsafe fn attend_backward<S: Simd>(a: &AttendBackward, scratch: &mut Vec<f32>) {
    let width = a.length.next_multiple_of(LANES);
    let panel = width * a.head_dim;
    scratch.clear();
    scratch.resize(2 * panel + 2 * ROWS * width, 0.0);
    let (keys, rest) = scratch.split_at_mut(panel);
    let (values, rest) = rest.split_at_mut(panel);
    let (weights, scores) = rest.split_at_mut(ROWS * width);
    // SAFETY: all offsets stay inside of the sequence's rows and of the scratch memory.
    unsafe {
        transpose(a.keys, a.key_stride, a.length, a.head_dim, keys);
        transpose(a.values, a.key_stride, a.length, a.head_dim, values);
        for position in 0..a.length {
            let at = position * a.key_stride;
            std::slice::from_raw_parts_mut(a.d_keys.add(at), a.head_dim).fill(0.0);
            std::slice::from_raw_parts_mut(a.d_values.add(at), a.head_dim).fill(0.0);
        }
        for head in 0..a.group {
            let mut first = 0;
            while first < a.length {
                let rows = ROWS.min(a.length - first);
                let at = first * a.query_stride + head * a.head_dim;
                let block = Block {
                    first,
                    rows,
                    seen: first + rows,
                    width,
                    queries: a.queries.add(at),
                    d_out: a.d_out.add(at),
                };
                block.dots::<S>(a, block.queries, keys, weights);
                block.dots::<S>(a, block.d_out, values, scores);
                block.softmax_backward::<S>(a, weights, scores);
                block.d_queries::<S>(a, scores, a.d_queries.add(at));
                block.columns::<S>(a, weights, block.d_out, a.d_values);
                block.columns::<S>(a, scores, block.queries, a.d_keys);
                first += rows;
            }
        }
    }
}

/// Some consecutive query rows of one head.
struct Block {
    first: usize,
    rows: usize,
    /// Positions that the last row sees.
    seen: usize,
    /// Elements from one row of probabilities to the next.
    width: usize,
    queries: *const f32,
    d_out: *const f32,
}

impl Block {
    /// `out[row][position] = left[row] · panel[position]`.
    #[inline(always)]
    unsafe fn dots<S: Simd>(
        &self,
        a: &AttendBackward,
        left: *const f32,
        panel: &[f32],
        out: &mut [f32],
    ) {
        let mut row = 0;
        while row < self.rows {
            // SAFETY: rows and positions are inside of the operands.
            row += unsafe {
                if self.rows - row >= TALL {
                    self.dot_rows::<S, TALL>(a, left, panel, out, row)
                } else {
                    self.dot_rows::<S, 1>(a, left, panel, out, row)
                }
            };
        }
    }

    #[inline(always)]
    unsafe fn dot_rows<S: Simd, const MR: usize>(
        &self,
        a: &AttendBackward,
        left: *const f32,
        panel: &[f32],
        out: &mut [f32],
        row: usize,
    ) -> usize {
        let blocks = (self.first + row + MR).div_ceil(LANES);
        // SAFETY: passed on from the caller.
        unsafe {
            let mut block = 0;
            while block < blocks {
                if blocks - block >= 2 {
                    self.dot_tile::<S, MR, 2>(a, left, panel, out, (row, block));
                    block += 2;
                } else {
                    self.dot_tile::<S, MR, 1>(a, left, panel, out, (row, block));
                    block += 1;
                }
            }
        }
        MR
    }

    #[inline(always)]
    unsafe fn dot_tile<S: Simd, const MR: usize, const NB: usize>(
        &self,
        a: &AttendBackward,
        left: *const f32,
        panel: &[f32],
        out: &mut [f32],
        (row, block): (usize, usize),
    ) {
        // SAFETY: passed on from the caller.
        unsafe {
            let mut sums = [[S::splat(0.0); NB]; MR];
            for d in 0..a.head_dim {
                let mut columns = [S::splat(0.0); NB];
                for (n, column) in columns.iter_mut().enumerate() {
                    let at = ((block + n) * a.head_dim + d) * LANES;
                    *column = S::load(panel.as_ptr().add(at));
                }
                for (m, sums) in sums.iter_mut().enumerate() {
                    let x = S::splat(*left.add((row + m) * a.query_stride + d));
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        *sum = S::fma(column, x, *sum);
                    }
                }
            }
            for (m, sums) in sums.iter().enumerate() {
                for (n, sum) in sums.iter().enumerate() {
                    let at = (row + m) * self.width + (block + n) * LANES;
                    S::store(out.as_mut_ptr().add(at), *sum);
                }
            }
        }
    }

    /// Turns scores into probabilities, and gradients of probabilities into those of scores.
    #[inline(always)]
    unsafe fn softmax_backward<S: Simd>(
        &self,
        a: &AttendBackward,
        weights: &mut [f32],
        scores: &mut [f32],
    ) {
        let Scores { scale, cap, .. } = a.scores;
        // A capped score is made first, so that only its distance to the largest is left to the exponential.
        let mut slopes = vec![0.0; if cap.is_some() { self.width } else { 0 }];
        let whole = self.seen.next_multiple_of(LANES);
        for row in 0..self.rows {
            let sees = self.first + row + 1;
            let start = a.scores.first(sees);
            let end = sees.next_multiple_of(LANES);
            let weights = &mut weights[row * self.width..][..whole];
            let scores = &mut scores[row * self.width..][..whole];
            // SAFETY: the slices hold whole vectors.
            unsafe {
                if let Some(cap) = cap {
                    let slopes = slopes.chunks_exact_mut(LANES);
                    for (part, slope) in weights[..end].chunks_exact_mut(LANES).zip(slopes) {
                        let at = part.as_mut_ptr();
                        let score = soft_cap::<S>(S::mul(S::load(at), S::splat(scale)), cap);
                        let share = S::mul(score, S::splat(1.0 / cap));
                        let one = S::splat(1.0);
                        S::store(at, score);
                        S::store(slope.as_mut_ptr(), S::sub(one, S::mul(share, share)));
                    }
                }
                weights[..start].fill(f32::NEG_INFINITY);
                scores[..start].fill(0.0);
                weights[sees..].fill(f32::NEG_INFINITY);
                scores[sees..].fill(0.0);
                let mut largest = S::splat(f32::NEG_INFINITY);
                for part in weights[..end].chunks_exact(LANES) {
                    largest = S::max(largest, S::load(part.as_ptr()));
                }
                let shift = S::splat(S::largest(largest));
                let factor = S::splat(if cap.is_some() { 1.0 } else { scale });
                for part in weights[..end].chunks_exact_mut(LANES) {
                    let at = part.as_mut_ptr();
                    S::store(at, S::exp(S::mul(S::sub(S::load(at), shift), factor)));
                }
                weights[..start].fill(0.0);
                weights[sees..].fill(0.0);
                let mut sum = S::splat(0.0);
                let mut along = S::splat(0.0);
                for (w, s) in weights[..end].chunks_exact(LANES).zip(scores.chunks_exact(LANES)) {
                    let w = S::load(w.as_ptr());
                    sum = S::add(sum, w);
                    along = S::fma(w, S::load(s.as_ptr()), along);
                }
                let inverse = 1.0 / S::sum(sum);
                let mean = S::splat(S::sum(along) * inverse);
                let inverse = S::splat(inverse);
                let factor = S::splat(scale);
                let parts = weights[..end].chunks_exact_mut(LANES);
                for (w, s) in parts.zip(scores.chunks_exact_mut(LANES)) {
                    let weight = S::mul(S::load(w.as_ptr()), inverse);
                    let slope = S::mul(S::sub(S::load(s.as_ptr()), mean), factor);
                    S::store(w.as_mut_ptr(), weight);
                    S::store(s.as_mut_ptr(), S::mul(weight, slope));
                }
                for (s, slope) in scores.chunks_exact_mut(LANES).zip(slopes.chunks_exact(LANES)) {
                    let at = s.as_mut_ptr();
                    S::store(at, S::mul(S::load(at), S::load(slope.as_ptr())));
                }
            }
        }
    }

    /// `out[row] = Σ_position scores[row][position] * keys[position]`.
    #[inline(always)]
    unsafe fn d_queries<S: Simd>(&self, a: &AttendBackward, scores: &[f32], out: *mut f32) {
        let mut row = 0;
        while row < self.rows {
            let tall = self.rows - row >= TALL;
            let mut d = 0;
            while d < a.head_dim {
                let wide = a.head_dim - d >= 4 * LANES;
                // SAFETY: rows, positions and lanes are inside of the operands.
                unsafe {
                    match (tall, wide) {
                        (true, true) => self.d_query_tile::<S, TALL, 4>(a, scores, out, (row, d)),
                        (true, false) => self.d_query_tile::<S, TALL, 1>(a, scores, out, (row, d)),
                        (false, true) => self.d_query_tile::<S, 1, 4>(a, scores, out, (row, d)),
                        (false, false) => self.d_query_tile::<S, 1, 1>(a, scores, out, (row, d)),
                    }
                }
                d += if wide { 4 * LANES } else { LANES };
            }
            row += if tall { TALL } else { 1 };
        }
    }

    #[inline(always)]
    unsafe fn d_query_tile<S: Simd, const MR: usize, const NV: usize>(
        &self,
        a: &AttendBackward,
        scores: &[f32],
        out: *mut f32,
        (row, d): (usize, usize),
    ) {
        // SAFETY: passed on from the caller.
        unsafe {
            let mut sums = [[S::splat(0.0); NV]; MR];
            for position in 0..self.first + row + MR {
                let key = a.keys.add(position * a.key_stride + d);
                let mut keys = [S::splat(0.0); NV];
                for (n, value) in keys.iter_mut().enumerate() {
                    *value = S::load(key.add(n * LANES));
                }
                for (m, sums) in sums.iter_mut().enumerate() {
                    let x = S::splat(*scores.as_ptr().add((row + m) * self.width + position));
                    for (sum, key) in sums.iter_mut().zip(keys) {
                        *sum = S::fma(key, x, *sum);
                    }
                }
            }
            for (m, sums) in sums.iter().enumerate() {
                for (n, sum) in sums.iter().enumerate() {
                    S::store(out.add((row + m) * a.query_stride + d + n * LANES), *sum);
                }
            }
        }
    }

    /// `out[position] += Σ_row weights[row][position] * right[row]`.
    #[inline(always)]
    unsafe fn columns<S: Simd>(
        &self,
        a: &AttendBackward,
        weights: &[f32],
        right: *const f32,
        out: *mut f32,
    ) {
        let mut position = 0;
        while position < self.seen {
            let tall = self.seen - position >= TALL;
            let mut d = 0;
            while d < a.head_dim {
                let wide = a.head_dim - d >= 4 * LANES;
                let at = (position, d);
                // SAFETY: rows, positions and lanes are inside of the operands.
                unsafe {
                    match (tall, wide) {
                        (true, true) => self.column_tile::<S, TALL, 4>(a, weights, right, out, at),
                        (true, false) => self.column_tile::<S, TALL, 1>(a, weights, right, out, at),
                        (false, true) => self.column_tile::<S, 1, 4>(a, weights, right, out, at),
                        (false, false) => self.column_tile::<S, 1, 1>(a, weights, right, out, at),
                    }
                }
                d += if wide { 4 * LANES } else { LANES };
            }
            position += if tall { TALL } else { 1 };
        }
    }

    #[inline(always)]
    unsafe fn column_tile<S: Simd, const MR: usize, const NV: usize>(
        &self,
        a: &AttendBackward,
        weights: &[f32],
        right: *const f32,
        out: *mut f32,
        (position, d): (usize, usize),
    ) {
        // Rows before the position do not see it.
        let start = position.saturating_sub(self.first);
        // SAFETY: passed on from the caller.
        unsafe {
            let mut sums = [[S::splat(0.0); NV]; MR];
            for row in start..self.rows {
                let vector = right.add(row * a.query_stride + d);
                let mut vectors = [S::splat(0.0); NV];
                for (n, value) in vectors.iter_mut().enumerate() {
                    *value = S::load(vector.add(n * LANES));
                }
                for (m, sums) in sums.iter_mut().enumerate() {
                    let at = row * self.width + position + m;
                    let x = S::splat(*weights.as_ptr().add(at));
                    for (sum, value) in sums.iter_mut().zip(vectors) {
                        *sum = S::fma(value, x, *sum);
                    }
                }
            }
            for (m, sums) in sums.iter().enumerate() {
                for (n, sum) in sums.iter().enumerate() {
                    let at = out.add((position + m) * a.key_stride + d + n * LANES);
                    S::store(at, S::add(S::load(at), *sum));
                }
            }
        }
    }
}
