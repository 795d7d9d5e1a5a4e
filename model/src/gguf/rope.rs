//! How the rotary frequencies are stretched: by a factor of the metadata, or by a tensor of divisors.

use serde_json::{Value, json};

use super::{header::Header, keys::Keys, names};
use crate::Error;

/// How Llama 3 stretches its frequencies. Its files have the outcome as a tensor, and the numbers nowhere.
const LLAMA3: Llama3 = Llama3 { low: 1.0, high: 4.0, context: 8192.0 };

struct Llama3 {
    low: f64,
    high: f64,
    context: f64,
}

/// `rope_scaling` of `config.json`.
pub(super) fn scaling(
    keys: Keys<'_>,
    header: &Header<'_>,
    name: &str,
    (theta, head): (f64, u64),
) -> Result<Value, Error> {
    let key = |what: &str| format!("{name}.rope.{what}");
    let kind = keys.text(&key("scaling.type"))?;
    let factor = match keys.real(&key("scaling.factor"))? {
        Some(factor) => Some(factor),
        None => keys.real(&key("scale_linear"))?,
    };
    if kind == Some("yarn") {
        let original = keys.whole(&key("scaling.original_context_length"))?;
        return Ok(json!({
            "rope_type": "yarn",
            "factor": factor,
            "original_max_position_embeddings": original,
        }));
    }
    // A factor of nothing or one is none; one without a kind is linear, as in llama.cpp.
    let factor = factor.filter(|factor| *factor != 0.0 && *factor != 1.0);
    let linear = match (kind, factor) {
        // The divisors of a longrope are tensors, which the family reads.
        (Some("none" | "longrope"), _) | (Some("linear") | None, None) => None,
        (Some("linear") | None, Some(factor)) => Some(factor),
        (Some(other), _) => {
            return Err(keys.unsupported(
                &key("scaling.type"),
                other,
                "none, linear, yarn, longrope",
            ));
        }
    };
    let divisors = header.tensors.get(names::ROPE_DIVISORS);
    match (divisors, linear) {
        (None, None) => Ok(Value::Null),
        (None, Some(factor)) => Ok(json!({ "rope_type": "linear", "factor": factor })),
        (Some(tensor), None) => {
            let divisors = tensor.format.to_f32(tensor.bytes);
            LLAMA3.read(&divisors, theta, head).ok_or_else(|| {
                let supported = "the frequencies of Llama 3.1 to 3.3";
                keys.unsupported(names::ROPE_DIVISORS, "with other divisors", supported)
            })
        }
        (Some(_), Some(_)) => {
            Err(keys.unsupported(names::ROPE_DIVISORS, "beside a linear scaling", "one of them"))
        }
    }
}

impl Llama3 {
    /// The scaling whose divisors these are; `None` if they are those of no Llama 3.
    fn read(&self, divisors: &[f32], theta: f64, head: u64) -> Option<Value> {
        let factor = f64::from(*divisors.last()?);
        let close =
            |found: f32, expected: f64| (f64::from(found) - expected).abs() < 1e-4 * expected;
        let expected = |at: usize| {
            let wave = 2.0 * std::f64::consts::PI * theta.powf(2.0 * at as f64 / head as f64);
            if wave > self.context / self.low {
                factor
            } else if wave < self.context / self.high {
                1.0
            } else {
                let smooth = (self.context / wave - self.low) / (self.high - self.low);
                1.0 / ((1.0 - smooth) / factor + smooth)
            }
        };
        let same = divisors.len() as u64 * 2 == head
            && divisors.iter().enumerate().all(|(at, found)| close(*found, expected(at)));
        same.then(|| {
            json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": self.low,
                "high_freq_factor": self.high,
                "original_max_position_embeddings": self.context,
            })
        })
    }
}
