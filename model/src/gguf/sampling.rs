//! The metadata as the `generation_config.json` that Hugging Face has for the same model.

use serde_json::{Map, Value};

use super::keys::Keys;
use crate::Error;

/// GGUF's names and Hugging Face's.
const NUMBERS: [(&str, &str); 4] = [
    ("general.sampling.temp", "temperature"),
    ("general.sampling.top_p", "top_p"),
    ("general.sampling.min_p", "min_p"),
    ("general.sampling.penalty_repeat", "repetition_penalty"),
];
const TOP_K: &str = "general.sampling.top_k";

/// How the model's authors want tokens to be drawn; `None`: they do not say.
///
/// # Errors
/// A key is of another kind.
pub(super) fn generation(keys: Keys<'_>) -> Result<Option<Vec<u8>>, Error> {
    let mut file = Map::new();
    for (key, name) in NUMBERS {
        if let Some(number) = keys.real(key)? {
            file.insert(name.to_owned(), number.into());
        }
    }
    if let Some(count) = keys.whole(TOP_K)? {
        file.insert("top_k".to_owned(), count.into());
    }
    let text = (!file.is_empty()).then(|| Value::Object(file).to_string());
    Ok(text.map(String::into_bytes))
}

#[cfg(test)]
mod tests {
    use crate::ModelConfig;
    use crate::gguf::{Gguf, testing::llama};

    #[test]
    fn defaults_come_from_the_metadata() {
        let read = |bytes: &[u8]| {
            let gguf = Gguf::parse("x.gguf", bytes).unwrap();
            let generation = gguf.generation().unwrap();
            ModelConfig::parse(&gguf.config, generation.as_deref()).unwrap().sampling
        };
        let says = llama()
            .real("general.sampling.temp", 0.7)
            .whole("general.sampling.top_k", 20)
            .real("general.sampling.penalty_repeat", 1.05);
        let said = read(&says.finish());
        assert_eq!((said.temperature, said.top_k, said.repetition_penalty), (0.7, 20, 1.05));
        assert_eq!(read(&llama().finish()), hone_api::sampling::SamplingDefaults::default());
    }
}
