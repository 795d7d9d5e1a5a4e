//! The loss of logits, and its gradient.

use crate::Buffer;

/// The base's logits for some of the rows, and what the divergence from them counts.
#[derive(Debug)]
pub struct BaseLogits<'a> {
    /// `[compared rows, vocab]`; becomes the base's distributions.
    pub logits: &'a mut Buffer,
    /// For each row of the loss its row here, ascending; `None` is not compared.
    pub places: &'a [Option<usize>],
    /// Weight of the divergence, for each row of the loss.
    pub weights: &'a [f32],
}

/// The end of training's forward and the beginning of its backward.
pub trait LossOps {
    /// For each row of `logits` (`[targets, vocab]`) `-log p[target] + weight · KL(q ‖ p)`, with `p` and `q` the softmax of its
    /// logits and of the base's. The logits become the gradient, `p - onehot + weight · (p - q)`. What is absent counts
    /// nothing.
    fn loss(
        &self,
        logits: &mut Buffer,
        targets: &[Option<u32>],
        base: Option<BaseLogits<'_>>,
    ) -> Vec<f64>;
}
