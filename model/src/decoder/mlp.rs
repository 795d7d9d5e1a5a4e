//! The feed-forward block: `x += down(activation(gate(norm(x))) * up(norm(x)))`, forward and backward.

use super::{
    backward::BackwardPass,
    residual::BlockEnd,
    rows::{Norm, gate, gate_backward},
    step::{Buffers, LayerPass, Saved},
};
use crate::lora::{Adapted, Group, project, project_backward};
use hone_device::linear::Projection;

/// The weights of a feed-forward block.
#[derive(Debug)]
pub(crate) struct Mlp {
    /// RMSNorm before the block.
    pub(crate) norm: Option<Vec<f32>>,
    /// Gate.
    pub(crate) gate: Projection,
    /// Up.
    pub(crate) up: Projection,
    /// Down.
    pub(crate) down: Projection,
    /// RMSNorm on the block's result.
    pub(crate) norm_after: Option<Vec<f32>>,
}

impl Mlp {
    fn end(&self, eps: f32) -> BlockEnd<'_> {
        let norm = self.norm_after.as_deref().map(|weight| Norm { weight, eps });
        BlockEnd { linear: &self.down, norm, group: Group::Down }
    }

    /// Adds the block's result to `x`, the rows that went on after attention.
    pub(crate) fn forward(
        &self,
        pass: &LayerPass<'_>,
        x: &mut [f32],
        b: &mut Buffers,
        mut sink: Option<&mut Saved>,
    ) {
        let (cpu, config) = (pass.step.cpu, pass.step.config);
        let (inner, eps) = (config.intermediate_size, config.rms_norm_eps);
        let rows = x.len() / config.hidden_size;
        for buffer in [&mut b.gate, &mut b.up, &mut b.gated] {
            buffer.resize(rows * inner, 0.0);
        }
        let input = match &self.norm {
            Some(weight) => {
                b.normed.resize(x.len(), 0.0);
                Norm { weight, eps }.forward(cpu, x, &mut b.normed);
                &b.normed[..]
            }
            None => &*x,
        };
        let adapted = (Group::GateUp, pass.loras_after, pass.dropout);
        let mut outputs = [(&self.gate, &mut b.gate[..]), (&self.up, &mut b.up[..])];
        project(cpu, &mut b.workspace, adapted, input, &mut outputs, None);
        if let Some(sink) = sink.as_deref_mut() {
            sink.lora_hidden[Group::GateUp as usize].clone_from(&b.workspace.lora_hidden);
        }
        gate(cpu, config.spec.activation, (&b.gate, &b.up), &mut b.gated, inner);

        let rest = (&mut b.result, &mut b.workspace);
        self.end(eps).forward(pass, pass.loras_after, &b.gated, x, rest);
        if let Some(sink) = sink {
            sink.lora_hidden[Group::Down as usize].clone_from(&b.workspace.lora_hidden);
            sink.gate = std::mem::take(&mut b.gate);
            sink.up = std::mem::take(&mut b.up);
            sink.results[1] = std::mem::take(&mut b.result[0]);
        }
    }

    /// The gradient of the residual stream between the blocks, from that of the layer's result.
    pub(crate) fn backward(&self, t: &mut BackwardPass<'_>, saved: &Saved, dy: &[f32]) -> Vec<f32> {
        let (cpu, config) = (t.pass.step.cpu, t.pass.step.config);
        let (inner, hidden) = (config.intermediate_size, config.hidden_size);
        let activation = config.spec.activation;
        let rows = dy.len() / hidden;

        // y = middle + down(activation(gate) * up)
        let mut gated = vec![0.0; rows * inner];
        gate(cpu, activation, (&saved.gate, &saved.up), &mut gated, inner);
        let d_result = self.end(config.rms_norm_eps).backward(&t.pass, &saved.results[1], dy);
        let mut d_gate = vec![0.0; rows * inner];
        t.linear_backward(&self.down, &d_result, &mut d_gate, false);
        let adapted =
            Adapted { group: Group::Down, x: &gated, hidden: t.hidden(saved, Group::Down) };
        project_backward(t, adapted, &[&d_result], Some(&mut d_gate));
        let d_up = gate_backward(cpu, activation, (&saved.gate, &saved.up), &mut d_gate, inner);

        // gate and up read the norm of the middle
        let norm = self.norm.as_deref().map(|weight| Norm { weight, eps: config.rms_norm_eps });
        let normed = norm.map(|norm| norm.with_inverse(cpu, &saved.middle));
        let input = normed.as_ref().map_or(&saved.middle, |normed| &normed.rows);
        let mut d_input = vec![0.0; rows * hidden];
        t.linear_backward(&self.gate, &d_gate, &mut d_input, false);
        t.linear_backward(&self.up, &d_up, &mut d_input, true);
        let hidden_part = t.hidden(saved, Group::GateUp);
        let adapted = Adapted { group: Group::GateUp, x: input, hidden: hidden_part };
        project_backward(t, adapted, &[&d_gate, &d_up], Some(&mut d_input));
        let mut d_middle = dy.to_vec();
        t.norm_backward(norm, (&saved.middle, normed.as_ref()), &d_input, &mut d_middle);
        d_middle
    }
}
