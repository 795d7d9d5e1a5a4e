//! One decoder, forward and backward, with LoRA slots over dense or quantised base weights.
