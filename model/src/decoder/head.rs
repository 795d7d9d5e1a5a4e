//! The end of the decoder: final norm, output head and the cap of its logits.

use hone_device::{
    Buffer, Device, Matrix,
    ops::{Cap, Norm},
};

/// The weights of the end, borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    /// The final norm.
    pub(crate) norm: Norm<'a>,
    /// The output matrix, `[vocab, hidden]`.
    pub(crate) output: &'a Matrix,
    /// What logits pass through, if anything.
    pub(crate) cap: Option<Cap>,
}

impl Head<'_> {
    /// Logits of normed rows, into `[rows, vocab]`.
    pub(crate) fn logits(&self, device: &dyn Device, normed: &Buffer, logits: &mut Buffer) {
        device.product(self.output, normed, logits, None);
        if let Some(cap) = self.cap {
            device.cap(cap, logits, self.output.outputs());
        }
    }

    /// The gradient of normed rows, from that of capped logits, which is used up. `capped` are the logits if there is a cap.
    pub(crate) fn logits_backward(
        &self,
        device: &dyn Device,
        capped: Option<&Buffer>,
        mut gradient: Buffer,
        d_normed: &mut Buffer,
    ) {
        if let (Some(cap), Some(capped)) = (self.cap, capped) {
            device.cap_backward(cap, capped, &mut gradient, self.output.outputs());
        }
        device.product_backward(self.output, &gradient, d_normed, None);
    }
}
