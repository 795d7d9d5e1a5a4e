//! What the decoder knows of tokens before it says which one follows: the hidden states behind its final norm.

use crate::{Error, Model, Scratch, Segment};

impl Model {
    /// Runs one step as [`Model::forward`] does, and gives the hidden state behind the final norm for each token whose
    /// logits are asked for: rows of `hidden_size`, in the order of segments and tokens. Their bits depend on the batch
    /// as little as those of logits do.
    ///
    /// # Errors
    /// Those of [`Model::forward`].
    pub fn hidden(
        &self,
        segments: &mut [Segment<'_>],
        scratch: &mut Scratch,
    ) -> Result<Vec<f32>, Error> {
        self.run_layers(segments, scratch)?;
        let device = self.device();
        let mut normed = device.zeros(scratch.hidden.len());
        device.norm(self.decoder.head().norm, &scratch.hidden, &mut normed, None);
        Ok(device.download(normed))
    }
}
