//! `gpt2`: merges over GPT-2's alphabet of bytes.

use serde_json::{Value, json};

use super::{Parts, Vocabulary, pre};
use crate::{Error, gguf::keys::Keys};

const PRE: &str = "tokenizer.ggml.pre";
const MERGES: &str = "tokenizer.ggml.merges";
/// Merges of the largest vocabulary that is read.
const MOST: usize = 1 << 21;

/// The parts of its `tokenizer.json`.
pub(super) fn parts(keys: Keys<'_>, vocabulary: &Vocabulary) -> Result<Parts, Error> {
    let name = keys.text(PRE)?.ok_or_else(|| {
        keys.wrong(
            PRE,
            "it is missing: the file was made before converters wrote it; convert the model again",
        )
    })?;
    let cut = pre::of(name).ok_or_else(|| keys.unsupported(PRE, name, pre::SUPPORTED))?;
    let mut merges = Vec::new();
    for (rank, merge) in keys.need(MERGES, keys.texts(MERGES)?)?.enumerate() {
        if rank >= MOST {
            return Err(keys.wrong(MERGES, &format!("more than {MOST} merges")));
        }
        // A space may begin the left part, so the second character is the first that can part them.
        let parted = merge.and_then(|merge| {
            let first = merge.chars().next()?.len_utf8();
            let at = first + merge.get(first..)?.find(' ')?;
            Some([&merge[..at], &merge[at + 1..]])
        });
        merges.push(parted.ok_or_else(|| keys.wrong(MERGES, &format!("merge {rank} is no pair")))?);
    }
    Ok(Parts {
        normalizer: cut.normalizer,
        pre_tokenizer: cut.pre_tokenizer,
        decoder: pre::byte_level(true),
        model: json!({
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": cut.whole_words,
            "vocab": Value::Object(vocabulary.ids(keys)?),
            "merges": merges,
        }),
        begins: cut.begins,
    })
}
