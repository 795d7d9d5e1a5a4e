//! What the backward pass of a layer carries along.

use hone_device::{Buffer, Device, ops::Norm};

use super::step::{LayerPass, Saved};
use crate::lora::{Group, LoraLayout};

/// The way back through one layer. The base carries no gradient: of each linear layer only the product with the
/// transposed weight is needed.
pub(crate) struct BackwardPass<'a> {
    /// The pass that went forward.
    pub(crate) pass: LayerPass<'a>,
    /// Where the adapter's matrices lie.
    pub(crate) layout: &'a LoraLayout,
    /// The layer's flat adapter.
    pub(crate) lora: &'a Buffer,
    /// Its gradient.
    pub(crate) d_lora: Buffer,
}

impl BackwardPass<'_> {
    /// Adds the gradient of a norm's input `x` to `dx`, with the inverse roots that [`norm_with_inverse`] gave; without a norm the
    /// gradient itself.
    pub(crate) fn norm_backward(
        &self,
        norm: Option<(Norm<'_>, &Buffer)>,
        x: &Buffer,
        gradient: &Buffer,
        dx: &mut Buffer,
    ) {
        let device = self.pass.step.device;
        match norm {
            Some((norm, inverse)) => device.norm_backward(norm, (x, inverse), gradient, dx),
            None => device.add_scaled(dx, gradient, 1.0, self.pass.step.config.hidden_size),
        }
    }

    /// The input of a group times its A, as the forward left it.
    pub(crate) fn hidden<'s>(&self, saved: &'s Saved, group: Group) -> &'s Buffer {
        &saved.lora_hidden[group as usize]
    }
}

/// The norm of rows, and the inverse root of each, which its backward reads.
pub(crate) fn norm_with_inverse(
    device: &dyn Device,
    norm: Norm<'_>,
    x: &Buffer,
) -> (Buffer, Buffer) {
    let (mut normed, mut inverse) = (device.zeros(x.len()), Buffer::default());
    device.norm(norm, x, &mut normed, Some(&mut inverse));
    (normed, inverse)
}
