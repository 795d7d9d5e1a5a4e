//! In how many bits mistralrs holds a model's weights.

use hone_model::Foreign;

use crate::Error;

/// Of the memory, weights in 8 bits may take one part in so many before 4 are chosen.
const SHARE: u64 = 4;

/// In how many bits the weights are held. Embeddings stay in f32 in all forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightForm {
    /// 32-bit floats.
    F32,
    /// Blocks of 32 with an 8-bit whole number for each weight (GGUF's Q8_0).
    Q8,
    /// Blocks of 32 with 4 bits for each (GGUF's Q4_0).
    Q4,
}

impl WeightForm {
    /// What `model.weights` calls it; `auto` is 8 bits where that takes at most a quarter of `memory`, else 4.
    ///
    /// # Errors
    /// [`Error::Form`] for another form.
    pub fn choose(name: &str, model: &Foreign, memory: u64) -> Result<Self, Error> {
        match name {
            "f32" => Ok(Self::F32),
            "q8" => Ok(Self::Q8),
            "q4" => Ok(Self::Q4),
            "auto" if Self::Q8.bytes(model) <= memory / SHARE => Ok(Self::Q8),
            "auto" => Ok(Self::Q4),
            other => Err(Error::Form(other.to_owned())),
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        }
    }

    /// Bytes of a model's weights.
    #[must_use]
    pub fn bytes(self, model: &Foreign) -> u64 {
        model.tensors.iter().map(|(name, shape)| self.bytes_of(name, shape)).sum()
    }

    fn bytes_of(self, name: &str, shape: &[usize]) -> u64 {
        let numbers = shape.iter().map(|size| *size as u64).product::<u64>();
        let is_packed = shape.len() >= 2 && !name.contains("embed");
        match self {
            Self::Q8 if is_packed => numbers.div_ceil(32) * 34,
            Self::Q4 if is_packed => numbers.div_ceil(32) * 18,
            _ => numbers * 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_are_packed_and_the_rest_is_not() {
        assert_eq!(WeightForm::Q8.bytes_of("model.layers.0.mlp.fc1.weight", &[64, 32]), 64 * 34);
        assert_eq!(WeightForm::Q4.bytes_of("model.layers.0.mlp.fc1.weight", &[64, 32]), 64 * 18);
        assert_eq!(WeightForm::F32.bytes_of("model.layers.0.mlp.fc1.weight", &[64, 32]), 64 * 128);
        assert_eq!(WeightForm::Q4.bytes_of("model.layers.0.mlp.fc1.bias", &[64]), 256);
        assert_eq!(WeightForm::Q4.bytes_of("model.embed_tokens.weight", &[64, 32]), 64 * 128);
    }
}
