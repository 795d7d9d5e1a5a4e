//! One decoder for all families, forward and backward, with LoRA slots over dense or quantised base weights.
//!
//! [`prepare`] packs a Hugging Face folder or a GGUF file once; [`Model::open`] maps the result; [`Model::forward`] runs prompts and
//! single tokens of different adapters in one step. What it computes is here; where, and how, says a
//! [`Device`](hone_device::Device). Candle's tensors appear only in training.
#![forbid(unsafe_code)]

mod bitsandbytes;
mod config;
mod decoder;
mod error;
mod families;
mod files;
mod foreign;
mod gguf;
mod hidden;
mod load;
mod lora;
mod model;
mod pack;
mod small_files;
mod source;
pub mod starter;
mod tensors;
pub mod train;

pub use config::{
    DecoderSpec, LoraTarget, ModelConfig, Module,
    rope::{RopeScaling, Rotary},
    spec::{Activation, Biases, LayerSpec, Norms, QkNorm},
};
pub use decoder::cache::{KvBlock, KvCache};
pub use error::Error;
pub use foreign::Foreign;
pub use hone_device::WeightFormat;
pub use lora::{Adapter, AdapterHome};
pub use model::{Logits, LogitsFor, Model, Scratch, Segment};
pub use pack::{Pack, PackProgress, PackStage, Packed, packed, packed_bytes, prepare};
pub use source::Source;
