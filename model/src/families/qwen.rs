//! Qwen2, Qwen2.5 and Qwen3 (dense).

use super::shared::{biases, plain, slide};
use crate::{
    Error,
    config::{
        DecoderSpec, Sizes,
        keys::Keys,
        spec::{Biases, QkNorm},
    },
};

/// Qwen2: queries, keys and values have a bias, whatever the file says.
pub(super) fn qwen2(keys: &Keys<'_>, sizes: Sizes) -> Result<DecoderSpec, Error> {
    let biases = Biases { qkv: true, o: false, mlp: false };
    let mut spec = DecoderSpec { biases, ..plain(keys, sizes)? };
    windows(keys, &mut spec)?;
    Ok(spec)
}

/// Qwen3: a norm of each head of queries and keys instead of the biases.
pub(super) fn qwen3(keys: &Keys<'_>, sizes: Sizes) -> Result<DecoderSpec, Error> {
    let biases = biases(keys)?;
    let mut spec = DecoderSpec { biases, qk_norm: QkNorm::Head, ..plain(keys, sizes)? };
    windows(keys, &mut spec)?;
    Ok(spec)
}

/// The upper layers slide, if the file says that any do.
fn windows(keys: &Keys<'_>, spec: &mut DecoderSpec) -> Result<(), Error> {
    let used = keys.flag("use_sliding_window")?.unwrap_or(false);
    let full = keys.number("max_window_layers")?.unwrap_or(28.0) as usize;
    slide(keys, spec, |layer| layer >= full)?;
    if !used {
        spec.layers.iter_mut().for_each(|layer| layer.window = None);
    }
    Ok(())
}
