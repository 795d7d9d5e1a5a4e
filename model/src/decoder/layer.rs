//! One decoder layer: attention and feed-forward.
//!
//! Serving and training run the same forward. Training hands in a place for the intermediate results that its backward
//! reads; serving hands in none.

use hone_device::{Buffer, LayerCache};

use super::{
    attention::Attention,
    backward::BackwardPass,
    mlp::Mlp,
    step::{Buffers, LayerPass, Saved},
};

/// The weights of a layer.
#[derive(Debug)]
pub(crate) struct Layer {
    /// Attention.
    pub(crate) attention: Attention,
    /// Feed-forward.
    pub(crate) mlp: Mlp,
}

impl Layer {
    /// Runs the layer over the residual stream `x` (`[rows, hidden]`), of which only the rows that go on are left.
    pub(crate) fn forward(
        &self,
        pass: &LayerPass<'_>,
        caches: &mut [&mut LayerCache],
        x: &mut Buffer,
        buffers: &mut Buffers,
        mut sink: Option<&mut Saved>,
    ) {
        self.attention.forward(pass, caches, x, buffers, sink.as_deref_mut());
        if let Some(sink) = sink.as_deref_mut() {
            sink.middle = pass.step.device.copy(x, 0..x.len());
        }
        self.mlp.forward(pass, x, buffers, sink);
    }

    /// Gradients of the layer's input and of its adapter, from that of its result. The input's is left out with `input`
    /// false: nothing below the first layer learns.
    pub(crate) fn backward(
        &self,
        mut t: BackwardPass<'_>,
        x: &Buffer,
        saved: &Saved,
        dy: Buffer,
        input: bool,
    ) -> (Option<Buffer>, Buffer) {
        let d_middle = self.mlp.backward(&mut t, saved, dy);
        let dx = self.attention.backward(&mut t, x, saved, d_middle, input);
        (dx, t.d_lora)
    }
}
