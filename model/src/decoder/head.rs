//! The end of the decoder: final norm, output head and the cap of its logits.

use super::rows::{Norm, cap, each_row};
use hone_device::{
    kernels::cap::Cap,
    linear::{Activations, Cpu, Linear},
};

/// The weights of the end, borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    /// The final norm.
    pub(crate) norm: Norm<'a>,
    /// The output matrix, `[vocab, hidden]`.
    pub(crate) output: &'a Linear,
    /// What logits pass through, if anything.
    pub(crate) cap: Option<Cap>,
}

impl Head<'_> {
    /// Logits of normed rows, into `[rows, vocab]`.
    pub(crate) fn logits(
        &self,
        cpu: &Cpu,
        activations: &mut Activations,
        normed: &[f32],
        logits: &mut [f32],
    ) {
        self.output.forward(cpu, activations, normed, logits, None);
        if let Some(limit) = self.cap {
            cap(cpu, limit, logits, self.output.outputs());
        }
    }

    /// Turns gradients of capped logits into those of the output matrix's; `logits` are the capped ones.
    pub(crate) fn cap_backward(&self, cpu: &Cpu, logits: &[f32], gradient: &mut [f32]) {
        let Some(limit) = self.cap else { return };
        let vocab = self.output.outputs();
        each_row(cpu, gradient, vocab, &|row, gradient| {
            cpu.kernels.soft_cap_backward(&logits[row * vocab..][..vocab], gradient, limit);
        });
    }
}
