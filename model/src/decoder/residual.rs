//! The end of a block: its last linear layer, the norm on its result, the sum with the residual stream; and the way back.

use super::{
    rows::{Norm, add_scaled},
    step::{LayerPass, LoraRun, Workspace},
};
use crate::lora::{Group, project};
use hone_device::linear::Projection;

/// The last linear layer of a block and the norm on its result.
pub(crate) struct BlockEnd<'a> {
    /// Attention output, or down.
    pub(crate) linear: &'a Projection,
    /// The norm after the block, if the decoder has one.
    pub(crate) norm: Option<Norm<'a>>,
    /// The adapters' place.
    pub(crate) group: Group,
}

impl BlockEnd<'_> {
    /// Whether the product can be added to the residual stream as it is made.
    fn is_plain(&self) -> bool {
        self.norm.is_none() && self.linear.bias.is_none()
    }

    /// `x += scale · norm(linear(input))`; with a norm the linear layer's result is in `result[0]` afterwards.
    pub(crate) fn forward(
        &self,
        pass: &LayerPass<'_>,
        loras: &[LoraRun<'_>],
        input: &[f32],
        x: &mut [f32],
        (result, workspace): (&mut [Vec<f32>; 2], &mut Workspace),
    ) {
        let (cpu, config) = (pass.step.cpu, pass.step.config);
        let scale = config.spec.residual_scale;
        let adapted = (self.group, loras, pass.dropout);
        if self.is_plain() {
            project(cpu, workspace, adapted, input, &mut [(self.linear, x)], Some(scale));
            return;
        }
        let [raw, normed] = result;
        raw.resize(x.len(), 0.0);
        project(cpu, workspace, adapted, input, &mut [(self.linear, &mut raw[..])], None);
        let width = config.hidden_size;
        match self.norm {
            None => add_scaled(cpu, x, raw, scale, width),
            Some(norm) => {
                normed.resize(x.len(), 0.0);
                norm.forward(cpu, raw, normed);
                add_scaled(cpu, x, normed, scale, width);
            }
        }
    }

    /// The gradient of the linear layer's result, from that of the sum; `raw` is what the norm read.
    pub(crate) fn backward(&self, pass: &LayerPass<'_>, raw: &[f32], dy: &[f32]) -> Vec<f32> {
        let scale = pass.step.config.spec.residual_scale;
        let mut scaled = dy.to_vec();
        if scale != 1.0 {
            scaled.iter_mut().for_each(|value| *value *= scale);
        }
        let Some(norm) = self.norm else { return scaled };
        let cpu = pass.step.cpu;
        let inverse = norm.with_inverse(cpu, raw).inverse;
        let mut d_raw = vec![0.0; dy.len()];
        norm.backward(cpu, (raw, &inverse), &scaled, &mut d_raw);
        d_raw
    }
}
