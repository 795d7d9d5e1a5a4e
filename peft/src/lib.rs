//! PEFT's adapter folders: the options of `adapter_config.json` and the names of tensors. What imports, serves and writes
//! adapters reads them here, so that there is one set of rules.
#![forbid(unsafe_code)]

mod config;
mod error;
mod names;
mod pattern;

pub use config::{PeftConfig, asks};
pub use error::Error;
pub use names::{Half, Place, tensor_name};

/// The configuration's file name.
pub const CONFIG: &str = "adapter_config.json";
/// The weights' file name.
pub const WEIGHTS: &str = "adapter_model.safetensors";
