//! How base weights are stored.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The number format of the packed linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightFormat {
    /// 32-bit floats: the reference.
    F32,
    /// bfloat16; activations are rounded to bfloat16 in the products.
    Bf16,
    /// 8-bit integers, one scale for 64 inputs of one output; activations are rounded likewise.
    Q8,
    /// 4-bit codes of equal steps, a scale and a zero point for 32 inputs of one output; activations as with 8 bits.
    Q4,
}

impl WeightFormat {
    /// All formats, largest first.
    pub const ALL: [Self; 4] = [Self::F32, Self::Bf16, Self::Q8, Self::Q4];

    /// The name used in configuration and file names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        }
    }

    /// The format of the embedding and the output head: four bits are too few for them.
    #[must_use]
    pub fn for_head(self) -> Self {
        if self == Self::Q4 { Self::Q8 } else { self }
    }
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for WeightFormat {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|format| format.name() == text).ok_or_else(|| {
            crate::Error::Unsupported {
                what: format!("weight format {text:?}"),
                supported: "f32, bf16, q8, q4",
            }
        })
    }
}
