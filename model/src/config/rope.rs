//! Rotary positions, in the half-split form of Hugging Face (Su and others, *RoFormer*, 2021).

use serde::Serialize;
use serde_json::Value;

use super::keys::{invalid, unsupported};
use crate::Error;

/// Rotary positions of one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rotary {
    /// Base of the frequencies.
    pub theta: f32,
    /// How the frequencies are stretched for long contexts.
    pub scaling: RopeScaling,
    /// Elements of a head that are rotated, from the first; even.
    pub dims: usize,
}

/// How frequencies are stretched beyond the context of pre-training.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
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
    /// YaRN (Peng and others, 2023): a ramp over the frequencies, and larger queries and keys.
    Yarn {
        /// Divisor of the low frequencies.
        factor: f32,
        /// Rotations within the old context above which a frequency is kept.
        beta_fast: f32,
        /// Rotations within the old context below which a frequency is divided.
        beta_slow: f32,
        /// Context of pre-training.
        original_max_positions: f32,
        /// What cosines and sines are multiplied with.
        attention_factor: f32,
    },
    /// Phi-3's LongRoPE: one divisor a frequency. Those for short texts are used, so that the context ends where
    /// transformers would switch to the others.
    LongRope {
        /// The divisors.
        short_factors: Vec<f32>,
        /// Context of pre-training.
        original_max_positions: usize,
        /// What cosines and sines are multiplied with.
        attention_factor: f32,
    },
}

/// One way to write rope's parameters: an object of `config.json`.
struct Parameters<'a>(&'a Value);

impl Parameters<'_> {
    fn number(&self, key: &str) -> Result<Option<f32>, Error> {
        let Some(value) = self.0.get(key).filter(|value| !value.is_null()) else { return Ok(None) };
        match value.as_f64().map(|v| v as f32) {
            Some(number) if number.is_finite() && number > 0.0 => Ok(Some(number)),
            _ => {
                Err(invalid(format!("{key:?} of the rope scaling is {value}; it must be above 0")))
            }
        }
    }

    fn need(&self, key: &str) -> Result<f32, Error> {
        self.number(key)?.ok_or_else(|| invalid(format!("rope scaling lacks the number {key:?}")))
    }

    /// As many divisors as frequencies.
    fn factors(&self, key: &str, count: usize) -> Result<Vec<f32>, Error> {
        let list = self.0.get(key).and_then(Value::as_array);
        let factors: Option<Vec<f32>> = list.and_then(|list| {
            list.iter().map(|v| v.as_f64().map(|v| v as f32).filter(|v| *v > 0.0)).collect()
        });
        factors.filter(|factors| factors.len() == count).ok_or_else(|| {
            invalid(format!("{key:?} of the rope scaling must have {count} numbers above 0"))
        })
    }
}

