//! Matrices in the packed layout, which is that of the file and the same for all devices and processors.

mod encode;
mod gather;
pub mod layout;
pub(crate) mod q4;
pub(crate) mod shape;
#[cfg(test)]
mod tests;
pub(crate) mod tile;

use std::{any::Any, fmt};

use bytemuck::{Pod, Zeroable};

use crate::{MappedFile, WeightFormat};
use layout::{LANES, matrix_bytes, pack_panel, panel_bytes, unpack_one};

/// Memory in whole cache lines.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; 64]);

/// Bytes, all zero, that begin at a cache line.
pub(crate) fn aligned(bytes: usize) -> Vec<Line> {
    vec![Line([0; 64]); bytes.div_ceil(64)]
}

/// Where packed weights lie.
#[derive(Clone)]
enum Place {
    /// In a mapped file, from an offset.
    Mapped(MappedFile, usize),
    /// In memory.
    Owned(Vec<Line>),
}

/// A packed `[outputs, inputs]` matrix.
#[derive(Clone)]
pub struct PackedMatrix {
    format: WeightFormat,
    inputs: usize,
    outputs: usize,
    place: Place,
}

impl fmt::Debug for PackedMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedMatrix({} → {}, {})", self.inputs, self.outputs, self.format)
    }
}

impl PackedMatrix {
    /// No weights.
    pub(crate) const EMPTY: Self =
        Self { format: WeightFormat::F32, inputs: 0, outputs: 0, place: Place::Owned(Vec::new()) };

    /// A matrix in a mapped file, from `offset` on; `None` if the file is too short.
    #[must_use]
    pub fn mapped(
        format: WeightFormat,
        (inputs, outputs): (usize, usize),
        file: MappedFile,
        offset: usize,
    ) -> Option<Self> {
        let end = offset.checked_add(matrix_bytes(format, inputs, outputs))?;
        let place = Place::Mapped(file, offset);
        let matrix = Self { format, inputs, outputs, place };
        matrix.whole().is_some_and(|bytes| bytes.len() >= end - offset).then_some(matrix)
    }

    /// Packs a row-major `[outputs, inputs]` matrix.
    ///
    /// # Panics
    /// If there are more or fewer weights than that.
    #[must_use]
    pub fn pack(format: WeightFormat, inputs: usize, outputs: usize, weights: &[f32]) -> Self {
        assert_eq!(weights.len(), inputs * outputs, "weights of another shape");
        let mut lines = aligned(matrix_bytes(format, inputs, outputs));
        let size = panel_bytes(format, inputs).max(1);
        let panels = bytemuck::cast_slice_mut::<Line, u8>(&mut lines).chunks_exact_mut(size);
        for (panel, columns) in panels.zip(weights.chunks(LANES * inputs.max(1))) {
            pack_panel(format, inputs, columns, panel);
        }
        Self { format, inputs, outputs, place: Place::Owned(lines) }
    }

    /// The weights as they are multiplied, row-major `[outputs, inputs]`.
    #[must_use]
    pub fn unpack(&self) -> Vec<f32> {
        let row = |output: usize| {
            let panel = self.panel(output / LANES);
            (0..self.inputs).map(move |k| unpack_one(self.format, panel, output % LANES, k))
        };
        (0..self.outputs).flat_map(row).collect()
    }

    fn whole(&self) -> Option<&[u8]> {
        match &self.place {
            Place::Mapped(file, offset) => file.get(*offset..),
            Place::Owned(lines) => Some(bytemuck::cast_slice(lines)),
        }
    }

    /// The packed bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let length = matrix_bytes(self.format, self.inputs, self.outputs);
        self.whole().and_then(|bytes| bytes.get(..length)).unwrap_or_default()
    }

    /// How the weights are stored.
    #[must_use]
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// Length of an input row.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Length of an output row.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// 16 output columns, the last ones padded.
    pub(crate) fn panel(&self, index: usize) -> &[u8] {
        let size = panel_bytes(self.format, self.inputs);
        &self.bytes()[index * size..][..size]
    }
}

/// A packed matrix in a device's memory. Only the device that made it looks inside.
pub struct Matrix {
    format: WeightFormat,
    inputs: usize,
    outputs: usize,
    bytes: usize,
    memory: Box<dyn Any + Send + Sync>,
}

impl fmt::Debug for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Matrix({} → {}, {})", self.inputs, self.outputs, self.format)
    }
}

impl Matrix {
    /// A packed matrix in memory of the device's kind, which `hold` makes of it.
    pub fn new<M: Any + Send + Sync>(
        packed: PackedMatrix,
        hold: impl FnOnce(PackedMatrix) -> M,
    ) -> Self {
        let PackedMatrix { format, inputs, outputs, .. } = packed;
        let bytes = packed.bytes().len();
        Self { format, inputs, outputs, bytes, memory: Box::new(hold(packed)) }
    }

    /// How the weights are stored.
    #[must_use]
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// Length of an input row.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Length of an output row.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Bytes of the packed weights.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The memory, for the device that made it; `None` for every other.
    pub fn memory<M: Any>(&self) -> Option<&M> {
        self.memory.downcast_ref()
    }
}
