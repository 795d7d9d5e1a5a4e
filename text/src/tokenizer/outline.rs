//! What can be told of a `tokenizer.json` before it is built: how far its ids go, how much its normalizers make of a text, and
//! how large its patterns become.
//!
//! Building it follows the file to whatever it asks for; so this reads only the outline, and leaves the vocabulary where it is.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::fewest::parts;
use crate::Error;

/// Ids are below this; the largest vocabularies have a few hundred thousand.
const IDS: u32 = 1 << 22;
/// Bytes that the normalizers may make of one byte. Compatibility forms make 11 at most, SentencePiece's space makes 3.
const GROWTH: usize = 256;
/// Bytes of one pattern, and of what it is when its counted repeats are written out.
const PATTERN: usize = 64 << 10;

#[derive(Deserialize)]
struct Outline {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    decoder: Value,
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    model: Vocabulary,
}

#[derive(Deserialize)]
struct Added {
    id: u64,
    content: String,
}

#[derive(Default, Deserialize)]
struct Vocabulary {
    #[serde(default)]
    vocab: Ids,
}

/// A vocabulary by text, or a list, whose places are the ids.
#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    ByText(BTreeMap<String, u64>),
    Listed(Vec<serde::de::IgnoredAny>),
}

impl Default for Ids {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

/// Refuses what cannot be built or used within bounds. The bytes that the normalizers make of one byte of text at most.
///
/// # Errors
/// [`Error::Tokenizer`], with the name of the part.
pub(super) fn check(json: &[u8]) -> Result<usize, Error> {
    let refuse = |message: String| Err(Error::Tokenizer(message));
    let outline: Outline = serde_json::from_slice(json)
        .map_err(|error| Error::Tokenizer(format!("tokenizer.json does not parse: {error}")))?;
    let added = outline.added_tokens.iter().map(|token| (token.content.as_str(), token.id));
    let (by_text, listed) = match &outline.model.vocab {
        Ids::ByText(vocab) => (Some(vocab), 0),
        Ids::Listed(list) => (None, list.len()),
    };
    let by_text = by_text.into_iter().flatten().map(|(text, id)| (text.as_str(), *id));
    if let Some((text, id)) = by_text.chain(added).find(|(_, id)| *id >= u64::from(IDS)) {
        return refuse(format!(
            "tokenizer.json gives the token `{text:.40}` the id {id}; ids are below {IDS}"
        ));
    }
    if listed >= IDS as usize {
        return refuse(format!("tokenizer.json lists {listed} tokens; at most {IDS} are taken"));
    }
    for (part, value) in [
        ("normalizer", &outline.normalizer),
        ("pre_tokenizer", &outline.pre_tokenizer),
        ("decoder", &outline.decoder),
    ] {
        check_patterns(part, value)?;
    }
    let growth = parts(&outline.normalizer)
        .into_iter()
        .try_fold(1usize, |growth, part| Ok::<_, Error>(growth.saturating_mul(growth_of(part)?)))?;
    if growth > GROWTH {
        return refuse(format!(
            "the normalizer of tokenizer.json may make {growth} bytes of one; at most {GROWTH} are \
             taken"
        ));
    }
    Ok(growth)
}

/// Bytes that one normalizer makes of one byte at most, rounded up.
fn growth_of(part: &Value) -> Result<usize, Error> {
    let length = |key: &str| part[key].as_str().map_or(0, str::len);
    Ok(match part["type"].as_str().unwrap_or_default() {
        // One may stand before each byte that is not part of an added token.
        "Prepend" => 1 + length("prepend"),
        "Replace" => match part["pattern"]["String"].as_str() {
            Some("") | None => 1 + length("content"),
            Some(pattern) => length("content").div_ceil(pattern.len()).max(1),
        },
        // U+FDFA, three bytes, becomes 33.
        "NFKC" | "NFKD" => 11,
        "Precompiled" => longest_replacement(length_checked(part)?)?,
        "NFC" | "NFD" | "Lowercase" | "BertNormalizer" => 3,
        "ByteLevel" => 2,
        _ => 1,
    })
}

fn length_checked(part: &Value) -> Result<&str, Error> {
    part["precompiled_charsmap"].as_str().ok_or_else(|| {
        Error::Tokenizer("the normalizer Precompiled has no precompiled_charsmap".to_owned())
    })
}

/// SentencePiece's table of replacements: the length of a trie, the trie, and the texts with zeros between them.
fn longest_replacement(base64: &str) -> Result<usize, Error> {
    use base64::Engine as _;
    let bad = || Error::Tokenizer("precompiled_charsmap of tokenizer.json is damaged".to_owned());
    let table = base64::engine::general_purpose::STANDARD.decode(base64).map_err(|_| bad())?;
    if table.is_empty() {
        return Ok(1);
    }
    let (length, rest) = table.split_first_chunk::<4>().ok_or_else(bad)?;
    let texts = rest.get(u32::from_le_bytes(*length) as usize..).ok_or_else(bad)?;
    Ok(texts.split(|byte| *byte == 0).map(<[u8]>::len).max().unwrap_or(0).max(1))
}

/// A repeat that is counted is written out when a pattern is built, each inside of the other.
fn check_patterns(part: &str, value: &Value) -> Result<(), Error> {
    match value {
        Value::Object(object) => object.iter().try_for_each(|(key, value)| match value {
            Value::String(pattern) if key == "Regex" => {
                if written_out(pattern) > PATTERN {
                    return Err(Error::Tokenizer(format!(
                        "a pattern of the {part} in tokenizer.json is too large: `{pattern:.60}`"
                    )));
                }
                Ok(())
            }
            value => check_patterns(part, value),
        }),
        Value::Array(list) => list.iter().try_for_each(|value| check_patterns(part, value)),
        _ => Ok(()),
    }
}

/// The length of a pattern, times all numbers in its braces, as if each repeat held all others.
fn written_out(pattern: &str) -> usize {
    let counts = pattern.split('{').skip(1).filter_map(|rest| {
        let (inside, _) = rest.split_once('}')?;
        inside.split(',').filter_map(|count| count.trim().parse::<usize>().ok()).max()
    });
    counts.fold(pattern.len(), |length, count| length.saturating_mul(count.max(1)))
}
