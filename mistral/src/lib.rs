//! Models of families that Hone's decoder does not know, computed by mistralrs.
//!
//! | module | one idea |
//! |---|---|
//! | [`WeightForm`] | in how many bits, and what that takes |
//! | [`merge`](mod@merge) | an adapter's product added to the weights that it changes |
//! | `line` | who waits for a place and for cache |
//! | `instance` | one loaded model: the base, or the base with an adapter merged |
//! | `instances` | which of them are loaded, and which one is live |
//! | `trial` | what each of them is tried out with |
//! | `seat` | where mistralrs would sample a token, Hone does |
//! | `engine` | [`hone_engine::Generate`] over all of it |
//!
//! mistralrs computes logits and nothing else here. Templates, tokens, sampling, grammars, stop strings and ends are Hone's,
//! as they are for its own decoder. Without the feature `engine` only what does not need mistralrs is built.
#![forbid(unsafe_code)]

mod error;
mod form;
pub mod merge;

#[cfg(feature = "engine")]
mod engine;
#[cfg(feature = "engine")]
mod instance;
#[cfg(feature = "engine")]
mod instances;
mod line;
#[cfg(feature = "engine")]
mod seat;
#[cfg(feature = "engine")]
mod shared;
#[cfg(feature = "engine")]
mod trial;

#[cfg(feature = "engine")]
pub use engine::MistralEngine;
pub use error::Error;
pub use form::WeightForm;
#[cfg(feature = "engine")]
pub use shared::MistralSettings;
