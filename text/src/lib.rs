//! From messages to token ids, and from logits back to text: all of a model but its weights.
//!
//! [`FrontEnd`] is what an engine lends to those who speak with its model, wherever the weights are.

pub mod calls;
pub mod detokenize;
mod error;
mod front_end;
pub mod grammar;
mod sample;
pub mod sampler;
mod softmax;
pub mod stop;
pub mod template;
pub mod tokenizer;

pub use detokenize::Detokenizer;
pub use error::Error;
pub use front_end::FrontEnd;
pub use grammar::{Grammar, JsonSchema};
pub use sampler::{Sampled, Sampler, log_probabilities};
pub use stop::{Checked, StopMatcher};
pub use template::{ChatTemplate, Talk, TokenizerInfo, ToolFormat};
pub use tokenizer::{Effort, Tokenizer};
