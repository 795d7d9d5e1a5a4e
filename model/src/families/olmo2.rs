//! OLMo 2: norms after the blocks instead of before them, and of all heads of queries and keys together.

use super::shared::{biases, plain};
use crate::{
    Error,
    config::{
        DecoderSpec, Sizes,
        keys::Keys,
        spec::{Norms, QkNorm},
    },
};

/// OLMo 2.
pub(super) fn spec(keys: &Keys<'_>, sizes: Sizes) -> Result<DecoderSpec, Error> {
    Ok(DecoderSpec {
        norms: Norms::After,
        qk_norm: QkNorm::Whole,
        biases: biases(keys)?,
        ..plain(keys, sizes)?
    })
}
