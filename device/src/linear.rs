//! A frozen linear layer in packed form: products forward and, for training, back to its input.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use crate::{
    WeightFormat,
    kernels::{
        Kernels, Product, Rows,
        layout::{
            BLOCK, matrix_bytes, pack_panel, padded_inputs, panel_bytes, unpack_one, unpack_tile,
        },
        simd::LANES,
    },
    pool::Pool,
};

/// Packed weights times rows below which a product is not worth a fork.
const FORK_BYTES: usize = 1 << 15;

/// The processor: which kernels, on how many threads.
#[derive(Debug)]
pub struct Cpu {
    /// Kernels of the best instruction set.
    pub kernels: &'static Kernels,
    /// The threads.
    pub pool: Pool,
}

impl Cpu {
    /// The best kernels of this machine on `threads` threads.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        Ok(Self { kernels: crate::kernels::detect(), pool: Pool::new(threads)? })
    }
}

/// Memory in whole cache lines.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Line([u8; 64]);

/// A vector of bytes that begins at a cache line.
pub fn aligned(bytes: usize) -> Vec<Line> {
    vec![Line([0; 64]); bytes.div_ceil(64)]
}

/// Where packed weights live.
#[derive(Clone)]
pub enum Storage {
    /// In the mapped file, from an offset.
    Mapped(Arc<memmap2::Mmap>, usize),
    /// In memory.
    Owned(Vec<Line>),
}

/// A packed `[outputs, inputs]` matrix.
#[derive(Clone)]
pub struct Linear {
    format: WeightFormat,
    inputs: usize,
    outputs: usize,
    storage: Storage,
}

/// A linear layer of the base: a packed matrix and its bias.
#[derive(Debug)]
pub struct Projection {
    /// The matrix.
    pub weight: Linear,
    /// Added to each result; `[outputs]`.
    pub bias: Option<Vec<f32>>,
}

impl Projection {
    /// Fills rows of results with the bias, or with zeros, so that the product can be added.
    pub fn fill_bias(&self, y: &mut [f32]) {
        match &self.bias {
            Some(bias) => y.chunks_exact_mut(bias.len()).for_each(|row| row.copy_from_slice(bias)),
            None => y.fill(0.0),
        }
    }
}

impl std::fmt::Debug for Linear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Linear({} → {}, {})", self.inputs, self.outputs, self.format)
    }
}

/// Activations converted to the form that a weight format multiplies.
#[derive(Debug, Default)]
pub struct Activations {
    bf16: Vec<u16>,
    codes: Vec<i8>,
    scales: Vec<f32>,
    biases: Vec<i32>,
}

/// A pointer that parts of a job may share; each writes its own elements.
pub struct Shared<T>(*mut T);

// Not derived: that would ask for elements that can be copied.
impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

// SAFETY: users write disjoint elements only.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// A pointer to the elements of a slice.
    pub fn new(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr())
    }

    /// The first element.
    pub fn ptr(self) -> *mut T {
        self.0
    }

    /// The elements `from..from + len`.
    ///
    /// # Safety
    /// They lie inside of the slice, and no other part touches them during `'a`.
    pub unsafe fn part<'a>(self, from: usize, len: usize) -> &'a mut [T] {
        // SAFETY: the caller keeps the parts inside and disjoint.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(from), len) }
    }
}

impl Activations {
    /// Converts `x` (`[rows, inputs]`) for weights of `format`. The result borrows `x` and `self`.
    pub fn rows(&mut self, cpu: &Cpu, format: WeightFormat, x: &[f32], inputs: usize) -> Rows {
        let rows = x.len() / inputs;
        let padded = padded_inputs(format, inputs);
        // A few microseconds of work are worth a fork.
        let least = 4096_usize.div_ceil(inputs);
        match format {
            WeightFormat::F32 => Rows::F32 { data: x.as_ptr(), row_stride: inputs, step: 1 },
            WeightFormat::Bf16 => {
                self.bf16.resize(rows * padded, 0);
                let out = Shared::new(&mut self.bf16);
                cpu.pool.ranges(rows, least, &|range| {
                    for row in range {
                        // SAFETY: each row is written by one part.
                        let out = unsafe { out.part(row * padded, padded) };
                        cpu.kernels.round_to_bf16(&x[row * inputs..][..inputs], out);
                    }
                });
                Rows::Bf16 { data: self.bf16.as_ptr(), row_stride: padded }
            }
            WeightFormat::Q8 | WeightFormat::Q4 => {
                let blocks = padded / BLOCK;
                self.codes.resize(rows * padded, 0);
                self.scales.resize(rows * blocks, 0.0);
                self.biases.resize(rows * blocks, 0);
                let codes = Shared::new(&mut self.codes);
                let scales = Shared::new(&mut self.scales);
                let biases = Shared::new(&mut self.biases);
                cpu.pool.ranges(rows, least, &|range| {
                    for row in range {
                        // SAFETY: each row is written by one part.
                        let (codes, scales, biases) = unsafe {
                            (
                                codes.part(row * padded, padded),
                                scales.part(row * blocks, blocks),
                                biases.part(row * blocks, blocks),
                            )
                        };
                        cpu.kernels.quantise(&x[row * inputs..][..inputs], codes, scales, biases);
                    }
                });
                Rows::Bytes {
                    codes: self.codes.as_ptr(),
                    scales: self.scales.as_ptr(),
                    biases: self.biases.as_ptr(),
                }
            }
        }
    }
}

