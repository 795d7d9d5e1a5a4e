//! `generation_config.json`: how its authors want a model's tokens to be drawn.

use hone_api::sampling::SamplingDefaults;
use serde_json::Value;

use crate::Error;

/// The file's name, for refusals.
pub(crate) const FILE: &str = "generation_config.json";

/// What the file says; for what it leaves out, or says with null, the usual default.
///
/// # Errors
/// [`Error::Invalid`] names the key whose value cannot be.
pub(crate) fn defaults(file: &Value) -> Result<SamplingDefaults, Error> {
    let usual = SamplingDefaults::default();
    let number = |key: &str, low: f64, high: f64| match file.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64().filter(|number| (low..=high).contains(number)) {
            #[allow(clippy::cast_possible_truncation)] // small numbers
            Some(number) => Ok(Some(number as f32)),
            None => {
                let reason = format!("{key} is {value}; it must be a number from {low} to {high}");
                Err(Error::invalid(FILE, reason))
            }
        },
    };
    let do_sample = match file.get("do_sample") {
        None | Some(Value::Null) => true,
        Some(value) => value.as_bool().ok_or_else(|| {
            Error::invalid(FILE, format!("do_sample is {value}; it must be true or false"))
        })?,
    };
    let temperature = number("temperature", 0.0, 100.0)?;
    Ok(SamplingDefaults {
        do_sample,
        temperature: if do_sample { temperature.unwrap_or(usual.temperature) } else { 0.0 },
        top_p: number("top_p", 0.0, 1.0)?.unwrap_or(usual.top_p),
        top_k: top_k(file)?.unwrap_or(usual.top_k),
        min_p: number("min_p", 0.0, 1.0)?.unwrap_or(usual.min_p),
        repetition_penalty: number("repetition_penalty", 0.01, 100.0)?
            .unwrap_or(usual.repetition_penalty),
    })
}

/// 0 and -1 keep all.
fn top_k(file: &Value) -> Result<Option<u32>, Error> {
    match file.get("top_k") {
        None | Some(Value::Null) => Ok(None),
        Some(value) if value.as_i64() == Some(-1) => Ok(Some(0)),
        Some(value) => {
            let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
            count.map(Some).ok_or_else(|| {
                Error::invalid(FILE, format!("top_k is {value}; it must be a whole number"))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_file_says_holds_and_the_rest_is_as_usual() {
        let usual = SamplingDefaults::default();
        assert_eq!(defaults(&json!({})).unwrap(), usual);
        assert_eq!(defaults(&json!({"temperature": null, "top_k": -1})).unwrap(), usual);
        let qwen = json!({"do_sample": true, "temperature": 0.7, "top_p": 0.8, "top_k": 20,
            "repetition_penalty": 1.05});
        let expected = SamplingDefaults {
            temperature: 0.7,
            top_p: 0.8,
            top_k: 20,
            repetition_penalty: 1.05,
            ..usual
        };
        assert_eq!(defaults(&qwen).unwrap(), expected);
        let greedy = defaults(&json!({"do_sample": false, "temperature": 0.6})).unwrap();
        assert_eq!((greedy.do_sample, greedy.temperature), (false, 0.0));
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (file, key) in [
            (json!({"temperature": -1}), "temperature"),
            (json!({"top_p": 1.5}), "top_p"),
            (json!({"top_k": 2.5}), "top_k"),
            (json!({"do_sample": "no"}), "do_sample"),
            (json!({"repetition_penalty": 0}), "repetition_penalty"),
        ] {
            let error = defaults(&file).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(FILE), "{error}");
        }
    }
}
