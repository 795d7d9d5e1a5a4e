//! Products that run as one job: linear layers that share an input, and the adapters beside them.
//!
//! An adapter's product with B needs that with A, whose inputs are those of the layers. So the products with A are a job's first
//! parts, the layers' panels its others, and each of these adds what B gives to its own panels once A is done. In a small model
//! a second job for B costs more than its multiplications.

use std::{
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
};

use smallvec::SmallVec;

use super::{Cpu, activations::Bytes, kernels::Product, pool::wait_for};
use crate::layout::LANES;

/// Packed weights times rows below which a job is not worth a fork.
const FORK_BYTES: usize = 1 << 15;
/// The same below which a part is not worth its claim.
const PART_BYTES: usize = 1 << 14;
/// Parts of the layers for each thread.
const PARTS: usize = 8;
/// Rows of one part of a product with A.
const ROWS: usize = 32;

/// Products, each with its number of rows. So many need no memory of their own: three layers with four adapters, say.
pub(super) type Products = SmallVec<[(Product, usize); 16]>;

/// What runs as one job.
#[derive(Debug, Default)]
pub(super) struct Job {
    /// With the A of each adapter.
    pub(super) down: Products,
    /// Which of their columns are turned into bytes, by their place in `down`.
    pub(super) bytes: SmallVec<[(usize, Columns); 16]>,
    /// With the weights of the layers.
    pub(super) layers: Products,
    /// With an adapter's B, added to the results of the layer with that index; they read what `down` writes.
    pub(super) up: SmallVec<[(usize, Product, usize); 16]>,
}

/// Columns of a product's results that are turned into bytes, row by row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Columns {
    /// The first and their number.
    pub(super) from: usize,
    pub(super) count: usize,
    /// Where they go, and the blocks of a row there.
    pub(super) to: Bytes,
    pub(super) blocks: usize,
}

impl Columns {
    /// # Safety
    /// Product and results are valid for these rows and columns, the bytes for the rows, and no other thread touches them.
    unsafe fn convert(&self, cpu: &Cpu, product: &Product, rows: Range<usize>) {
        for row in rows {
            // SAFETY: passed on from the caller.
            unsafe {
                let x = product.out.add(row * product.out_stride + self.from).cast_const();
                let x = std::slice::from_raw_parts(x, self.count);
                self.to.skip(row * self.blocks).write(cpu, x, self.blocks);
            }
        }
    }
}

impl Job {
    /// Runs it on the device's threads.
    ///
    /// # Safety
    /// Operands, weights and outputs must be valid for the products' sizes and rows, and bytes for the rows whose columns they take.
    /// Outputs must not overlap, but for those of `up`, which are some rows of their layers'.
    pub(super) unsafe fn run(&self, cpu: &Cpu) {
        let bytes =
            |(product, rows): &(Product, usize)| panels(product) * product.panel_bytes * rows;
        let cost: usize = self.down.iter().chain(&self.layers).map(bytes).sum();
        let total: usize = self.layers.iter().map(|(product, _)| panels(product)).sum();
        let down: usize = self.down.iter().map(|(_, rows)| rows.div_ceil(ROWS)).sum();
        // Below a few microseconds of work a fork costs more than it saves.
        if cost < FORK_BYTES {
            // SAFETY: passed on from the caller.
            return unsafe {
                (0..down).for_each(|part| self.run_down(cpu, part));
                self.run_layers(cpu, 0..total);
                self.run_up(cpu, 0..total);
            };
        }
        let size = self.panels_of_a_part(cpu.pool.threads(), total, cost);
        let parts = total.div_ceil(size);
        let done = AtomicUsize::new(0);
        cpu.pool.run(down + parts, &|part| {
            if let Some(nth) = part.checked_sub(down) {
                let mine = nth * size..((nth + 1) * size).min(total);
                // SAFETY: passed on from the caller; each part has its own panels.
                unsafe {
                    self.run_layers(cpu, mine.clone());
                    if !self.up.is_empty() {
                        // Those parts were claimed before this one, and wait for nothing themselves.
                        wait_for(&done, down);
                        self.run_up(cpu, mine);
                    }
                }
            } else {
                let _count = Count(&done);
                // SAFETY: passed on from the caller; each part has its own rows.
                unsafe { self.run_down(cpu, part) };
            }
        });
    }

    /// How many panels a part has: several parts for each thread, so that a late or slow one takes fewer.
    fn panels_of_a_part(&self, threads: usize, total: usize, cost: usize) -> usize {
        // Rows meet panels one by one or in pairs.
        let few = self.layers.iter().all(|(_, rows)| *rows <= 2);
        let least = PART_BYTES / (cost / total.max(1)).max(1);
        total.div_ceil(threads * PARTS).max(least).max(1).next_multiple_of(if few { 1 } else { 2 })
    }

    /// A part of the products with A: some rows of one.
    unsafe fn run_down(&self, cpu: &Cpu, mut part: usize) {
        for (nth, (product, rows)) in self.down.iter().enumerate() {
            let parts = rows.div_ceil(ROWS);
            if part < parts {
                let rows = part * ROWS..((part + 1) * ROWS).min(*rows);
                // SAFETY: passed on from the caller.
                return unsafe {
                    cpu.kernels.product(product, 0..panels(product), rows.clone());
                    for (_, columns) in self.bytes.iter().filter(|(of, _)| *of == nth) {
                        columns.convert(cpu, product, rows.clone());
                    }
                };
            }
            part -= parts;
        }
    }

    /// Some panels of the layers, which are counted through.
    unsafe fn run_layers(&self, cpu: &Cpu, range: Range<usize>) {
        for (nth, panels) in self.of_layers(range) {
            let (product, rows) = &self.layers[nth];
            // SAFETY: passed on from the caller.
            unsafe { cpu.kernels.product(product, panels, 0..*rows) };
        }
    }

    /// What the adapters add to these panels.
    unsafe fn run_up(&self, cpu: &Cpu, range: Range<usize>) {
        for (nth, panels) in self.of_layers(range) {
            for (_, product, rows) in self.up.iter().filter(|(layer, ..)| *layer == nth) {
                // SAFETY: passed on from the caller; a layer's results have the panels of what is added to them.
                unsafe { cpu.kernels.product(product, panels.clone(), 0..*rows) };
            }
        }
    }

    /// The layers that have some of these panels, and which of their own.
    fn of_layers(&self, range: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
        let mut start = 0;
        self.layers.iter().enumerate().filter_map(move |(nth, (product, _))| {
            let count = panels(product);
            let from = range.start.saturating_sub(start).min(count);
            let to = range.end.saturating_sub(start).min(count);
            start += count;
            (from < to).then_some((nth, from..to))
        })
    }
}

fn panels(product: &Product) -> usize {
    product.outputs.div_ceil(LANES)
}

/// Counts a part when it ends, in a panic too: others wait for it.
struct Count<'a>(&'a AtomicUsize);

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}
