//! What the backward pass of a layer carries along.

use super::{
    rows::{Norm, Normed, add_scaled},
    step::{LayerPass, Saved},
};
use crate::lora::{Group, LoraLayout};
use hone_device::linear::{Activations, Projection};

/// The way back through one layer. The base carries no gradient: of each linear layer only the product with the
/// transposed weight is needed.
pub(crate) struct BackwardPass<'a> {
    /// The pass that went forward.
    pub(crate) pass: LayerPass<'a>,
    /// Where the adapter's matrices lie.
    pub(crate) layout: &'a LoraLayout,
    /// The layer's flat adapter.
    pub(crate) lora: &'a [f32],
    /// Its gradient.
    pub(crate) d_lora: Vec<f32>,
    /// Converted gradients.
    pub(crate) activations: Activations,
}

impl BackwardPass<'_> {
    /// `dx = dy · W`, or `dx += dy · W`.
    pub(crate) fn linear_backward(
        &mut self,
        linear: &Projection,
        dy: &[f32],
        dx: &mut [f32],
        add: bool,
    ) {
        let cpu = self.pass.step.cpu;
        linear.weight.backward_input(cpu, &mut self.activations, dy, dx, add.then_some(1.0));
    }

    /// Adds the gradient of a norm's input to `dx`; without a norm the gradient itself.
    pub(crate) fn norm_backward(
        &self,
        norm: Option<Norm<'_>>,
        (x, normed): (&[f32], Option<&Normed>),
        gradient: &[f32],
        dx: &mut [f32],
    ) {
        let cpu = self.pass.step.cpu;
        match (norm, normed) {
            (Some(norm), Some(normed)) => norm.backward(cpu, (x, &normed.inverse), gradient, dx),
            _ => add_scaled(cpu, dx, gradient, 1.0, self.pass.step.config.hidden_size),
        }
    }

    /// The input of a group times its A, as the forward left it.
    pub(crate) fn hidden<'s>(&self, saved: &'s Saved, group: Group) -> &'s [f32] {
        &saved.lora_hidden[group as usize]
    }
}
