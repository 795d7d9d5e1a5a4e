//! Rotary positions, in the half-split form of Hugging Face's Llama.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, ModelConfig};

/// How frequencies are stretched beyond the context of pre-training.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub enum RopeScaling {
    /// Not at all.
    #[default]
    None,
    /// All frequencies divided by a factor.
    Linear {
        /// The divisor.
        factor: f32,
    },
    /// Llama 3.1: low frequencies divided, high ones kept, a ramp in between.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f32,
        /// Waves longer than the old context over this are low.
        low_freq_factor: f32,
        /// Waves shorter than the old context over this are high.
        high_freq_factor: f32,
        /// Context of pre-training.
        original_max_positions: f32,
    },
}

impl RopeScaling {
    /// Reads `rope_scaling` or `rope_parameters`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another kind, [`Error::Invalid`] if a factor is missing.
    pub(crate) fn parse(value: Option<&Value>) -> Result<Self, Error> {
        let Some(value) = value.filter(|v| !v.is_null()) else { return Ok(Self::None) };
        let kind = value.get("rope_type").or_else(|| value.get("type")).and_then(Value::as_str);
        let number = |key: &str| {
            let found = value.get(key).and_then(Value::as_f64).map(|v| v as f32);
            match found {
                Some(number) if number.is_finite() && number > 0.0 => Ok(number),
                Some(number) => Err(Error::invalid(
                    "config.json",
                    format!("{key:?} of the rope scaling is {number}; it must be above 0"),
                )),
                None => Err(Error::invalid(
                    "config.json",
                    format!("rope scaling lacks the number {key:?}"),
                )),
            }
        };
        match kind.unwrap_or("default") {
            "default" => Ok(Self::None),
            "linear" => Ok(Self::Linear { factor: number("factor")? }),
            "llama3" => {
                let (low, high) = (number("low_freq_factor")?, number("high_freq_factor")?);
                // The ramp between them would divide by zero.
                if high <= low {
                    let reason =
                        format!("high_freq_factor {high} must be above low_freq_factor {low}");
                    return Err(Error::invalid("config.json", reason));
                }
                Ok(Self::Llama3 {
                    factor: number("factor")?,
                    low_freq_factor: low,
                    high_freq_factor: high,
                    original_max_positions: number("original_max_position_embeddings")?,
                })
            }
            other => Err(Error::Unsupported {
                what: format!("rope scaling {other:?}"),
                supported: "default, linear, llama3".into(),
            }),
        }
    }

    fn apply(self, frequency: f32) -> f32 {
        match self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions } => {
                let wave = 2.0 * std::f32::consts::PI / frequency;
                if wave > original_max_positions / low_freq_factor {
                    return frequency / factor;
                }
                if wave < original_max_positions / high_freq_factor {
                    return frequency;
                }
                let smooth = (original_max_positions / wave - low_freq_factor)
                    / (high_freq_factor - low_freq_factor);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
        }
    }
}

/// The inverse frequencies of one head.
#[derive(Debug, Clone)]
pub(crate) struct Rope {
    inverse: Vec<f32>,
}

/// Cosines and sines of the rows of one step: `[rows, head_dim / 2]` each.
#[derive(Debug, Default)]
pub(crate) struct Angles {
    /// Cosines.
    pub(crate) cos: Vec<f32>,
    /// Sines.
    pub(crate) sin: Vec<f32>,
}

impl Rope {
    pub(crate) fn new(config: &ModelConfig) -> Self {
        let dim = config.head_dim;
        let inverse = (0..dim / 2)
            .map(|i| {
                let base = 1.0 / config.rope_theta.powf((2 * i) as f32 / dim as f32);
                config.rope_scaling.apply(base)
            })
            .collect();
        Self { inverse }
    }

    /// Fills the angles for the positions of a step's rows.
    pub(crate) fn angles(&self, positions: impl Iterator<Item = usize>, out: &mut Angles) {
        out.cos.clear();
        out.sin.clear();
        for position in positions {
            for inverse in &self.inverse {
                let (sin, cos) = (position as f32 * inverse).sin_cos();
                out.cos.push(cos);
                out.sin.push(sin);
            }
        }
    }
}

/// Rotates all heads of one row in place; `cos` and `sin` are the row's angles.
pub(crate) fn rotate(row: &mut [f32], cos: &[f32], sin: &[f32]) {
    let half = cos.len();
    for head in row.chunks_exact_mut(2 * half) {
        let (low, high) = head.split_at_mut(half);
        for (((a, b), c), s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
            let (x, y) = (*a, *b);
            *a = x * c - y * s;
            *b = y * c + x * s;
        }
    }
}
