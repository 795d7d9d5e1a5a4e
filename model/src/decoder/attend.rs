//! Attention of all rows of a step over their sequences, divided among the threads; forward and backward.

use std::ops::Range;

use super::{
    cache::LayerKv,
    step::{Saved, Step},
};
use hone_device::{
    kernels::attention::{Attend, AttendBackward, Scores},
    linear::Shared,
};

/// Query rows of one task.
const TASK_ROWS: usize = 16;
/// Multiplications below which a fork costs more than it saves.
const FORK_WORK: usize = 1 << 12;

/// Appends the rows' keys and values to the caches of their sequences, one for each span, with room made.
pub(crate) fn store(step: Step<'_>, caches: &mut [&mut LayerKv], keys: &[f32], values: &[f32]) {
    let width = step.config.kv_width();
    let shared = Shared::new(caches);
    // Single tokens are not worth a fork.
    let least = (FORK_WORK * step.spans.len()).div_ceil((step.rows() * width).max(1)).max(1);
    step.cpu.pool.ranges(step.spans.len(), least, &|range| {
        // SAFETY: each cache is taken by one part.
        let caches = unsafe { shared.part(range.start, range.len()) };
        for (span, cache) in step.spans[range].iter().zip(caches) {
            for (index, row) in span.rows.clone().enumerate() {
                let at = row * width..(row + 1) * width;
                cache.put(span.start + index, &keys[at.clone()], &values[at]);
            }
        }
    });
}

/// Attention of all rows over their sequences, which hold the rows' own keys and values already.
pub(crate) fn attend_rows(
    step: Step<'_>,
    scores: Scores,
    caches: &[&mut LayerKv],
    q: &[f32],
    out: &mut [f32],
) {
    let config = step.config;
    let (width, head_dim) = (config.q_width(), config.head_dim);
    let group = config.num_heads / config.num_kv_heads;
    // Where the blocks of all sequences lie, one sequence after the other.
    let blocks: Vec<*const f32> = caches.iter().flat_map(|cache| cache.blocks()).collect();
    let mut tasks = Vec::new();
    let (mut work, mut first_block) = (0, 0);
    for (span, cache) in step.spans.iter().zip(caches) {
        let of_sequence = blocks[first_block..].as_ptr();
        first_block += cache.blocks().count();
        for head in 0..config.num_kv_heads {
            let (keys, key_stride) = cache.keys(head);
            let (values, value_stride) = cache.values(head);
            for first in span.rows.clone().step_by(TASK_ROWS) {
                let rows = (span.rows.end - first).min(TASK_ROWS);
                let length = span.start + first - span.rows.start + 1;
                let place = first * width + head * group * head_dim;
                work += rows * group * head_dim * (length + rows);
                tasks.push((
                    place,
                    Attend {
                        queries: q[place..].as_ptr(),
                        // Set by the part that runs the task.
                        out: std::ptr::null_mut(),
                        row_stride: width,
                        rows,
                        group,
                        head_dim,
                        blocks: of_sequence,
                        keys,
                        key_stride,
                        values,
                        value_stride,
                        length,
                        scores,
                    },
                ));
            }
        }
    }
    let tasks = Tasks(tasks);
    let out = Shared::new(out);
    let least = if work < FORK_WORK { tasks.0.len() } else { 1 };
    step.cpu.pool.ranges(tasks.0.len(), least, &|range| {
        let mut scores = Vec::new();
        for (place, task) in tasks.list(range) {
            // SAFETY: queries and blocks live as long as what was borrowed; each task writes its own rows and
            // heads of the result, `place` being inside of it.
            unsafe {
                let task = Attend { out: out.ptr().add(*place), ..*task };
                step.cpu.kernels.attend(&task, &mut scores);
            }
        }
    });
}

struct Tasks(Vec<(usize, Attend)>);

// SAFETY: the pointers are read only, and what they point to outlives the tasks.
unsafe impl Sync for Tasks {}

impl Tasks {
    fn list(&self, range: Range<usize>) -> &[(usize, Attend)] {
        &self.0[range]
    }
}

/// Gradients of queries, keys and values. Every sequence begins at position 0 of its own.
pub(crate) fn attend_backward(
    step: Step<'_>,
    scores: Scores,
    saved: &Saved,
    d_out: &[f32],
) -> [Vec<f32>; 3] {
    let config = step.config;
    let (q, kv, dim) = (config.q_width(), config.kv_width(), config.head_dim);
    let (heads, group) = (config.num_kv_heads, config.num_heads / config.num_kv_heads);
    let mut gradients = [&saved.q, &saved.k, &saved.v].map(|rows| vec![0.0; rows.len()]);
    let [d_q, d_k, d_v] = gradients.each_mut().map(|gradient| Shared::new(gradient));
    step.cpu.pool.run(step.spans.len() * heads, &|part| {
        let (rows, head) = (&step.spans[part / heads].rows, part % heads);
        let at = rows.start * q + head * group * dim;
        let key = rows.start * kv + head * dim;
        // SAFETY: the sequence's rows lie inside of the batch, and each part has its own heads.
        unsafe {
            let job = AttendBackward {
                queries: saved.q.as_ptr().add(at),
                d_out: d_out.as_ptr().add(at),
                d_queries: d_q.ptr().add(at),
                query_stride: q,
                keys: saved.k.as_ptr().add(key),
                values: saved.v.as_ptr().add(key),
                d_keys: d_k.ptr().add(key),
                d_values: d_v.ptr().add(key),
                key_stride: kv,
                group,
                head_dim: dim,
                length: rows.len(),
                scores,
            };
            step.cpu.kernels.attend_backward(&job, &mut Vec::new());
        }
    });
    gradients
}
