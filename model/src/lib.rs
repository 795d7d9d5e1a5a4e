//! One decoder, forward and backward, with LoRA slots over dense or quantised base weights.

#![allow(unsafe_code)]

pub mod detokenize;
mod error;
pub mod sampler;
pub mod stop;
pub mod template;
pub mod tokenizer;

pub use detokenize::Detokenizer;
pub use error::Error;
pub use sampler::{Sampled, Sampler};
pub use stop::{Checked, StopMatcher};
pub use template::ChatTemplate;
pub use tokenizer::Tokenizer;
