//! Llama 2 and 3, SmolLM2 and all that is stored as a Llama; Mistral and Ministral, which add a window.

use super::shared::{biases, plain, slide};
use crate::{
    Error,
    config::{DecoderSpec, Sizes, keys::Keys},
};

/// Llama.
pub(super) fn spec(keys: &Keys<'_>, sizes: Sizes) -> Result<DecoderSpec, Error> {
    Ok(DecoderSpec { biases: biases(keys)?, ..plain(keys, sizes)? })
}

/// Mistral: every layer slides, where the file has a window.
pub(super) fn mistral(keys: &Keys<'_>, sizes: Sizes) -> Result<DecoderSpec, Error> {
    let mut spec = plain(keys, sizes)?;
    slide(keys, &mut spec, |_| true)?;
    Ok(spec)
}