impl Linear {
    /// A matrix in mapped or own memory; `None` if the memory is too short.
    pub fn new(
        format: WeightFormat,
        inputs: usize,
        outputs: usize,
        storage: Storage,
    ) -> Option<Self> {
        let layer = Self { format, inputs, outputs, storage };
        (layer.bytes().len() >= matrix_bytes(format, inputs, outputs)).then_some(layer)
    }

    /// Packs a row-major `[outputs, inputs]` matrix.
    pub fn pack(format: WeightFormat, inputs: usize, outputs: usize, weights: &[f32]) -> Self {
        assert_eq!(weights.len(), inputs * outputs, "weights of another shape");
        let mut lines = aligned(matrix_bytes(format, inputs, outputs));
        let size = panel_bytes(format, inputs).max(1);
        let panels = bytemuck::cast_slice_mut::<Line, u8>(&mut lines).chunks_exact_mut(size);
        for (panel, columns) in panels.zip(weights.chunks(LANES * inputs.max(1))) {
            pack_panel(format, inputs, columns, panel);
        }
        Self { format, inputs, outputs, storage: Storage::Owned(lines) }
    }

    /// The packed bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.storage {
            Storage::Mapped(map, offset) => map.get(*offset..).unwrap_or_default(),
            Storage::Owned(lines) => bytemuck::cast_slice(lines),
        }
    }

    /// How the weights are stored.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// Length of an input row.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Length of an output row.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    fn panel(&self, index: usize) -> &[u8] {
        let size = panel_bytes(self.format, self.inputs);
        &self.bytes()[index * size..][..size]
    }

    /// `y = x · Wᵀ` for `x` of `[rows, inputs]`, `y` of `[rows, outputs]`; with `add`, `y += add · x · Wᵀ`.
    pub fn forward(
        &self,
        cpu: &Cpu,
        activations: &mut Activations,
        x: &[f32],
        y: &mut [f32],
        add: Option<f32>,
    ) {
        forward_all(cpu, activations, x, &mut [(self, y)], add);
    }

    /// The description of a product with `y`, whose shape is checked.
    pub fn product(&self, operand: Rows, rows: usize, y: &mut [f32], add: Option<f32>) -> Product {
        assert_eq!(y.len(), rows * self.outputs, "the output has another shape");
        Product {
            rows: operand,
            format: self.format,
            weights: self.bytes().as_ptr(),
            panel_bytes: panel_bytes(self.format, self.inputs),
            inputs: padded_inputs(self.format, self.inputs),
            outputs: self.outputs,
            out: y.as_mut_ptr(),
            out_stride: self.outputs,
            add,
        }
    }

    /// `dx = dy · W` for `dy` of `[rows, outputs]`, `dx` of `[rows, inputs]`; with `add`, `dx += add · dy · W`.
    ///
    /// f32 weights multiply in f32. The other formats are widened tile by tile, to bf16 where the processor multiplies
    /// bf16 itself, else to f32.
    pub fn backward_input(
        &self,
        cpu: &Cpu,
        activations: &mut Activations,
        dy: &[f32],
        dx: &mut [f32],
        add: Option<f32>,
    ) {
        let rows = dy.len() / self.outputs;
        assert!(
            dy.len() == rows * self.outputs && dx.len() == rows * self.inputs,
            "gradients of another shape than the layer"
        );
        let wide = self.format == WeightFormat::F32 || !cpu.kernels.fast_bf16;
        let format = if wide { WeightFormat::F32 } else { WeightFormat::Bf16 };
        let operand = activations.rows(cpu, format, dy, self.outputs);
        let panel_size = panel_bytes(format, self.outputs);
        let out = Shared::new(dx);
        cpu.pool.ranges(self.inputs.div_ceil(LANES), 2, &|panels| {
            let mut lines = aligned(panel_size * panels.len());
            let bytes = bytemuck::cast_slice_mut::<Line, u8>(&mut lines);
            for (index, panel) in panels.clone().zip(bytes.chunks_exact_mut(panel_size)) {
                self.transposed_panel(index, format, panel);
            }
            let from = panels.start * LANES;
            let product = Product {
                rows: operand,
                format,
                weights: bytes.as_ptr(),
                panel_bytes: panel_size,
                inputs: padded_inputs(format, self.outputs),
                outputs: (self.inputs - from).min(panels.len() * LANES),
                // SAFETY: the first column of these panels lies inside of `dx`.
                out: unsafe { out.ptr().add(from) },
                out_stride: self.inputs,
                add,
            };
            // SAFETY: operand, panels and result are valid for the shapes checked above, and each part has its own columns.
            unsafe { cpu.kernels.product(&product, 0..panels.len(), 0..rows) };
        });
    }

    /// Inputs `16·index ..` of all outputs, laid out as a panel of the transposed matrix.
    fn transposed_panel(&self, index: usize, format: WeightFormat, out: &mut [u8]) {
        let from = index * LANES;
        let count = (self.inputs - from).min(LANES);
        let mut tile = [[0.0_f32; LANES]; LANES];
        for panel in 0..self.outputs.div_ceil(LANES) {
            unpack_tile(self.format, self.panel(panel), from, count, &mut tile);
            let columns = (self.outputs - panel * LANES).min(LANES);
            match format {
                WeightFormat::Bf16 => {
                    // Lanes beyond the last column are zero in every format.
                    for (pair, rows) in tile.chunks_exact(2).enumerate().take(columns.div_ceil(2)) {
                        let at = panel * LANES * 32 + pair * 64;
                        let (group, _) = out[at..at + 64].as_chunks_mut::<4>();
                        for ((to, low), high) in group.iter_mut().zip(&rows[0]).zip(&rows[1]) {
                            *to = (to_bf16(*low) | to_bf16(*high) << 16).to_le_bytes();
                        }
                    }
                }
                _ => {
                    for (c, row) in tile.iter().enumerate().take(columns) {
                        let at = (panel * LANES + c) * 64;
                        out[at..at + 64].copy_from_slice(bytemuck::cast_slice(row));
                    }
                }
            }
        }
    }

    /// One row of the matrix, widened: the embedding of a token.
    pub fn row(&self, index: usize, out: &mut [f32]) {
        let panel = self.panel(index / LANES);
        for (k, out) in out.iter_mut().enumerate() {
            *out = unpack_one(self.format, panel, index % LANES, k);
        }
    }
}

