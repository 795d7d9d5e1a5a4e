//! `llama`: SentencePiece's merges by score, with a token for each byte.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{Kind, Parts, Vocabulary};
use crate::{Error, gguf::keys::Keys};

const SCORES: &str = "tokenizer.ggml.scores";

/// The parts of its `tokenizer.json`, as Hugging Face's converter of slow Llama tokenizers makes them.
pub(super) fn parts(keys: Keys<'_>, vocabulary: &Vocabulary) -> Result<Parts, Error> {
    let unsupported = "tokenizer.ggml.remove_extra_whitespaces";
    if keys.boolean(unsupported)? == Some(true) {
        return Err(keys.unsupported(unsupported, "true", "false"));
    }
    let count = vocabulary.texts.len();
    let scores: Vec<f64> = keys.need(SCORES, keys.reals(SCORES)?)?.take(count + 1).collect();
    if scores.len() != count {
        let reason = format!("it is not as long as the {count} tokens");
        return Err(keys.wrong(SCORES, &reason));
    }
    let bytes = vocabulary.kinds.iter().filter(|kind| **kind == Kind::Byte).count();
    if bytes != 256 {
        return Err(keys.wrong(super::TYPES, &format!("{bytes} tokens of a byte instead of 256")));
    }
    let spaces = json!({ "type": "Replace", "pattern": {"String": " "}, "content": "▁" });
    let from_spaces = json!({ "type": "Replace", "pattern": {"String": "▁"}, "content": " " });
    let mut decoders = vec![from_spaces, json!({"type": "ByteFallback"}), json!({"type": "Fuse"})];
    let prefixed = keys.boolean("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let normalizer = if prefixed {
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
        json!({ "type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, spaces] })
    } else {
        spaces
    };
    Ok(Parts {
        normalizer,
        pre_tokenizer: Value::Null,
        decoder: json!({ "type": "Sequence", "decoders": decoders }),
        model: json!({
            "type": "BPE",
            "dropout": null,
            "unk_token": vocabulary.named(keys, "unknown")?,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": true,
            "byte_fallback": true,
            "ignore_merges": false,
            "vocab": Value::Object(vocabulary.ids(keys)?),
            "merges": merges(vocabulary, &scores),
        }),
        begins: true,
    })
}

/// Every way in which a token is made of two others, best score first. Tokens that are found before the merges, or that
/// stand for a byte, are made of nothing and make nothing.
fn merges<'a>(vocabulary: &'a Vocabulary, scores: &[f64]) -> Vec<[&'a str; 2]> {
    let mergeable =
        |id: usize| matches!(vocabulary.kinds[id], Kind::Normal | Kind::UserDefined | Kind::Unused);
    let ids: HashMap<&str, usize> = vocabulary.texts.iter().map(String::as_str).zip(0..).collect();
    let mut found = Vec::new();
    for (id, text) in vocabulary.texts.iter().enumerate().filter(|(id, _)| mergeable(*id)) {
        let first = found.len();
        for (at, _) in text.char_indices().skip(1) {
            let (left, right) = text.split_at(at);
            let parts = ids.get(left).zip(ids.get(right));
            if let Some((l, r)) = parts.filter(|(l, r)| mergeable(**l) && mergeable(**r)) {
                // Zero is zero, with either sign.
                found.push((scores[id] + 0.0, (*l, *r), [left, right]));
            }
        }
        found[first..].sort_by_key(|(_, ids, _)| *ids);
    }
    let length = |text: &str| text.chars().count();
    // Stable, as Python's: what is equal stays in the order of the vocabulary.
    found.sort_by(|(a, _, [al, ar]), (b, _, [bl, br])| {
        b.total_cmp(a).then_with(|| (length(bl), length(br)).cmp(&(length(al), length(ar))))
    });
    found.into_iter().map(|(_, _, pair)| pair).collect()
}
