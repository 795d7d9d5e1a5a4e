//! Phi-3, Phi-3.5 and Phi-4: queries, keys and values in one matrix, gate and up in another.

use super::shared::{plain, slide};
use crate::{
    Error,
    config::{DecoderSpec, Sizes, keys::Keys},
};

/// Phi-3.
pub(super) fn spec(keys: &Keys<'_>, sizes: Sizes) -> Result<DecoderSpec, Error> {
    keys.refuse("attention_bias", "no bias")?;
    let mut spec = DecoderSpec { fused: true, ..plain(keys, sizes)? };
    slide(keys, &mut spec, |_| true)?;
    Ok(spec)
}
