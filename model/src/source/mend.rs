//! What transformers reads from several files, put where Hone reads it: tokens that only `tokenizer_config.json` or
//! `added_tokens.json` names, and the tokenizer's end token.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{Error, small_files::SmallFiles};

/// The part of `tokenizer.json` that tells which tokens are found in a text before anything else.
#[derive(Deserialize)]
struct Outline {
    #[serde(default)]
    added_tokens: Vec<Added>,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
}

/// Brings the files of a folder in line; `added_tokens` is the content of `added_tokens.json`.
///
/// # Errors
/// A file is no JSON, or two of them give one id to two tokens.
pub(super) fn mend(small: &mut SmallFiles, added_tokens: Option<&[u8]>) -> Result<(), Error> {
    let config: Value = parse("tokenizer_config.json", &small.tokenizer_config)?;
    let outline: Outline = parse("tokenizer.json", &small.tokenizer)?;
    let known: BTreeMap<u32, &str> =
        outline.added_tokens.iter().map(|token| (token.id, token.content.as_str())).collect();
    let named = named(&config, added_tokens)?;
    for (id, token) in &named {
        if let (Some(other), Some(content)) = (known.get(id), token["content"].as_str())
            && *other != content
        {
            return Err(Error::invalid(
                "tokenizer_config.json",
                format!(
                    "token {id} is {content:?}, and {other:?} in tokenizer.json; copy both files from one place"
                ),
            ));
        }
    }
    let missing: Vec<Value> = named
        .iter()
        .filter(|(id, _)| !known.contains_key(id))
        .map(|(_, token)| token.clone())
        .collect();
    let end = end_token(&config).and_then(|text| {
        let of_file = known.iter().find(|(_, content)| **content == text).map(|(id, _)| *id);
        let of_config = named.iter().find(|(_, token)| token["content"] == text).map(|(id, _)| *id);
        of_file.or(of_config)
    });
    if let Some(end) = end {
        add_end(small, end)?;
    }
    if !missing.is_empty() {
        let mut tokenizer: Value = parse("tokenizer.json", &small.tokenizer)?;
        if let Some(list) = tokenizer.get_mut("added_tokens").and_then(Value::as_array_mut) {
            list.extend(missing);
            // Their order is that of their ids.
            list.sort_by_key(|token| token["id"].as_u64());
        } else {
            tokenizer["added_tokens"] = missing.into();
        }
        small.tokenizer =
            serde_json::to_vec(&tokenizer).map_err(|e| Error::invalid("tokenizer.json", e))?;
    }
    Ok(())
}

fn parse<'a, T: Deserialize<'a>>(name: &str, bytes: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|e| Error::invalid(name, e))
}

/// Tokens that the other two files name, by id, as `tokenizer.json` has them.
fn named(config: &Value, added_tokens: Option<&[u8]>) -> Result<BTreeMap<u32, Value>, Error> {
    let mut named = BTreeMap::new();
    if let Some(bytes) = added_tokens {
        let ids: Map<String, Value> = parse("added_tokens.json", bytes)?;
        for (content, id) in &ids {
            if let Some(id) = id.as_u64().and_then(|id| u32::try_from(id).ok()) {
                named.insert(id, token(id, &json!({ "content": content, "special": false })));
            }
        }
    }
    let decoder = config.get("added_tokens_decoder").and_then(Value::as_object);
    for (id, said) in decoder.into_iter().flatten() {
        if let (Ok(id), Some(_)) = (id.parse(), said["content"].as_str()) {
            named.insert(id, token(id, said));
        }
    }
    Ok(named)
}

fn token(id: u32, said: &Value) -> Value {
    let flag = |name: &str| said[name].as_bool().unwrap_or(false);
    json!({
        "id": id, "content": said["content"], "single_word": flag("single_word"), "lstrip": flag("lstrip"),
        "rstrip": flag("rstrip"), "normalized": flag("normalized"), "special": flag("special"),
    })
}

/// The text of the tokenizer's end token.
fn end_token(config: &Value) -> Option<&str> {
    let stated = config.get("eos_token")?;
    stated.as_str().or_else(|| stated["content"].as_str())
}

/// Lets the token end answers beside those of the model's own files.
fn add_end(small: &mut SmallFiles, end: u32) -> Result<(), Error> {
    let ends = |file: &Value| match file.get("eos_token_id") {
        Some(Value::Array(list)) => list.clone(),
        Some(Value::Null) | None => Vec::new(),
        Some(one) => vec![one.clone()],
    };
    let config: Value = parse("config.json", &small.config)?;
    let mut generation: Value = match &small.generation {
        Some(bytes) => parse("generation_config.json", bytes)?,
        None => json!({}),
    };
    let mut stated = ends(&generation);
    if stated.iter().chain(&ends(&config)).any(|id| *id == end) || !generation.is_object() {
        return Ok(());
    }
    stated.push(end.into());
    generation["eos_token_id"] = stated.into();
    small.generation = Some(
        serde_json::to_vec(&generation).map_err(|e| Error::invalid("generation_config.json", e))?,
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelConfig;
    use hone_text::Tokenizer;

    fn files(tokenizer_config: Value) -> SmallFiles {
        let read = |name: &str| {
            let starter = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("starter");
            fs_err::read(starter.join(name)).unwrap()
        };
        SmallFiles {
            config: read("config.json"),
            generation: None,
            tokenizer: read("tokenizer.json"),
            tokenizer_config: tokenizer_config.to_string().into_bytes(),
        }
    }

    #[test]
    fn tokens_that_only_the_other_files_name_are_found_in_a_text() {
        let added = json!({ "4096": { "content": "<|turn|>", "special": true } });
        let mut small = files(json!({ "added_tokens_decoder": added }));
        mend(&mut small, Some(br#"{"<|turn_end|>": 4097}"#)).unwrap();
        let tokenizer = Tokenizer::from_bytes(&small.tokenizer).unwrap();
        assert_eq!(tokenizer.encode("<|turn|><|turn_end|>", false).unwrap(), [4096, 4097]);
    }

    #[test]
    fn the_tokenizers_end_token_ends_answers_too() {
        let ends = |tokenizer_config: Value| {
            let mut small = files(tokenizer_config);
            small.config = String::from_utf8(small.config)
                .unwrap()
                .replace("\"eos_token_id\": 2", "\"eos_token_id\": 0")
                .into_bytes();
            mend(&mut small, None).unwrap();
            ModelConfig::parse(&small.config, small.generation.as_deref()).unwrap().eos_token_ids
        };
        assert_eq!(ends(json!({ "eos_token": "<|im_end|>" })), [0, 2]);
        assert_eq!(ends(json!({ "eos_token": { "content": "<|im_end|>" } })), [0, 2]);
        assert_eq!(ends(json!({})), [0]);
    }

    #[test]
    fn files_that_agree_stay_as_they_are() {
        let whole = fs_err::read(
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("starter/tokenizer_config.json"),
        );
        let mut small = files(serde_json::from_slice(&whole.unwrap()).unwrap());
        let tokenizer = small.tokenizer.clone();
        mend(&mut small, None).unwrap();
        assert!(small.tokenizer == tokenizer && small.generation.is_none());
    }

    #[test]
    fn one_id_of_two_tokens_is_refused() {
        let added = json!({ "2": { "content": "<|other|>" } });
        let error = mend(&mut files(json!({ "added_tokens_decoder": added })), None).unwrap_err();
        assert!(error.to_string().contains("<|other|>"), "{error}");
    }
}
