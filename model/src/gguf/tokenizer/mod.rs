//! The metadata as the `tokenizer.json` and `tokenizer_config.json` that Hugging Face has for the same model.

mod byte_level;
mod pre;
mod sentencepiece;

use serde_json::{Map, Value, json};

use super::{config::is_end, header::Header, keys::Keys};
use crate::Error;

const MODEL: &str = "tokenizer.ggml.model";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";

/// Tokens of the largest vocabulary that is read; there are models with a quarter of it.
const VOCABULARY: usize = 1 << 20;
/// Bytes of one token; the longest that are known have some hundred.
const TOKEN: usize = 1 << 10;

/// Keys of `tokenizer.ggml.` that are understood, or do not change how a text is cut.
const KNOWN: [&str; 31] = [
    "model",
    "pre",
    "tokens",
    "token_type",
    "token_type_count",
    "scores",
    "merges",
    "bos_token_id",
    "eos_token_id",
    "eot_token_id",
    "eom_token_id",
    "unknown_token_id",
    "padding_token_id",
    "separator_token_id",
    "seperator_token_id",
    "mask_token_id",
    "cls_token_id",
    "prefix_token_id",
    "suffix_token_id",
    "middle_token_id",
    "fim_pre_token_id",
    "fim_suf_token_id",
    "fim_mid_token_id",
    "fim_pad_token_id",
    "fim_rep_token_id",
    "fim_sep_token_id",
    "add_bos_token",
    "add_eos_token",
    "add_sep_token",
    "add_space_prefix",
    "remove_extra_whitespaces",
];

/// What a token is. The discriminant is GGUF's number for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// The tokens of a file, by id.
struct Vocabulary {
    texts: Vec<String>,
    kinds: Vec<Kind>,
}

impl Vocabulary {
    fn read(keys: Keys<'_>) -> Result<Self, Error> {
        let tokens = keys.need(TOKENS, keys.texts(TOKENS)?)?;
        let mut texts = Vec::new();
        for (id, text) in tokens.enumerate() {
            let text =
                text.ok_or_else(|| keys.wrong(TOKENS, &format!("token {id} is not UTF-8")))?;
            if id >= VOCABULARY || text.len() > TOKEN {
                let reason =
                    format!("more than {VOCABULARY} tokens, or {TOKEN} bytes in token {id}");
                return Err(keys.wrong(TOKENS, &reason));
            }
            // Several may be empty, and no text has them.
            texts.push(if text.is_empty() { format!("[EMPTY_{id}]") } else { text.to_owned() });
        }
        let numbers = keys.need(TYPES, keys.integers(TYPES)?)?;
        let mut kinds = numbers.take(texts.len() + 1).map(kind_of).collect::<Vec<_>>();
        if kinds.len() != texts.len() {
            let reason = format!("it is not as long as the {} tokens", texts.len());
            return Err(keys.wrong(TYPES, &reason));
        }
        for (kind, text) in kinds.iter_mut().zip(&texts) {
            if is_end(text) {
                *kind = Kind::Control;
            }
        }
        Ok(Self { texts, kinds })
    }

    /// By text; no text has two ids.
    fn ids(&self, keys: Keys<'_>) -> Result<Map<String, Value>, Error> {
        let mut ids = Map::new();
        for (id, text) in self.texts.iter().enumerate() {
            if ids.insert(text.clone(), id.into()).is_some() {
                return Err(keys.wrong(TOKENS, &format!("{text:?} is there twice")));
            }
        }
        Ok(ids)
    }

    /// Tokens that are found in a text before anything else; those that steer the model are special.
    fn added(&self) -> Vec<Value> {
        let tokens = self.texts.iter().zip(&self.kinds).enumerate();
        let added = tokens.filter_map(|(id, (text, kind))| {
            let special = match kind {
                Kind::Control | Kind::Unknown => true,
                Kind::UserDefined => false,
                Kind::Normal | Kind::Unused | Kind::Byte => return None,
            };
            Some(json!({
                "id": id, "content": text, "special": special,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            }))
        });
        added.collect()
    }

