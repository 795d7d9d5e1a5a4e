//! Why an adapter is refused: each reason with what to do about it.

use crate::{CONFIG, WEIGHTS};

/// Why an adapter is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// A pickle lies in the folder.
    #[error(
        "it holds `{0}`, a pickle, which runs code when loaded; save the adapter as safetensors and remove that file"
    )]
    Pickle(String),
    /// A file is missing, a link, or not readable.
    #[error("`{file}` cannot be read: {why}")]
    File {
        /// The file's name.
        file: String,
        /// What the system said.
        why: String,
    },
    /// The system had too few open files or too little memory to read it; nothing is known of the folder.
    #[error("it cannot be read now: {}", std::io::Error::from_raw_os_error(*.0))]
    Shortage(i32),
    /// A file is larger than any adapter for this base.
    #[error("`{file}` is too large; an adapter for this model has at most {limit} bytes")]
    TooLarge {
        /// The file's name.
        file: String,
        /// The bound.
        limit: u64,
    },
    /// It holds matrices of the base beside the adapter's own.
    #[error(
        "it holds copies of the base's {tensors}, which Hone does not replace; save it again with \
         `save_embedding_layers=False`"
    )]
    BaseTensors {
        /// Their names.
        tensors: String,
    },
    /// `adapter_config.json` cannot be understood.
    #[error("{CONFIG} is not a LoRA configuration: {0}")]
    Config(String),
    /// An option that Hone does not apply.
    #[error("{CONFIG} sets `{option}` to {value}, which Hone cannot apply; train without it")]
    Unsupported {
        /// The option.
        option: String,
        /// Its value.
        value: String,
    },
    /// The rank is out of bounds.
    #[error("rank {rank} is not between 1 and {max}")]
    Rank {
        /// As configured.
        rank: usize,
        /// The largest.
        max: usize,
    },
    /// alpha is out of bounds.
    #[error(
        "lora_alpha {alpha} at rank {rank} scales by {scaling}; more than 0 and at most {max} is \
         accepted"
    )]
    Alpha {
        /// As configured.
        alpha: f64,
        /// As configured.
        rank: usize,
        /// What they make.
        scaling: f64,
        /// The largest.
        max: f64,
    },
    /// A target that the base does not have, or without tensors.
    #[error("target `{target}` {why}; this model has {known}")]
    Target {
        /// The target.
        target: String,
        /// What is wrong with it.
        why: &'static str,
        /// The linear layers of the base.
        known: String,
    },
    /// The file's header is broken.
    #[error("{WEIGHTS} is broken: {0}")]
    Header(String),
    /// The file is shorter or longer than its header says.
    #[error(
        "{WEIGHTS} is truncated or padded: its tensors take {expected} bytes, there are {found}"
    )]
    Truncated {
        /// Bytes by the header.
        expected: u64,
        /// Bytes in the file.
        found: u64,
    },
    /// A tensor that no slot of the decoder takes.
    #[error(
        "tensor `{0}` has no place in this model; names look like base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    )]
    Tensor(String),
    /// A number format that is not one of f32, f16, bf16.
    #[error("tensor `{tensor}` is {dtype}; F32, F16 and BF16 are accepted")]
    Dtype {
        /// The tensor.
        tensor: String,
        /// Its format.
        dtype: String,
    },
    /// A tensor of another shape than the base needs.
    #[error("tensor `{tensor}` has shape {found:?}, this model needs {expected:?}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// As found.
        found: Vec<u64>,
        /// As needed.
        expected: [u64; 2],
    },
    /// One half of a pair is missing.
    #[error("tensor `{0}` is missing")]
    Unpaired(String),
    /// The file holds no tensor.
    #[error("{WEIGHTS} holds no tensor")]
    Empty,
    /// NaN or infinity.
    #[error("tensor `{0}` holds NaN or infinity; the training that made it went wrong")]
    NotFinite(String),
    /// The change is beyond any honest size.
    #[error("layer {layer} {module} would change by {change:.3} on average, more than {max}")]
    TooStrong {
        /// The decoder layer.
        layer: usize,
        /// The linear layer.
        module: String,
        /// Root mean square of the change, from above.
        change: f64,
        /// The bound.
        max: f64,
    },
    /// One half is beyond any honest size, whatever the other one is.
    #[error("tensor `{tensor}` has weights of {size:.1e} on average, more than {max}")]
    HugeHalf {
        /// The tensor.
        tensor: String,
        /// Root mean square of its weights.
        size: f64,
        /// The bound.
        max: f64,
    },
    /// Every product of a pair is zero.
    #[error("it changes nothing: in every pair one half is zero; was it trained?")]
    NoEffect,
}
