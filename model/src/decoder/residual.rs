//! The end of a block: its last linear layer, the norm on its result, the sum with the residual stream; and the way back.

use hone_device::{
    Buffer,
    ops::{Norm, Projection},
};

use super::{
    adapted::project,
    backward::norm_with_inverse,
    step::{LayerPass, LoraRun},
};
use crate::lora::Group;

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
        input: &Buffer,
        x: &mut Buffer,
        (result, hidden): (&mut [Buffer; 2], &mut Buffer),
    ) {
        let (device, config) = (pass.step.device, pass.step.config);
        let scale = config.spec.residual_scale;
        let adapted = (self.group, loras);
        if self.is_plain() {
            project(pass, adapted, input, &mut [(self.linear, x)], Some(scale), hidden);
            return;
        }
        let [raw, normed] = result;
        device.resize(raw, x.len());
        project(pass, adapted, input, &mut [(self.linear, &mut *raw)], None, hidden);
        let width = config.hidden_size;
        match self.norm {
            None => device.add_scaled(x, raw, scale, width),
            Some(norm) => {
                device.resize(normed, x.len());
                device.norm(norm, raw, normed, None);
                device.add_scaled(x, normed, scale, width);
            }
        }
    }

    /// The gradient of the linear layer's result, from that of the sum; `raw` is what the norm read.
    pub(crate) fn backward(&self, pass: &LayerPass<'_>, raw: &Buffer, dy: &Buffer) -> Buffer {
        let (device, scale) = (pass.step.device, pass.step.config.spec.residual_scale);
        let mut scaled = device.copy(dy, 0..dy.len());
        if scale != 1.0 {
            device.scale(&mut scaled, scale);
        }
        let Some(norm) = self.norm else { return scaled };
        let (_, inverse) = norm_with_inverse(device, norm, raw);
        let mut d_raw = device.zeros(dy.len());
        device.norm_backward(norm, (raw, &inverse), &scaled, &mut d_raw);
        d_raw
    }
}
