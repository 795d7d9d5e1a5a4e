//! Attention of all rows of a step over their sequences, divided among the threads; forward and backward.

use std::{cell::RefCell, ops::Range};

use super::{
    Cpu,
    block::Block,
    kernels::{Attend, AttendBackward},
    shared::Shared,
};
use crate::{
    Buffer, CACHE_BLOCK, LayerCache,
    host::{buffer, elements, elements_mut},
    layout::LANES,
    ops::{AttentionOps, AttentionRows, Span},
};

/// Query rows of one task.
const TASK_ROWS: usize = 16;
/// Multiplications below which a fork costs more than it saves.
const FORK_WORK: usize = 1 << 12;

thread_local! {
    /// The work of a step, listed by the thread that divides it.
    static TASKS: RefCell<Tasks> = const { RefCell::new(Tasks::new()) };
    /// Working memory of the thread that attends.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Checks what the pointers below rely on: spans one after the other, heads of whole vectors, and rows as long as they say.
fn check(rows: AttentionRows<'_>, queries: [usize; 2], keys: [usize; 2]) {
    let (count, heads) = (rows.rows(), rows.heads);
    let apart = |a: &Span, b: &Span| a.rows.end <= b.rows.start;
    assert!(
        rows.spans.is_sorted_by(apart)
            && rows.spans.iter().all(|span| span.rows.start <= span.rows.end)
            && heads.dim.is_multiple_of(LANES)
            && queries.into_iter().all(|len| len == count * heads.query_width())
            && keys.into_iter().all(|len| len == count * heads.key_width()),
        "rows of another shape than attention's"
    );
}

/// Checks that each span has a cache with room for its rows.
fn check_caches<'c>(
    rows: AttentionRows<'_>,
    caches: impl ExactSizeIterator<Item = &'c LayerCache>,
) {
    assert_eq!(caches.len(), rows.spans.len(), "as many caches as sequences");
    for (span, cache) in rows.spans.iter().zip(caches) {
        let blocks = Block::places(cache).count();
        assert!(
            cache.heads() == rows.heads
                && blocks == cache.blocks().len()
                && blocks * CACHE_BLOCK >= span.start + span.rows.len(),
            "a cache of other heads, of another device, or without room"
        );
    }
}

impl AttentionOps for Cpu {
    fn reserve(&self, cache: &mut LayerCache, positions: usize) {
        while cache.blocks().len() < positions.div_ceil(CACHE_BLOCK) {
            cache.push(Block::make(cache.heads()));
        }
    }

    fn store(
        &self,
        rows: AttentionRows<'_>,
        caches: &mut [&mut LayerCache],
        keys: &Buffer,
        values: &Buffer,
    ) {
        let (keys, values) = (elements::<f32>(keys), elements::<f32>(values));
        check_caches(rows, caches.iter().map(|cache| &**cache));
        let width = rows.heads.key_width();
        let shared = Shared::new(caches);
        // Single tokens are not worth a fork.
        let least = (FORK_WORK * rows.spans.len()).div_ceil((rows.rows() * width).max(1)).max(1);
        self.pool.ranges(rows.spans.len(), least, &|range| {
            // SAFETY: each cache is taken by one part.
            let caches = unsafe { shared.part(range.start, range.len()) };
            for (span, cache) in rows.spans[range].iter().zip(caches) {
                for (position, row) in (span.start..).zip(span.rows.clone()) {
                    let at = row * width..(row + 1) * width;
                    let block = &mut cache.blocks_mut()[position / CACHE_BLOCK];
                    if let Some(block) = block.memory_mut::<Block>() {
                        block.put(position % CACHE_BLOCK, &keys[at.clone()], &values[at]);
                    }
                }
            }
        });
    }

    fn attend(
        &self,
        rows: AttentionRows<'_>,
        caches: &[&mut LayerCache],
        queries: &Buffer,
        out: &mut Buffer,
    ) {
        let (queries, out) = (elements::<f32>(queries), elements_mut::<f32>(out));
        check(rows, [queries.len(), out.len()], [rows.rows() * rows.heads.key_width(); 2]);
        check_caches(rows, caches.iter().map(|cache| &**cache));
        TASKS.with_borrow_mut(|tasks| {
            let work = tasks.list(rows, caches, queries);
            let least = if work < FORK_WORK { tasks.attend.len() } else { 1 };
            let (tasks, out) = (&*tasks, Shared::new(out));
            self.pool.ranges(tasks.attend.len(), least, &|range| {
                SCRATCH.with_borrow_mut(|scratch| {
                    for (place, task) in tasks.part(range) {
                        // SAFETY: queries and blocks live as long as what was borrowed; each task writes its own rows and
                        // heads of the result, `place` being inside of it.
                        unsafe {
                            let task = Attend { out: out.ptr().add(*place), ..*task };
                            self.kernels.attend(&task, scratch);
                        }
                    }
                });
            });
        });
    }

