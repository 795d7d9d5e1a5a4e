//! Matrices as bitsandbytes stores them in 4 bits, which is how Unsloth publishes models: NF4 or FP4 codes in blocks, and the
//! largest magnitude of each block, itself in 8 bits where the file says so (Dettmers and others, *QLoRA*, 2023).
//!
//! ```text
//! NAME                                     codes, two a byte, the first in the high bits
//! NAME.quant_map                           what the sixteen codes stand for
//! NAME.absmax                              largest magnitude of each block: f32, or a code of nested_quant_map
//! NAME.nested_absmax, .nested_quant_map    the scales of those codes, by blocks
//! NAME.quant_state.bitsandbytes__nf4       JSON: shape, block sizes, what is added to the scales
//! ```

use safetensors::{Dtype, tensor::TensorView};
use serde::Deserialize;

use crate::Error;

/// Quantised tensors of a folder, by name.
pub(crate) struct Stored<'a> {
    /// Finds a tensor in any of the files.
    pub(crate) find: &'a dyn Fn(&str) -> Option<TensorView<'a>>,
}

#[derive(Deserialize)]
struct State {
    blocksize: usize,
    shape: Vec<usize>,
    #[serde(default)]
    nested_blocksize: usize,
    #[serde(default)]
    nested_offset: f32,
}

impl Stored<'_> {
    /// The matrix of a name as f32; `None` if it is not stored in this way.
    ///
    /// # Errors
    /// It has another shape, or a part of it is missing or of another size.
    pub(crate) fn read(&self, name: &str, shape: &[usize]) -> Result<Option<Vec<f32>>, Error> {
        let state = ["nf4", "fp4"]
            .iter()
            .find_map(|kind| (self.find)(&format!("{name}.quant_state.bitsandbytes__{kind}")));
        let Some(state) = state else { return Ok(None) };
        let bad = |what: &str| Error::invalid(name, format!("{what}; copy the files again"));
        let state: State = serde_json::from_slice(state.data())
            .map_err(|e| bad(&format!("its quantisation state cannot be read: {e}")))?;
        if state.shape != shape {
            let (found, expected) = (state.shape, shape.to_vec());
            return Err(Error::Shape { name: name.into(), found, expected });
        }
        let part = |end: &str| {
            let part = (self.find)(&format!("{name}.{end}"));
            part.ok_or_else(|| bad(&format!("its {end} is missing")))
        };
        let codes = (self.find)(name).ok_or_else(|| bad("its codes are missing"))?;
        let values = floats(&part("quant_map")?).ok_or_else(|| bad("its quant_map is not f32"))?;
        let absmax = part("absmax")?;
        let scales = match absmax.dtype() {
            Dtype::U8 => {
                let nested = [part("nested_absmax")?, part("nested_quant_map")?];
                let [outer, map] = nested.map(|tensor| floats(&tensor));
                let (outer, map) = outer.zip(map).ok_or_else(|| bad("its scales are not f32"))?;
                scales(absmax.data(), &outer, &map, &state)
            }
            _ => floats(&absmax),
        };
        let count: usize = shape.iter().product();
        let scales = scales.filter(|scales| scales.len() * state.blocksize >= count);
        let scales = scales.ok_or_else(|| bad("its scales do not fit its blocks"))?;
        if codes.dtype() != Dtype::U8
            || codes.data().len() != count.div_ceil(2)
            || values.len() != 16
        {
            return Err(bad("its codes have another size than its shape"));
        }
        let of_byte = |byte: &u8| [values[usize::from(byte >> 4)], values[usize::from(byte & 15)]];
        let mut matrix: Vec<f32> = codes.data().iter().flat_map(of_byte).take(count).collect();
        for (block, scale) in matrix.chunks_mut(state.blocksize).zip(scales) {
            block.iter_mut().for_each(|value| *value *= scale);
        }
        match matrix.iter().all(|value| value.is_finite()) {
            true => Ok(Some(matrix)),
            false => Err(Error::NotFinite { name: name.into() }),
        }
    }
}

/// The scales that codes stand for; `None` if the tables are too short, or a block has no size.
fn scales(codes: &[u8], outer: &[f32], map: &[f32], state: &State) -> Option<Vec<f32>> {
    if state.nested_blocksize == 0 {
        return None;
    }
    let scale = |(at, code): (usize, &u8)| {
        let outer = outer.get(at / state.nested_blocksize)?;
        Some(map.get(usize::from(*code))? * outer + state.nested_offset)
    };
    codes.iter().enumerate().map(scale).collect()
}

/// The elements of an f32 tensor.
fn floats(tensor: &TensorView<'_>) -> Option<Vec<f32>> {
    if tensor.dtype() != Dtype::F32 {
        return None;
    }
    let quads = tensor.data().chunks_exact(4);
    Some(quads.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}
