//! One decoder, forward and backward, with LoRA slots over dense or quantised base weights.
//!
//! [`prepare`] packs a Hugging Face folder or a GGUF file once; [`Model::open`] maps the result; [`Model::forward`] runs prompts and
//! single tokens of different adapters in one step. All hot operations are behind the `kernels` module, written over
//! slices of f32; candle's tensors appear only in training.
#![allow(unsafe_code)] // the kernels; each block says why it is sound

mod architecture;
mod cache;
pub mod calls;
pub mod detokenize;
mod draw;
mod error;
mod format;
mod gguf;
pub mod grammar;
mod kernels;
mod layer;
mod linear;
mod llama;
mod load;
mod lora;
mod model;
mod pack;
mod pool;
mod rope;
pub mod sampler;
mod softmax;
mod source;
pub mod starter;
pub mod stop;
pub mod template;
pub mod tokenizer;
pub mod train;

pub use architecture::{Architecture, ModelConfig, Module};
pub use cache::KvCache;
pub use detokenize::Detokenizer;
pub use error::Error;
pub use format::WeightFormat;
pub use grammar::{Grammar, JsonSchema};
pub use lora::Adapter;
pub use model::{Logits, LogitsFor, Model, Scratch, Segment};
pub use pack::{Pack, prepare};
pub use rope::RopeScaling;
pub use sampler::{Sampled, Sampler, log_probabilities};
pub use source::Source;
pub use stop::{Checked, StopMatcher};
pub use template::{ChatTemplate, Talk, ToolFormat};
pub use tokenizer::{Effort, Tokenizer};
