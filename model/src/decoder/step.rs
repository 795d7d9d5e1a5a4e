//! What the layers of one forward pass share, and what they leave for a backward pass.

use std::ops::Range;

use hone_device::{
    Buffer, Device,
    ops::{Angles, AttentionRows, Dropout, Scores, Span},
};

use smallvec::SmallVec;

use super::prefix::SharedPrefixes;
use crate::{ModelConfig, lora::LayerLora};

/// What all layers of a step share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<'a> {
    /// What it is computed on.
    pub(crate) device: &'a dyn Device,
    /// Sizes, and what is computed.
    pub(crate) config: &'a ModelConfig,
    /// The sequences, in the order of their rows, as attention sees them.
    pub(crate) spans: &'a [Span],
    /// How rows are laid out for attention, where sequences share some.
    pub(crate) prefixes: Option<&'a SharedPrefixes>,
    /// Angles of the rows, for each kind of rotation.
    pub(crate) angles: &'a [Angles],
}

impl<'a> Step<'a> {
    /// The rows, as the attention of a layer sees them.
    pub(crate) fn attention(&self, scores: Scores) -> AttentionRows<'a> {
        AttentionRows { heads: self.config.heads(), scores, spans: self.spans }
    }

    /// Rows of the step.
    pub(crate) fn rows(&self) -> usize {
        match self.prefixes {
            Some(prefixes) => prefixes.len(),
            None => self.spans.last().map_or(0, |span| span.rows.end),
        }
    }
}

/// Angles of a step's rows, and the memory that they are made in; kept from step to step.
#[derive(Debug, Default)]
pub(crate) struct StepAngles {
    /// For each kind of rotation.
    pub(crate) of_kinds: Vec<Angles>,
    pub(crate) cosines: Vec<f32>,
    pub(crate) sines: Vec<f32>,
}

/// Rows with the same adapter, and its share of the layer.
pub(crate) type LoraRun<'a> = (Range<usize>, &'a LayerLora);

/// What belongs to runs of rows. Few adapters need no memory of their own in a step.
pub(crate) type Runs<T> = SmallVec<[(Range<usize>, T); 8]>;

/// How a step passes through one layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerPass<'a> {
    /// What the layers share.
    pub(crate) step: Step<'a>,
    /// The adapters of the rows.
    pub(crate) loras: &'a [LoraRun<'a>],
    /// Rows that go on after attention, ascending; `None` is all. The last layer needs only those whose result is read.
    pub(crate) rows_after: Option<&'a [usize]>,
    /// The adapters of those that go on.
    pub(crate) loras_after: &'a [LoraRun<'a>],
    /// Of the adapters' inputs; `None` outside of training.
    pub(crate) dropout: Option<Dropout>,
}

impl LayerPass<'_> {
    /// Of rows of `width`, keeps those that go on after attention.
    pub(crate) fn gather_rows_after(&self, rows: &mut Buffer, width: usize) {
        if let Some(chosen) = self.rows_after {
            self.step.device.gather_rows(rows, chosen, width);
        }
    }

    /// The way back: gradients of all rows, zero for those that did not go on.
    pub(crate) fn scatter_rows_after(&self, some: Buffer, width: usize) -> Buffer {
        match self.rows_after {
            Some(chosen) => self.step.device.scatter_rows(some, chosen, self.step.rows(), width),
            None => some,
        }
    }
}

/// The runs of adapters among some of the rows.
pub(crate) fn runs_among<T: Copy>(runs: &[(Range<usize>, T)], rows: &[usize]) -> Runs<T> {
    let place = |row: usize| rows.partition_point(|other| *other < row);
    let among =
        runs.iter().map(|(range, adapter)| (place(range.start)..place(range.end), *adapter));
    among.filter(|(range, _)| !range.is_empty()).collect()
}

/// Working memory of a layer, `[rows, width]` each, kept from layer to layer.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// Input of a block, normed.
    pub(crate) normed: Buffer,
    /// Queries and keys before their norm.
    pub(crate) raw: [Buffer; 2],
    /// Queries, rotated.
    pub(crate) q: Buffer,
    /// Keys, rotated.
    pub(crate) k: Buffer,
    /// Values.
    pub(crate) v: Buffer,
    /// Input of o.
    pub(crate) attended: Buffer,
    /// Gate, before its activation.
    pub(crate) gate: Buffer,
    /// Up.
    pub(crate) up: Buffer,
    /// Input of down: the gated product.
    pub(crate) gated: Buffer,
    /// Result of a block, before the norm on it, and after.
    pub(crate) result: [Buffer; 2],
    /// Products with the A of all adapters, one after the other.
    pub(crate) lora_hidden: Buffer,
}

/// What a backward pass reads beside the layer's input. The forward moves its buffers here instead of using them again.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    /// Queries and keys before their norm; empty without one.
    pub(crate) raw: [Buffer; 2],
    /// Queries, rotated.
    pub(crate) q: Buffer,
    /// Keys, rotated.
    pub(crate) k: Buffer,
    /// Values.
    pub(crate) v: Buffer,
    /// Input of o, of the rows that go on.
    pub(crate) attended: Buffer,
    /// The residual stream between the blocks.
    pub(crate) middle: Buffer,
    /// Gate, before its activation.
    pub(crate) gate: Buffer,
    /// Up.
    pub(crate) up: Buffer,
    /// Results of both blocks before the norms on them; empty without those.
    pub(crate) results: [Buffer; 2],
    /// Input of each group of adapters times its A.
    pub(crate) lora_hidden: [Buffer; 4],
}