    fn attend_backward(
        &self,
        rows: AttentionRows<'_>,
        inputs: [&Buffer; 3],
        d_out: &Buffer,
    ) -> [Buffer; 3] {
        let [queries, keys, values] = inputs.map(elements::<f32>);
        let d_out = elements::<f32>(d_out);
        check(rows, [queries.len(), d_out.len()], [keys.len(), values.len()]);
        let (heads, dim) = (rows.heads, rows.heads.dim);
        let (q, kv) = (heads.query_width(), heads.key_width());
        let mut gradients = [queries, keys, values].map(|rows| vec![0.0; rows.len()]);
        let [d_q, d_k, d_v] = gradients.each_mut().map(|gradient| Shared::new(gradient));
        self.pool.run(rows.spans.len() * heads.count, &|part| {
            let (span, head) = (&rows.spans[part / heads.count].rows, part % heads.count);
            let at = span.start * q + head * heads.group * dim;
            let key = span.start * kv + head * dim;
            // SAFETY: the sequence's rows lie inside of the batch, and each part has its own heads.
            unsafe {
                let job = AttendBackward {
                    queries: queries.as_ptr().add(at),
                    d_out: d_out.as_ptr().add(at),
                    d_queries: d_q.ptr().add(at),
                    query_stride: q,
                    keys: keys.as_ptr().add(key),
                    values: values.as_ptr().add(key),
                    d_keys: d_k.ptr().add(key),
                    d_values: d_v.ptr().add(key),
                    key_stride: kv,
                    group: heads.group,
                    head_dim: dim,
                    length: span.len(),
                    scores: rows.scores,
                };
                self.kernels.attend_backward(&job, &mut Vec::new());
            }
        });
        gradients.map(buffer)
    }
}

/// What the threads share in: for each task the place of its result, and what it reads. The memory stays from step to step.
struct Tasks {
    attend: Vec<(usize, Attend)>,
    /// Where the blocks of all sequences lie, one sequence after the other.
    blocks: Vec<*const f32>,
}

// SAFETY: the pointers are read only, and what they point to outlives the step that lists them.
unsafe impl Sync for Tasks {}

impl Tasks {
    const fn new() -> Self {
        Self { attend: Vec::new(), blocks: Vec::new() }
    }

    /// Lists what a step attends, in place of what was listed. Returns how many multiplications it takes.
    fn list(
        &mut self,
        rows: AttentionRows<'_>,
        caches: &[&mut LayerCache],
        queries: &[f32],
    ) -> usize {
        let (heads, width) = (rows.heads, rows.heads.query_width());
        self.attend.clear();
        self.blocks.clear();
        self.blocks.extend(caches.iter().flat_map(|cache| Block::places(cache)));
        let (mut work, mut first_block) = (0, 0);
        for (span, cache) in rows.spans.iter().zip(caches) {
            let of_sequence = self.blocks[first_block..].as_ptr();
            first_block += cache.blocks().len();
            for head in 0..heads.count {
                let (keys, key_stride) = Block::keys(heads, head);
                let (values, value_stride) = Block::values(heads, head);
                for first in span.rows.clone().step_by(TASK_ROWS) {
                    let count = (span.rows.end - first).min(TASK_ROWS);
                    let length = span.start + first - span.rows.start + 1;
                    let place = first * width + head * heads.group * heads.dim;
                    work += count * heads.group * heads.dim * (length + count);
                    let task = Attend {
                        queries: queries[place..].as_ptr(),
                        // Set by the part that runs the task.
                        out: std::ptr::null_mut(),
                        row_stride: width,
                        rows: count,
                        group: heads.group,
                        head_dim: heads.dim,
                        blocks: of_sequence,
                        keys,
                        key_stride,
                        values,
                        value_stride,
                        length,
                        scores: rows.scores,
                    };
                    self.attend.push((place, task));
                }
            }
        }
        work
    }

    /// The tasks of a part. A method, so that a closure borrows all of this, which threads may share, and not its pointers.
    fn part(&self, range: Range<usize>) -> &[(usize, Attend)] {
        &self.attend[range]
    }
}
