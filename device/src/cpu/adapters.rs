//! What adapters add to the products of a job.
//!
//! In f32 and bf16 an adapter's matrices meet rows that stay f32. In 8 bits they are integers beside the integers of the base: A meets
//! the bytes that the layers' rows were turned into, and what it gives is turned into bytes for B.

use std::ops::Range;

use super::{
    Cpu,
    activations::{Activations, Bytes},
    job::{Columns, Job},
    kernels::{Product, Rows},
    matrix::{describe, packed},
};
use crate::{
    PackedMatrix, WeightFormat,
    layout::{BLOCK, padded_inputs, panel_bytes},
    ops::{LowRank, LowRankPart},
};

/// Rows that some adapters read.
pub(super) struct Adapted<'a> {
    /// `[rows, inputs]`.
    pub(super) x: &'a [f32],
    pub(super) inputs: usize,
    /// As the layers read them.
    pub(super) operand: Rows,
    /// Whether the layers read them before dropout.
    pub(super) dropped: bool,
    /// Which rows have which adapter.
    pub(super) adapters: &'a [(Range<usize>, &'a LowRank)],
}

impl Adapted<'_> {
    /// Adds the adapters' products to a job whose layers are there. `hidden` has room for those with A.
    pub(super) fn add_to(
        &self,
        job: &mut Job,
        cpu: &Cpu,
        activations: &mut Activations,
        mut hidden: &mut [f32],
    ) {
        let bytes = self.bytes(cpu, activations);
        activations.hidden.resize(self.hidden_blocks());
        let mut room = activations.hidden.from(0);
        for (rows, lora) in self.adapters.iter().filter(|(rows, _)| !rows.is_empty()) {
            let a = packed(&lora.a);
            assert!(is_of_adapter(a) && a.inputs() == self.inputs, "an adapter of other layers");
            let operand = match bytes.filter(|_| a.format() == WeightFormat::Q8) {
                Some(bytes) => bytes.skip(rows.start * self.inputs.div_ceil(BLOCK)).rows(),
                None => {
                    let mine = &self.x[rows.start * self.inputs..rows.end * self.inputs];
                    Rows::F32 { data: mine.as_ptr(), row_stride: self.inputs, step: 1 }
                }
            };
            let y = hidden.split_off_mut(..rows.len() * a.outputs()).unwrap_or_default();
            let down = describe(a, operand, rows.len(), y, None);
            job.down.push((down, rows.len()));
            for (nth, part) in lora.parts.iter().enumerate() {
                let Some(part) = part else { continue };
                let Some((layer, _)) = job.layers.get(nth) else { continue };
                let mut up = up(part, &down, layer, rows);
                if up.format == WeightFormat::Q8 {
                    let blocks = up.inputs / BLOCK;
                    let count = part.b.inputs();
                    up.rows = room.rows();
                    let columns = Columns { from: part.from, count, to: room, blocks };
                    job.bytes.push((job.down.len() - 1, columns));
                    room = room.skip(rows.len() * blocks);
                }
                job.up.push((nth, up, rows.len()));
            }
        }
    }

    /// All rows in bytes, if an adapter asks for them.
    fn bytes(&self, cpu: &Cpu, activations: &mut Activations) -> Option<Bytes> {
        let is_asked = self.adapters.iter().any(|(_, lora)| lora.a.format() == WeightFormat::Q8);
        assert!(!(is_asked && self.dropped), "dropout beside an adapter in bytes");
        is_asked.then(|| match self.operand {
            Rows::Bytes { .. } => activations.bytes.from(0),
            _ => activations.bytes(cpu, self.x, self.inputs),
        })
    }

    /// How many blocks the adapters' hidden rows have in bytes.
    fn hidden_blocks(&self) -> usize {
        let in_bytes = |part: &&LowRankPart| part.b.format() == WeightFormat::Q8;
        let blocks = |lora: &LowRank| -> usize {
            let parts = lora.parts.iter().flatten().filter(in_bytes);
            parts.map(|part| part.b.inputs().div_ceil(BLOCK)).sum()
        };
        self.adapters.iter().map(|(rows, lora)| rows.len() * blocks(lora)).sum()
    }
}

/// Whether an adapter may have such a matrix.
fn is_of_adapter(matrix: &PackedMatrix) -> bool {
    matches!(matrix.format(), WeightFormat::F32 | WeightFormat::Bf16 | WeightFormat::Q8)
}

/// What an adapter adds to some rows of a layer: B times what the product with A gives.
fn up(part: &LowRankPart, down: &Product, layer: &Product, rows: &Range<usize>) -> Product {
    let b = packed(&part.b);
    let fits = part.from + b.inputs() <= down.outputs;
    assert!(is_of_adapter(b) && fits, "an adapter of another rank");
    assert_eq!(b.outputs(), layer.outputs, "an adapter of another layer");
    // SAFETY: the columns of this part lie inside of A's results, the rows inside of the layer's.
    let (data, out) = unsafe {
        (down.out.add(part.from).cast_const(), layer.out.add(rows.start * layer.out_stride))
    };
    let inputs = match b.format() {
        WeightFormat::Q8 => padded_inputs(WeightFormat::Q8, b.inputs()),
        _ => b.inputs(),
    };
    Product {
        rows: Rows::F32 { data, row_stride: down.out_stride, step: 1 },
        format: b.format(),
        weights: b.bytes().as_ptr(),
        panel_bytes: panel_bytes(b.format(), b.inputs()),
        inputs,
        out,
        add: Some(part.scale * layer.add.unwrap_or(1.0)),
        ..*layer
    }
}
