//! Rows of activations in tiles: what a tile of the processor takes lies in one piece, line after line.

use std::ops::Range;

use super::{
    Cpu,
    kernels::{CodeSums, Rows},
    pool::least_rows,
    shared::Shared,
};
use crate::{
    WeightFormat,
    layout::BLOCK,
    packed::{Line, aligned},
};

/// Activations in tiles. Rows that are not there stay what they were: nobody reads what comes of them.
#[derive(Debug, Default)]
pub(crate) struct Tiled {
    lines: Vec<Line>,
    scales: Vec<f32>,
    offsets: Vec<i32>,
}

/// Where rows of so many pieces (blocks or steps) have them.
#[derive(Clone, Copy)]
struct Order {
    /// Rows of a tile.
    tile: usize,
    /// Pieces of a row, and inputs of each.
    pieces: usize,
    width: usize,
    /// Inputs of a row.
    inputs: usize,
}

impl Order {
    /// The pieces of a row: the index of each in memory, and its inputs, fewer in the last one.
    fn pieces(self, row: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
        let first = row / self.tile * self.pieces * self.tile + row % self.tile;
        let part = move |piece: usize| {
            let from = piece * self.width;
            let to = (from + self.width).min(self.inputs);
            (first + piece * self.tile, row * self.inputs + from..row * self.inputs + to)
        };
        (0..self.pieces).map(part)
    }
}

impl Tiled {
    /// Converts `x` (`[rows, inputs]`), if products with weights of `format` and so many rows are on tiles.
    pub(crate) fn rows(
        &mut self,
        cpu: &Cpu,
        format: WeightFormat,
        x: &[f32],
        inputs: usize,
    ) -> Option<Rows> {
        let shape = cpu.kernels.tiles?;
        let rows = x.len() / inputs;
        let order = |width: usize| Order {
            tile: shape.rows,
            pieces: inputs.div_ceil(width),
            width,
            inputs,
        };
        match format {
            WeightFormat::Bf16 => Some(self.bf16(cpu, order(shape.step), x)),
            WeightFormat::Q8 => {
                (rows >= shape.least && inputs >= BLOCK).then(|| self.bytes(cpu, order(BLOCK), x))
            }
            WeightFormat::F32 | WeightFormat::Q4 => None,
        }
    }

    /// Memory for the pieces of whole tiles, so many bytes each; and their number.
    fn room(&mut self, order: Order, x: &[f32], bytes: usize) -> usize {
        let rows = (x.len() / order.inputs).next_multiple_of(order.tile);
        let pieces = rows * order.pieces;
        let lines = (pieces * bytes).div_ceil(size_of::<Line>());
        if self.lines.len() < lines {
            self.lines = aligned(lines * size_of::<Line>());
        }
        pieces
    }

    fn bf16(&mut self, cpu: &Cpu, order: Order, x: &[f32]) -> Rows {
        self.room(order, x, order.width * 2);
        let halves = Shared::new(bytemuck::cast_slice_mut::<Line, u16>(&mut self.lines));
        cpu.pool.ranges(x.len() / order.inputs, least_rows(order.inputs), &|range| {
            for (at, from) in range.flat_map(|row| order.pieces(row)) {
                // SAFETY: there is room for whole tiles, and each piece is written by one part.
                let out = unsafe { halves.part(at * order.width, order.width) };
                cpu.kernels.round_to_bf16(&x[from], out);
            }
        });
        Rows::Bf16Tiles { data: halves.ptr() }
    }

    fn bytes(&mut self, cpu: &Cpu, order: Order, x: &[f32]) -> Rows {
        let pieces = self.room(order, x, BLOCK);
        self.scales.resize(pieces, 0.0);
        self.offsets.resize(pieces, 0);
        let codes = Shared::new(bytemuck::cast_slice_mut::<Line, i8>(&mut self.lines));
        let (scales, offsets) = (Shared::new(&mut self.scales), Shared::new(&mut self.offsets));
        cpu.pool.ranges(x.len() / order.inputs, least_rows(order.inputs), &|range| {
            for (at, from) in range.flat_map(|row| order.pieces(row)) {
                // SAFETY: there is room for whole tiles, and each piece is written by one part.
                let (codes, scale, offset) = unsafe {
                    (codes.part(at * BLOCK, BLOCK), scales.part(at, 1), offsets.part(at, 1))
                };
                let mut sums = [CodeSums::default()];
                cpu.kernels.quantise(&x[from], codes, scale, &mut sums);
                offset[0] = sums[0].times_128;
            }
        });
        Rows::ByteTiles { codes: codes.ptr(), scales: scales.ptr(), offsets: offsets.ptr() }
    }
}
