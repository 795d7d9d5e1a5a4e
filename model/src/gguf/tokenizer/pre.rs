//! How a text is cut into words before the merges, by the names that `tokenizer.ggml.pre` has.
//!
//! The patterns are those of the models' own `tokenizer.json`, as `llama-vocab.cpp` quotes them.

use serde_json::{Value, json};

/// Every name that is known.
pub(super) const SUPPORTED: &str = "gpt-2, smollm, starcoder, refact, codeshell, minerva-7b, llama-bpe, llama3, llama-v3, \
                                    falcon3, pixtral, dbrx, smaug-bpe, qwen2, deepseek-r1-qwen, deepseek-coder, tekken";

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// What a name stands for.
pub(super) struct Cut {
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
    /// A word that is a token stays whole, whatever the merges would make of it.
    pub(super) whole_words: bool,
    /// A text begins with the first token where the file does not say.
    pub(super) begins: bool,
}

/// The cut of a name; `None` if it is not known.
pub(super) fn of(name: &str) -> Option<Cut> {
    let plain = |pre_tokenizer: Value| Cut {
        normalizer: Value::Null,
        pre_tokenizer,
        whole_words: false,
        begins: false,
    };
    Some(match name {
        "gpt-2" | "gpt2" => plain(byte_level(true)),
        "smollm" | "starcoder" | "refact" | "codeshell" | "minerva-7b" => {
            plain(sequence(vec![digits(), byte_level(true)]))
        }
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "pixtral" => {
            Cut { whole_words: true, begins: true, ..plain(by_pattern(LLAMA3)) }
        }
        "dbrx" | "smaug-bpe" => plain(by_pattern(LLAMA3)),
        "qwen2" | "deepseek-r1-qwen" => {
            Cut { normalizer: json!({"type": "NFC"}), ..plain(by_pattern(QWEN2)) }
        }
        "tekken" => Cut { whole_words: true, begins: true, ..plain(by_pattern(TEKKEN)) },
        "deepseek-coder" => plain(sequence(vec![
            split(r"[\r\n]"),
            split(r"\s?\p{L}+"),
            split(r"\s?\p{P}+"),
            split(r"[一-龥ࠀ-一가-퟿]+"),
            digits(),
            byte_level(false),
        ])),
        _ => return None,
    })
}

fn by_pattern(pattern: &str) -> Value {
    sequence(vec![split(pattern), byte_level(false)])
}

fn sequence(parts: Vec<Value>) -> Value {
    json!({ "type": "Sequence", "pretokenizers": parts })
}

fn split(pattern: &str) -> Value {
    json!({ "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false })
}

fn digits() -> Value {
    json!({ "type": "Digits", "individual_digits": true })
}

/// GPT-2's alphabet of bytes, with its own cut into words or without.
pub(super) fn byte_level(cuts: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": cuts })
}
