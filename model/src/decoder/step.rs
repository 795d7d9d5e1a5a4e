//! What the layers of one forward pass share, and what they leave for a backward pass.

use std::ops::Range;

use crate::{
    ModelConfig,
    config::rope::Angles,
    lora::{Dropout, LayerLora},
};
use hone_device::linear::{Activations, Cpu};

/// Rows of one sequence: consecutive positions.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    /// Rows of the step.
    pub(crate) rows: Range<usize>,
    /// Position of the first row.
    pub(crate) start: usize,
}

/// What all layers of a step share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<'a> {
    /// Kernels and threads.
    pub(crate) cpu: &'a Cpu,
    /// Sizes, and what is computed.
    pub(crate) config: &'a ModelConfig,
    /// The sequences, in the order of their rows.
    pub(crate) spans: &'a [Span],
    /// Angles of the rows, for each kind of rotation.
    pub(crate) angles: &'a [Angles],
}

impl Step<'_> {
    /// Rows of the step.
    pub(crate) fn rows(&self) -> usize {
        self.spans.last().map_or(0, |span| span.rows.end)
    }
}

/// Rows with the same adapter, and its share of the layer.
pub(crate) type LoraRun<'a> = (Range<usize>, &'a LayerLora);

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

/// The runs of adapters among some of the rows.
pub(crate) fn runs_among<T: Copy>(
    runs: &[(Range<usize>, T)],
    rows: &[usize],
) -> Vec<(Range<usize>, T)> {
    let place = |row: usize| rows.partition_point(|other| *other < row);
    let among =
        runs.iter().map(|(range, adapter)| (place(range.start)..place(range.end), *adapter));
    among.filter(|(range, _)| !range.is_empty()).collect()
}

/// Working memory of a layer, `[rows, width]` each, kept from layer to layer.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// Input of a block, normed.
    pub(crate) normed: Vec<f32>,
    /// Queries and keys before their norm.
    pub(crate) raw: [Vec<f32>; 2],
    /// Queries, rotated.
    pub(crate) q: Vec<f32>,
    /// Keys, rotated.
    pub(crate) k: Vec<f32>,
    /// Values.
    pub(crate) v: Vec<f32>,
    /// Input of o.
    pub(crate) attended: Vec<f32>,
    /// Gate, before its activation.
    pub(crate) gate: Vec<f32>,
    /// Up.
    pub(crate) up: Vec<f32>,
    /// Input of down: the gated product.
    pub(crate) gated: Vec<f32>,
    /// Result of a block, before the norm on it, and after.
    pub(crate) result: [Vec<f32>; 2],
    /// What the products need.
    pub(crate) workspace: Workspace,
}

/// What products need beside their input and output.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    /// Converted activations.
    pub(crate) activations: Activations,
    /// Products with A, of all adapters one after the other.
    pub(crate) lora_hidden: Vec<f32>,
}

/// What a backward pass reads beside the layer's input. The forward moves its buffers here instead of using them again.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    /// Queries and keys before their norm; empty without one.
    pub(crate) raw: [Vec<f32>; 2],
    /// Queries, rotated.
    pub(crate) q: Vec<f32>,
    /// Keys, rotated.
    pub(crate) k: Vec<f32>,
    /// Values.
    pub(crate) v: Vec<f32>,
    /// Input of o, of the rows that go on.
    pub(crate) attended: Vec<f32>,
    /// The residual stream between the blocks.
    pub(crate) middle: Vec<f32>,
    /// Gate, before its activation.
    pub(crate) gate: Vec<f32>,
    /// Up.
    pub(crate) up: Vec<f32>,
    /// Results of both blocks before the norms on them; empty without those.
    pub(crate) results: [Vec<f32>; 2],
    /// Input of each group of adapters times its A.
    pub(crate) lora_hidden: [Vec<f32>; 4],
}
