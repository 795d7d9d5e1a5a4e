//! The fewest tokens that a text can have, told from its bytes alone.
//!
//! A byte counts one part of the longest token that holds it: then the bytes of one token never count more than one, and the
//! sum over a text is never more than its tokens. A prompt of megabytes is refused by this in one pass over it, before the
//! tokenizer makes hundreds of bytes of each of its bytes.

use serde_json::Value;

/// Bytes of text that Unicode's composing forms may make one byte of (a mathematical letter of four bytes: one ASCII letter).
const COMPOSED: f64 = 4.0;
/// Bytes of text that any other normalizer or a dropping pre-tokenizer is taken to make one byte of. Their true measure
/// depends on the text; prompts that are shortened more than this are refused although they might fit.
const SHORTENED: f64 = 16.0;

/// What stands between the bytes of a text and the bytes of its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Nothing: each byte of the text is in some token.
    Exact,
    /// A Unicode form, which leaves ASCII alone unless a combining mark follows.
    Composed,
    /// Something that may leave out text.
    Shortened,
}

/// What one byte of text counts at least.
pub(super) struct Fewest {
    shares: [f64; 256],
    /// One part of the longest token.
    least: f64,
    form: Form,
}

/// A token, as far as it matters here.
pub(super) struct Piece<'a> {
    /// The token's text as the vocabulary writes it.
    pub(super) written: &'a [u8],
    /// The bytes that it stands for.
    pub(super) bytes: &'a [u8],
    /// Found in the text as a whole, before anything else.
    pub(super) special: bool,
}

impl Fewest {
    /// For a vocabulary. `strips`: some added tokens take the white space beside them.
    pub(super) fn new<'a>(
        pieces: impl Iterator<Item = Piece<'a>> + Clone,
        tokenizer: &tokenizers::Tokenizer,
        strips: bool,
    ) -> Self {
        let (mut longest, mut covered) = ([1usize; 256], [false; 256]);
        for piece in pieces.clone().filter(|piece| !piece.special) {
            let length = piece.written.len().max(piece.bytes.len());
            for byte in piece.written.iter().chain(piece.bytes) {
                let seen = &mut longest[usize::from(*byte)];
                *seen = length.max(*seen);
            }
            if let [byte] = piece.bytes {
                covered[usize::from(*byte)] = true;
            }
        }
        let mut shares = longest.map(|length| 1.0 / length as f64);
        // A special token is mostly longer than what its bytes are in otherwise. What they would count beyond one is taken
        // off its first byte, for it may be the beginning of one.
        let mut beyond = [0.0f64; 256];
        for bytes in pieces.filter(|piece| piece.special).map(|piece| piece.bytes) {
            let Some(first) = bytes.first() else { continue };
            let sum: f64 = bytes.iter().map(|byte| shares[usize::from(*byte)]).sum();
            let most = &mut beyond[usize::from(*first)];
            *most = most.max(sum - 1.0);
        }
        for (share, beyond) in shares.iter_mut().zip(beyond) {
            *share -= beyond;
        }
        if strips {
            for byte in (0..=0x20u8).chain(0x7f..=0xff) {
                shares[usize::from(byte)] = shares[usize::from(byte)].min(0.0);
            }
        }
        let whole = covered.iter().all(|covered| *covered) && keeps_unknown(tokenizer);
        let form = match form_of(tokenizer) {
            Form::Composed if strips => Form::Shortened,
            form if whole => form,
            _ => Form::Shortened,
        };
        let least = 1.0 / longest.into_iter().max().unwrap_or(1) as f64;
        Self { shares, least, form }
    }

    /// No encoding of the text has fewer tokens.
    pub(super) fn of(&self, text: &str) -> usize {
        let bytes = text.as_bytes();
        let share = |byte: u8| self.shares[usize::from(byte)];
        let sum: f64 = match self.form {
            Form::Exact => bytes.iter().map(|byte| share(*byte)).sum(),
            Form::Composed => {
                let followers = bytes.iter().skip(1).map(u8::is_ascii).chain([true]);
                let counted = bytes.iter().zip(followers).map(|(byte, plain)| {
                    if byte.is_ascii() && plain { share(*byte) } else { self.least / COMPOSED }
                });
                counted.sum()
            }
            Form::Shortened => bytes.len() as f64 * self.least / SHORTENED,
        };
        // The sum of thirds may be a hair above or below the whole.
        (sum + 1e-6) as usize
    }
}

/// Whether bytes outside of the vocabulary become tokens of their own, and are not dropped or told as one unknown.
fn keeps_unknown(tokenizer: &tokenizers::Tokenizer) -> bool {
    use tokenizers::ModelWrapper as M;
    let fallback = match tokenizer.get_model() {
        M::BPE(bpe) => bpe.byte_fallback,
        M::Unigram(unigram) => unigram.byte_fallback(),
        M::WordPiece(_) | M::WordLevel(_) => return false,
    };
    fallback
        || matches!(tokenizer.get_model(), M::BPE(_))
            && (names(&as_json(tokenizer.get_pre_tokenizer()))
                .chain(names(&as_json(tokenizer.get_normalizer())))
                .any(|name| name == "ByteLevel"))
}

fn form_of(tokenizer: &tokenizers::Tokenizer) -> Form {
    let mut form = Form::Exact;
    for part in parts(&as_json(tokenizer.get_normalizer())) {
        match part["type"].as_str().unwrap_or_default() {
            "Prepend" | "ByteLevel" => {}
            "Replace" if part["pattern"]["String"] == " " && part["content"] == "▁" => {}
            "NFC" | "NFD" | "NFKC" | "NFKD" => form = Form::Composed,
            _ => return Form::Shortened,
        }
    }
    for part in parts(&as_json(tokenizer.get_pre_tokenizer())) {
        let removes = part["behavior"] == "Removed";
        match part["type"].as_str().unwrap_or_default() {
            "ByteLevel" | "Metaspace" | "Digits" | "UnicodeScripts" | "FixedLength" => {}
            "Split" | "Punctuation" if !removes => {}
            _ => return Form::Shortened,
        }
    }
    form
}

/// A normalizer or pre-tokenizer as it stands in `tokenizer.json`; none is null.
pub(super) fn as_json(part: Option<&impl serde::Serialize>) -> Value {
    part.and_then(|part| serde_json::to_value(part).ok()).unwrap_or_default()
}

/// The members of a sequence, of any depth; a single part is its only member.
pub(super) fn parts(value: &Value) -> Vec<&Value> {
    match value["normalizers"].as_array().or_else(|| value["pretokenizers"].as_array()) {
        Some(members) => members.iter().flat_map(parts).collect(),
        None if value.is_null() => Vec::new(),
        None => vec![value],
    }
}

fn names(value: &Value) -> impl Iterator<Item = String> + use<> {
    let names =
        parts(value).into_iter().filter_map(|part| part["type"].as_str().map(str::to_owned));
    names.collect::<Vec<_>>().into_iter()
}