    /// The text of the token that a key names by its id.
    fn named(&self, keys: Keys<'_>, name: &str) -> Result<Option<&str>, Error> {
        let key = format!("tokenizer.ggml.{name}_token_id");
        let Some(id) = keys.whole(&key)? else { return Ok(None) };
        let text = usize::try_from(id).ok().and_then(|id| self.texts.get(id));
        let text = text.ok_or_else(|| keys.wrong(&key, &format!("there is no token {id}")))?;
        Ok(Some(text))
    }
}

fn kind_of(number: i128) -> Kind {
    match number {
        2 => Kind::Unknown,
        3 => Kind::Control,
        4 => Kind::UserDefined,
        5 => Kind::Unused,
        6 => Kind::Byte,
        _ => Kind::Normal,
    }
}

/// The parts of a `tokenizer.json` in which the two kinds of tokenizers differ.
struct Parts {
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    model: Value,
    /// Whether a text begins with the first token where the file does not say.
    begins: bool,
}

/// The contents of `tokenizer.json` and `tokenizer_config.json`.
///
/// # Errors
/// The file lacks a part, or its tokenizer is none that this build knows.
pub(super) fn of(file: &str, header: &Header<'_>) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let keys = Keys { file, metadata: &header.metadata };
    keys.only("tokenizer.ggml.", &KNOWN)?;
    let vocabulary = Vocabulary::read(keys)?;
    let parts = match keys.need(MODEL, keys.text(MODEL)?)? {
        "gpt2" => byte_level::parts(keys, &vocabulary)?,
        "llama" => sentencepiece::parts(keys, &vocabulary)?,
        other => return Err(keys.unsupported(MODEL, other, "gpt2, llama")),
    };
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": vocabulary.added(),
        "normalizer": parts.normalizer,
        "pre_tokenizer": parts.pre_tokenizer,
        "post_processor": ends(keys, &vocabulary, parts.begins)?,
        "decoder": parts.decoder,
        "model": parts.model,
    });
    let mut config = Map::new();
    if let Some(template) = keys.text("tokenizer.chat_template")? {
        config.insert("chat_template".into(), template.into());
    }
    for (name, key) in [
        ("bos_token", "bos"),
        ("eos_token", "eos"),
        ("unk_token", "unknown"),
        ("pad_token", "padding"),
    ] {
        if let Some(text) = vocabulary.named(keys, key)? {
            config.insert(name.into(), text.into());
        }
    }
    let bytes = |value: &Value| serde_json::to_vec(value).map_err(|e| Error::invalid(file, e));
    Ok((bytes(&tokenizer)?, bytes(&Value::Object(config))?))
}

/// What is put before and after a text that is no chat.
fn ends(keys: Keys<'_>, vocabulary: &Vocabulary, begins: bool) -> Result<Value, Error> {
    let asked = |name: &str, otherwise: bool| {
        let key = format!("tokenizer.ggml.add_{name}_token");
        Ok::<_, Error>(keys.boolean(&key)?.unwrap_or(otherwise))
    };
    let mut template = vec![json!({"Sequence": {"id": "A", "type_id": 0}})];
    let mut special = Map::new();
    for (name, wanted, place) in
        [("bos", asked("bos", begins)?, 0), ("eos", asked("eos", false)?, usize::MAX)]
    {
        let Some(text) = vocabulary.named(keys, name)?.filter(|_| wanted) else { continue };
        let id = keys.whole(&format!("tokenizer.ggml.{name}_token_id"))?;
        template
            .insert(place.min(template.len()), json!({"SpecialToken": {"id": text, "type_id": 0}}));
        special.insert(text.into(), json!({"id": text, "ids": [id], "tokens": [text]}));
    }
    if special.is_empty() {
        return Ok(Value::Null);
    }
    Ok(json!({
        "type": "TemplateProcessing", "single": template, "special_tokens": special,
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    }))
}

#[cfg(test)]
mod tests;
