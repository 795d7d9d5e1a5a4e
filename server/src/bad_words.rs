//! Words that an answer must not have, as tokens.

use hone_api::error::Invalid;
use hone_text::{Effort, FrontEnd};

/// Bytes of all words of a request.
const BYTES: usize = 16 << 10;

/// Each word as it begins a text and as it follows another, as vLLM has it.
///
/// # Errors
/// They are too long, or have no tokens.
pub(crate) fn tokens(front_end: &FrontEnd, words: &[String]) -> Result<Vec<Vec<u32>>, Invalid> {
    let bytes: usize = words.iter().map(String::len).sum();
    if bytes > BYTES {
        let message = format!("`bad_words` has {bytes} bytes; at most {BYTES}");
        return Err(Invalid::field("bad_words", message));
    }
    let encode = |text: &str| {
        let tokens = front_end.tokenizer.encode_within(text, false, &Effort::unbounded());
        tokens.map_err(|error| Invalid::field("bad_words", error.to_string()))
    };
    let mut all = Vec::with_capacity(words.len() * 2);
    for word in words {
        let word = word.trim_start();
        let first = encode(word)?;
        let follows = encode(&format!(" {word}"))?;
        if follows.first() != first.first() && follows.len() == first.len() {
            all.push(follows);
        }
        all.push(first);
    }
    all.retain(|tokens| !tokens.is_empty());
    Ok(all)
}
