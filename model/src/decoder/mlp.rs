//! The feed-forward block: `x += down(activation(gate(norm(x))) * up(norm(x)))`, forward and backward.

use hone_device::{
    Buffer,
    ops::{Norm, Projection},
};

use super::{
    adapted::{Adapted, project, project_backward},
    backward::{BackwardPass, norm_with_inverse},
    residual::BlockEnd,
    step::{Buffers, LayerPass, Saved},
};
use crate::lora::Group;

/// The weights of a feed-forward block.
#[derive(Debug)]
pub(crate) struct Mlp {
    /// RMSNorm before the block.
    pub(crate) norm: Option<Buffer>,
    /// Gate.
    pub(crate) gate: Projection,
    /// Up.
    pub(crate) up: Projection,
    /// Down.
    pub(crate) down: Projection,
    /// RMSNorm on the block's result.
    pub(crate) norm_after: Option<Buffer>,
}

impl Mlp {
    fn end(&self, eps: f32) -> BlockEnd<'_> {
        let norm = self.norm_after.as_ref().map(|weight| Norm { weight, eps });
        BlockEnd { linear: &self.down, norm, group: Group::Down }
    }

    /// Adds the block's result to `x`, the rows that went on after attention.
    pub(crate) fn forward(
        &self,
        pass: &LayerPass<'_>,
        x: &mut Buffer,
        b: &mut Buffers,
        mut sink: Option<&mut Saved>,
    ) {
        let (device, config) = (pass.step.device, pass.step.config);
        let (inner, eps) = (config.intermediate_size, config.rms_norm_eps);
        let rows = x.len() / config.hidden_size;
        for buffer in [&mut b.gate, &mut b.up, &mut b.gated] {
            device.resize(buffer, rows * inner);
        }
        let input = match &self.norm {
            Some(weight) => {
                device.resize(&mut b.normed, x.len());
                device.norm(Norm { weight, eps }, x, &mut b.normed, None);
                &b.normed
            }
            None => &*x,
        };
        let mut outputs = [(&self.gate, &mut b.gate), (&self.up, &mut b.up)];
        let adapted = (Group::GateUp, pass.loras_after);
        project(pass, adapted, input, &mut outputs, None, &mut b.lora_hidden);
        if let Some(sink) = sink.as_deref_mut() {
            sink.lora_hidden[Group::GateUp as usize] = std::mem::take(&mut b.lora_hidden);
        }
        device.gate(config.spec.activation, (&b.gate, &b.up), &mut b.gated, inner);

        let rest = (&mut b.result, &mut b.lora_hidden);
        self.end(eps).forward(pass, pass.loras_after, &b.gated, x, rest);
        if let Some(sink) = sink {
            sink.lora_hidden[Group::Down as usize] = std::mem::take(&mut b.lora_hidden);
            sink.gate = std::mem::take(&mut b.gate);
            sink.up = std::mem::take(&mut b.up);
            sink.results[1] = std::mem::take(&mut b.result[0]);
        }
    }

    /// The gradient of the residual stream between the blocks, from that of the layer's result.
    pub(crate) fn backward(&self, t: &mut BackwardPass<'_>, saved: &Saved, dy: Buffer) -> Buffer {
        let (device, config) = (t.pass.step.device, t.pass.step.config);
        let (inner, hidden, eps) =
            (config.intermediate_size, config.hidden_size, config.rms_norm_eps);
        let activation = config.spec.activation;
        let rows = dy.len() / hidden;

        // y = middle + down(activation(gate) * up)
        let mut gated = device.zeros(rows * inner);
        device.gate(activation, (&saved.gate, &saved.up), &mut gated, inner);
        let d_result = self.end(eps).backward(&t.pass, &saved.results[1], &dy);
        let mut d_gate = device.zeros(rows * inner);
        device.product_backward(&self.down.weight, &d_result, &mut d_gate, None);
        let group = Group::Down;
        let adapted = Adapted { group, x: &gated, hidden: t.hidden(saved, group) };
        project_backward(t, adapted, &[&d_result], Some(&mut d_gate));
        let d_up = device.gate_backward(activation, (&saved.gate, &saved.up), &mut d_gate, inner);

        // gate and up read the norm of the middle
        let norm = self.norm.as_ref().map(|weight| Norm { weight, eps });
        let normed = norm.map(|norm| norm_with_inverse(device, norm, &saved.middle));
        let read = normed.as_ref().map_or(&saved.middle, |(rows, _)| rows);
        let mut d_read = device.zeros(rows * hidden);
        device.product_backward(&self.gate.weight, &d_gate, &mut d_read, None);
        device.product_backward(&self.up.weight, &d_up, &mut d_read, Some(1.0));
        let group = Group::GateUp;
        let adapted = Adapted { group, x: read, hidden: t.hidden(saved, group) };
        project_backward(t, adapted, &[&d_gate, &d_up], Some(&mut d_read));
        let mut d_middle = dy;
        let inverse = normed.as_ref().map(|(_, inverse)| inverse);
        t.norm_backward(norm.zip(inverse), &saved.middle, &d_read, &mut d_middle);
        d_middle
    }
}