/// The bits of the nearest bf16 (ties to even) of a finite number.
fn to_bf16(x: f32) -> u32 {
    let bits = x.to_bits();
    bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16
}

/// Products of the same rows with several layers in one fork. All layers have the same inputs and format.
pub fn forward_all(
    cpu: &Cpu,
    activations: &mut Activations,
    x: &[f32],
    layers: &mut [(&Linear, &mut [f32])],
    add: Option<f32>,
) {
    let Some((first, _)) = layers.first() else { return };
    if x.is_empty() {
        return;
    }
    let (format, inputs) = (first.format, first.inputs);
    let rows = x.len() / inputs;
    assert_eq!(x.len(), rows * inputs, "input of another width than the layer");
    let operand = activations.rows(cpu, format, x, inputs);
    let mut products = Vec::with_capacity(layers.len());
    for (layer, y) in layers.iter_mut() {
        assert!(layer.format == format && layer.inputs == inputs, "layers of one product differ");
        products.push((layer.product(operand, rows, y, add), rows));
    }
    // SAFETY: the operand was made for these rows and this format.
    unsafe { run_products(cpu, &products) };
}

/// Runs products, each with its number of rows, divided by panels among the threads. The costly ones should come first.
///
/// # Safety
/// Operands, weights and outputs must be valid for the products' sizes and rows; outputs must not overlap.
pub unsafe fn run_products(cpu: &Cpu, products: &[(Product, usize)]) {
    let panels = |p: &Product| p.outputs.div_ceil(LANES);
    let total: usize = products.iter().map(|(p, _)| panels(p)).sum();
    let bytes: usize = products.iter().map(|(p, rows)| panels(p) * p.panel_bytes * rows).sum();
    // Below a few microseconds of work a fork costs more than it saves.
    let least = if bytes < FORK_BYTES { total } else { 4 };
    cpu.pool.ranges(total, least, &|range| {
        let mut start = 0;
        for (product, rows) in products {
            let end = start + panels(product);
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                // SAFETY: the caller vouches for the product; each part has its own panels.
                unsafe { cpu.kernels.product(product, from - start..to - start, 0..*rows) };
            }
            start = end;
        }
    });
}