impl RopeScaling {
    /// Reads `rope_scaling` or `rope_parameters`, for a model of `max_positions` that rotates `dims` of each head.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another kind, [`Error::Invalid`] if a factor is missing.
    pub(crate) fn parse(
        value: Option<&Value>,
        dims: usize,
        (max_positions, original): (usize, Option<usize>),
    ) -> Result<Self, Error> {
        let Some(value) = value.filter(|v| !v.is_null()) else { return Ok(Self::None) };
        let kind = value.get("rope_type").or_else(|| value.get("type")).and_then(Value::as_str);
        let given = Parameters(value);
        let original = || {
            let stated = given.number("original_max_position_embeddings")?;
            Ok::<_, Error>(stated.unwrap_or(original.unwrap_or(max_positions) as f32))
        };
        match kind.unwrap_or("default") {
            // The dynamic kind changes nothing within the context that the configuration states.
            "default" | "dynamic" => Ok(Self::None),
            "linear" => Ok(Self::Linear { factor: given.need("factor")? }),
            "llama3" => {
                let (low, high) = (given.need("low_freq_factor")?, given.need("high_freq_factor")?);
                // The ramp between them would divide by zero.
                if high <= low {
                    let reason =
                        format!("high_freq_factor {high} must be above low_freq_factor {low}");
                    return Err(invalid(reason));
                }
                Ok(Self::Llama3 {
                    factor: given.need("factor")?,
                    low_freq_factor: low,
                    high_freq_factor: high,
                    original_max_positions: given.need("original_max_position_embeddings")?,
                })
            }
            "yarn" => {
                let factor = given.need("factor")?;
                let scale =
                    |by: f32| if factor <= 1.0 { 1.0 } else { 0.1 * by * factor.ln() + 1.0 };
                let attention_factor = match (
                    given.number("attention_factor")?,
                    given.number("mscale")?,
                    given.number("mscale_all_dim")?,
                ) {
                    (Some(stated), ..) => stated,
                    (None, Some(one), Some(all)) => scale(one) / scale(all),
                    _ => scale(1.0),
                };
                Ok(Self::Yarn {
                    factor,
                    beta_fast: given.number("beta_fast")?.unwrap_or(32.0),
                    beta_slow: given.number("beta_slow")?.unwrap_or(1.0),
                    original_max_positions: original()?,
                    attention_factor,
                })
            }
            "longrope" | "su" => {
                let original = original()?;
                let factor = max_positions as f32 / original;
                let attention_factor = match given.number("attention_factor")? {
                    Some(stated) => stated,
                    None if factor <= 1.0 => 1.0,
                    None => (1.0 + factor.ln() / original.ln()).sqrt(),
                };
                Ok(Self::LongRope {
                    short_factors: given.factors("short_factor", dims / 2)?,
                    original_max_positions: original as usize,
                    attention_factor,
                })
            }
            other => Err(unsupported(
                format!("rope scaling {other:?}"),
                "default, linear, dynamic, llama3, yarn, longrope",
            )),
        }
    }

    /// The context beyond which other frequencies would be needed.
    pub(crate) fn longest_context(&self) -> Option<usize> {
        match self {
            Self::LongRope { original_max_positions, .. } => Some(*original_max_positions),
            _ => None,
        }
    }

    /// What cosines and sines are multiplied with.
    fn attention_factor(&self) -> f32 {
        match self {
            Self::Yarn { attention_factor, .. } | Self::LongRope { attention_factor, .. } => {
                *attention_factor
            }
            _ => 1.0,
        }
    }

    /// Frequency `index` of a rotation, stretched.
    fn apply(&self, index: usize, frequency: f32, rotary: &Rotary) -> f32 {
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
            Self::Yarn { factor, beta_fast, beta_slow, original_max_positions, .. } => {
                let dims = rotary.dims as f32;
                // The frequency that turns so many times within the old context.
                let place = |turns: f32| {
                    let waves = original_max_positions / (turns * 2.0 * std::f32::consts::PI);
                    dims * waves.ln() / (2.0 * rotary.theta.ln())
                };
                let low = place(*beta_fast).floor().max(0.0);
                let high = place(*beta_slow).ceil().min(dims - 1.0);
                let width = if high > low { high - low } else { 0.001 };
                let divided = ((index as f32 - low) / width).clamp(0.0, 1.0);
                frequency / factor * divided + frequency * (1.0 - divided)
            }
            Self::LongRope { short_factors, .. } => frequency / short_factors[index],
        }
    }
}

/// The inverse frequencies of one kind of rotation.
#[derive(Debug, Clone)]
pub(crate) struct Rope {
    inverse: Vec<f32>,
    factor: f32,
}

impl Rope {
    pub(crate) fn new(rotary: &Rotary) -> Self {
        let inverse = (0..rotary.dims / 2)
            .map(|i| {
                let base = 1.0 / rotary.theta.powf((2 * i) as f32 / rotary.dims as f32);
                rotary.scaling.apply(i, base, rotary)
            })
            .collect();
        Self { inverse, factor: rotary.scaling.attention_factor() }
    }

    /// Cosines and sines for the positions of a step's rows, `[rows, dims / 2]` each, in place of what was there.
    pub(crate) fn angles(
        &self,
        positions: impl Iterator<Item = usize>,
        (cosines, sines): (&mut Vec<f32>, &mut Vec<f32>),
    ) {
        cosines.clear();
        sines.clear();
        for position in positions {
            for inverse in &self.inverse {
                let (sin, cos) = (position as f32 * inverse).sin_cos();
                cosines.push(cos * self.factor);
                sines.push(sin * self.factor);
            }
        }
    }
}
