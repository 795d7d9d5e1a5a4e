//! Text to token ids and back, from a `tokenizer.json`.
//!
//! Decoding works on the bytes of each token, not on its text: a character may be spread over
//! several tokens, and a token may hold half of one. [`crate::Detokenizer`] streams over the same
//! bytes, so the streamed pieces and [`Tokenizer::decode`] always agree.

mod effort;
mod fewest;
mod outline;
mod probe;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::OnceLock;

use tokenizers::tokenizer::pre_tokenizer::OffsetType;
use tokenizers::{Decoder as _, DecoderWrapper, Model as _, PreTokenizer as _};

pub use self::effort::Effort;
use self::fewest::{Fewest, Piece};
use crate::grammar::Grammars;
use crate::{Error, Grammar};

/// A tokenizer with the bytes of every token.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Bytes of each token id, one after the other; `ends[id]` is where token `id` ends.
    bytes: Vec<u8>,
    ends: Vec<u32>,
    special: BTreeSet<u32>,
    fewest: Fewest,
    /// Bytes that the normalizers make of one byte at most.
    growth: usize,
    /// The space that it puts before a text is none of the text's.
    strips_first_space: bool,
    /// Made when the first grammar comes: it costs a pass over all tokens.
    grammars: OnceLock<Result<Grammars, String>>,
}

/// Bytes that the normalizers may make of one text; the tokenizer needs many times as much for them.
const NORMALIZED: usize = 32 << 20;

/// How the vocabulary writes bytes as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alphabet {
    /// GPT-2's: each byte is one printable character.
    ByteLevel,
    /// SentencePiece's: `▁` is a space, `<0x0A>` is a byte, the rest is UTF-8.
    SentencePiece,
}

impl Tokenizer {
    /// Reads the content of a `tokenizer.json`. Truncation and padding that it may ask for are
    /// switched off: a prompt that is too long is an error further up, not a shorter prompt.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if it does not parse, its decoder is not byte-level or SentencePiece, or it has no bounds: ids
    /// beyond any vocabulary, a normalizer that multiplies, a pattern that does not come to an end.
    pub fn from_bytes(json: &[u8]) -> Result<Self, Error> {
        let growth = outline::check(json)?;
        let mut inner = tokenizers::Tokenizer::from_bytes(json)
            .map_err(|error| Error::Tokenizer(format!("tokenizer.json does not parse: {error}")))?;
        inner.with_truncation(None).map_err(|error| Error::Tokenizer(error.to_string()))?;
        inner.with_padding(None);
        let alphabet = alphabet_of(inner.get_decoder())?;

        let added = inner.get_added_tokens_decoder();
        let special = added.iter().filter(|(_, t)| t.special).map(|(id, _)| *id).collect();
        let vocab = inner.get_vocab(true);
        let len = vocab.values().max().map_or(0, |max| *max as usize + 1);
        let mut bytes = Vec::with_capacity(len * 8);
        let mut ends = Vec::with_capacity(len);
        for id in 0..u32::try_from(len).unwrap_or(u32::MAX) {
            if let Some(token) = added.get(&id) {
                bytes.extend_from_slice(token.content.as_bytes());
            } else if let Some(text) = inner.id_to_token(id) {
                append_bytes(&text, alphabet, &mut bytes);
            }
            ends.push(u32::try_from(bytes.len()).map_err(|_| {
                Error::Tokenizer("the vocabulary's text is longer than 4 GiB".to_owned())
            })?);
        }
        let fewest = {
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let written: Vec<_> = (0..).zip(&ends).map(|(id, _)| inner.id_to_token(id)).collect();
            let pieces =
                starts.zip(&ends).zip(&written).zip(0..).map(|(((start, end), text), id)| {
                    let written = text.as_deref().unwrap_or_default().as_bytes();
                    let bytes = &bytes[start as usize..*end as usize];
                    Piece { written, bytes, special: added.get(&id).is_some_and(|t| t.special) }
                });
            Fewest::new(pieces, &inner, added.values().any(|token| token.lstrip || token.rstrip))
        };
        let grammars = OnceLock::new();
        let strips_first_space = strips_first_space(inner.get_decoder());
        probe::probe(Self {
            inner,
            bytes,
            ends,
            special,
            fewest,
            growth,
            strips_first_space,
            grammars,
        })
    }

    /// The ids of a text. Special tokens written out in the text become their ids, as in
    /// transformers; `add_special` also adds what the post-processor asks for (BOS, mostly).
    /// A rendered chat template needs `false`: it has its special tokens already.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if a word has no tokens.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, Error> {
        self.encode_within(text, add_special, &Effort::unbounded())
    }

    /// As [`Self::encode`], with bounds: a text that cannot have few enough tokens is refused by its bytes, one that turns
    /// out to have more as soon as they are found, and between two words it is seen whether time is up.
    ///
    /// # Errors
    /// [`Error::TooManyTokens`], [`Error::TookTooLong`], [`Error::Cancelled`]; as [`Self::encode`].
    pub fn encode_within(
        &self,
        text: &str,
        add_special: bool,
        effort: &Effort,
    ) -> Result<Vec<u32>, Error> {
        effort.check_tokens(self.fewest_tokens(text))?;
        effort.check()?;
        if text.len().saturating_mul(self.growth) > NORMALIZED {
            return Err(Error::Tokenizer(format!(
                "a text of {} bytes is too long for this model's normalizer; send less text",
                text.len()
            )));
        }
        // A pattern that gives up on a text panics in the library that runs it.
        let work = AssertUnwindSafe(|| self.encode_step_by_step(text, add_special, effort));
        std::panic::catch_unwind(work).unwrap_or_else(|_| {
            let message = "this model's tokenizer gives up on this text; send other text";
            Err(Error::Tokenizer(message.to_owned()))
        })
    }

    /// What `tokenizers` does in its own `encode_fast`, with a look at the bounds after each step.
    fn encode_step_by_step(
        &self,
        text: &str,
        add_special: bool,
        effort: &Effort,
    ) -> Result<Vec<u32>, Error> {
        let failed = |error: tokenizers::Error| Error::Tokenizer(error.to_string());
        let vocabulary = self.inner.get_added_vocabulary();
        let mut words = vocabulary.extract_and_normalize(self.inner.get_normalizer(), text);
        effort.check()?;
        if let Some(splitter) = self.inner.get_pre_tokenizer() {
            splitter.pre_tokenize(&mut words).map_err(failed)?;
        }
        effort.check()?;
        let (count, stopped) = (Cell::new(0), RefCell::new(None));
        let tokenized = words.tokenize(|word| {
            let tokens = self.inner.get_model().tokenize(word.get())?;
            count.set(count.get() + tokens.len());
            effort.check().and_then(|()| effort.check_tokens(count.get())).map_err(|error| {
                *stopped.borrow_mut() = Some(error);
                "stopped"
            })?;
            Ok(tokens)
        });
        if let Some(error) = stopped.take() {
            return Err(error);
        }
        tokenized.map_err(failed)?;
        let encoding = words.into_encoding(None, 0, OffsetType::None).map_err(failed)?;
        let encoding = self.inner.post_process(encoding, None, add_special).map_err(failed)?;
        effort.check_tokens(encoding.len())?;
        Ok(encoding.get_ids().to_vec())
    }

    /// No encoding of the text has fewer tokens; told from its bytes, without encoding it.
    #[must_use]
    pub fn fewest_tokens(&self, text: &str) -> usize {
        self.fewest.of(text)
    }

    /// The text of a sequence; bytes that are not UTF-8 become U+FFFD. `skip_special` leaves out
    /// special tokens such as the end of a turn. Ids without a token are empty.
    #[must_use]
    pub fn decode(&self, tokens: &[u32], skip_special: bool) -> String {
        let mut bytes = Vec::with_capacity(tokens.len() * 4);
        for &token in tokens {
            if !(skip_special && self.is_special(token)) {
                bytes.extend_from_slice(self.token_bytes(token));
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The text of a whole sequence with its special tokens, of at most so many tokens as the bounds allow. Unlike a piece
    /// of one ([`Self::decode`]) it is without the space that the tokenizer put in front.
    ///
    /// # Errors
    /// [`Error::TooManyTokens`].
    pub fn decode_within(&self, tokens: &[u32], effort: &Effort) -> Result<String, Error> {
        effort.check_tokens(tokens.len())?;
        let mut text = self.decode(tokens, false);
        if self.strips_first_space && text.starts_with(' ') {
            text.remove(0);
        }
        Ok(text)
    }

    /// The bytes of one token: not always whole characters; empty if the id has no token.
    #[must_use]
    pub fn token_bytes(&self, token: u32) -> &[u8] {
        let id = token as usize;
        let Some(&end) = self.ends.get(id) else { return &[] };
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.bytes[start as usize..end as usize]
    }

    /// Whether a token is marked as special: it steers the model and is not part of the text.
    #[must_use]
    pub fn is_special(&self, token: u32) -> bool {
        self.special.contains(&token)
    }

    /// The id of a token by its text, e.g. `<|im_end|>`.
    #[must_use]
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// A grammar in Lark, for answers that end with one of the tokens `ends`: those of the model's configuration, the same
    /// at each call. The first takes up to a second, the others milliseconds: none is for an async thread.
    ///
    /// # Errors
    /// [`Error::Grammar`]: it is none, or too large, or holds a schema with a keyword that is not supported.
    pub fn grammar(&self, lark: &str, ends: &[u32]) -> Result<Grammar, Error> {
        let token = |token: u32| (self.token_bytes(token), self.is_special(token));
        let tokens = (0..).take(self.vocab_size()).map(token);
        let make = || Grammars::new(tokens, ends).map_err(|error| error.to_string());
        match self.grammars.get_or_init(make) {
            Ok(grammars) => grammars.compile(lark),
            Err(reason) => Err(Error::Grammar(reason.clone())),
        }
    }

    /// Number of ids, added tokens included. The model's vocabulary may be padded beyond it.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.ends.len()
    }
}

/// Whether a decoder takes off the space before the first word, as SentencePiece's does.
fn strips_first_space(decoder: Option<&DecoderWrapper>) -> bool {
    let words = vec!["▁a".to_owned(), "▁b".to_owned()];
    decoder.is_some_and(|decoder| decoder.decode(words).is_ok_and(|text| text == "a b"))
}

fn alphabet_of(decoder: Option<&DecoderWrapper>) -> Result<Alphabet, Error> {
    let unsupported = |what: &str| {
        Error::Tokenizer(format!(
            "the decoder `{what}` is not supported; supported: ByteLevel, and SentencePiece's \
             (Replace, ByteFallback, Fuse, Strip, Metaspace)"
        ))
    };
    match decoder {
        Some(DecoderWrapper::ByteLevel(_)) => Ok(Alphabet::ByteLevel),
        Some(
            DecoderWrapper::Metaspace(_)
            | DecoderWrapper::ByteFallback(_)
            | DecoderWrapper::Replace(_)
            | DecoderWrapper::Fuse(_)
            | DecoderWrapper::Strip(_),
        ) => Ok(Alphabet::SentencePiece),
        Some(DecoderWrapper::Sequence(sequence)) => {
            let mut found = Err(unsupported("Sequence []"));
            for part in sequence.get_decoders() {
                let alphabet = alphabet_of(Some(part))?;
                if found.is_err() || alphabet == Alphabet::ByteLevel {
                    found = Ok(alphabet);
                }
            }
            found
        }
        Some(other) => Err(unsupported(&format!("{other:?}"))),
        None => Err(unsupported("null")),
    }
}

fn append_bytes(token: &str, alphabet: Alphabet, out: &mut Vec<u8>) {
    match alphabet {
        Alphabet::ByteLevel => {
            let start = out.len();
            for c in token.chars() {
                match byte_of(c) {
                    Some(byte) => out.push(byte),
                    None => {
                        // Not in GPT-2's alphabet: the token is plain text, as in `tokenizers`.
                        out.truncate(start);
                        out.extend_from_slice(token.as_bytes());
                        return;
                    }
                }
            }
        }
        Alphabet::SentencePiece => {
            let hex = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
            match hex.filter(|h| h.len() == 2).and_then(|h| u8::from_str_radix(h, 16).ok()) {
                Some(byte) => out.push(byte),
                None => out.extend_from_slice(token.replace('▁', " ").as_bytes()),
            }
        }
    }
}

/// GPT-2's map from characters to bytes: printable Latin-1 stands for itself, the other 68 bytes
/// are U+0100 and up, in order.
fn byte_of(c: char) -> Option<u8> {
    let byte = match u32::from(c) {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => code,
        code @ 0x100..=0x120 => code - 0x100,
        code @ 0x121..=0x142 => code - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("vocab_size", &self.vocab_size()).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    pub(crate) static STARTER: LazyLock<Tokenizer> = LazyLock::new(|| {
        Tokenizer::from_bytes(include_bytes!("../../model/starter/tokenizer.json")).unwrap()
    });

    #[test]
    fn the_starter_knows_its_special_tokens() {
        assert_eq!(STARTER.vocab_size(), 4096);
        assert_eq!(STARTER.id_of("<|im_end|>"), Some(2));
        let ids = STARTER.encode("<|im_start|>user\nHi 123<|im_end|>", false).unwrap();
        assert_eq!(ids.first(), Some(&1));
        assert_eq!(ids.last(), Some(&2));
        assert_eq!(STARTER.decode(&ids, true), "user\nHi 123");
        assert_eq!(STARTER.decode(&ids, false), "<|im_start|>user\nHi 123<|im_end|>");
    }

    #[test]
    fn an_unknown_id_is_empty() {
        assert_eq!(STARTER.decode(&[70_000], false), "");
        assert!(STARTER.token_bytes(u32::MAX).is_empty());
    }

    #[test]
    fn broken_json_is_an_error() {
        assert!(matches!(Tokenizer::from_bytes(b"{"), Err(Error::Tokenizer(_))));
    }

    #[test]
    fn sentencepiece_writes_spaces_and_bytes() {
        let mut out = Vec::new();
        append_bytes("▁the", Alphabet::SentencePiece, &mut out);
        append_bytes("<0x0A>", Alphabet::SentencePiece, &mut out);
        assert_eq!(out, b" the\n");
    }

    /// With `parts` merged over the starter's `tokenizer.json`.
    fn starter_with(parts: serde_json::Value) -> Result<Tokenizer, Error> {
        let json = include_bytes!("../../model/starter/tokenizer.json");
        let mut json: serde_json::Value = serde_json::from_slice(json).unwrap();
        for (key, value) in parts.as_object().unwrap() {
            json[key] = value.clone();
        }
        Tokenizer::from_bytes(json.to_string().as_bytes())
    }

    #[test]
    fn megabytes_are_refused_by_their_bytes() {
        let effort = Effort { tokens: 2048, ..Effort::unbounded() };
        for text in ["0", " ", "a", "é", "\u{200d}", "the "] {
            let text = text.repeat((2 << 20) / text.len());
            let refused = STARTER.encode_within(&text, false, &effort).unwrap_err();
            assert!(matches!(refused, Error::TooManyTokens { at_least, .. } if at_least > 2048));
            assert!(STARTER.fewest_tokens(&text) > 2048);
        }
    }

    #[test]
    fn what_has_no_bounds_is_refused_by_name() {
        let starter: serde_json::Value =
            serde_json::from_slice(include_bytes!("../../model/starter/tokenizer.json")).unwrap();
        let mut model = starter["model"].clone();
        model["vocab"]["zz"] = u32::MAX.into();
        let mut added = starter["added_tokens"].clone();
        added[0]["id"] = u32::MAX.into();
        let replace = |content: &str| {
            serde_json::json!({
                "type": "Replace", "pattern": {"String": "a"}, "content": content,
            })
        };
        let thousands = serde_json::json!({
            "type": "Sequence", "normalizers": vec![replace(&"a".repeat(1000)); 4],
        });
        let split = |pattern: &str| {
            serde_json::json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
                starter["pre_tokenizer"],
            ]})
        };
        for (part, value, word) in [
            ("model", model, "the id 4294967295"),
            ("added_tokens", added, "the id 4294967295"),
            ("normalizer", thousands, "normalizer"),
            (
                "normalizer",
                serde_json::json!({"type": "Prepend", "prepend": "a".repeat(9999)}),
                "normalizer",
            ),
            ("pre_tokenizer", split("(?=a)(?:(?:a{1000}){1000}){1000}"), "pattern"),
            ("pre_tokenizer", split("(?:(?=a)a+)+(?=b)|(?:(?=.).)+(?=z)"), "pattern"),
            ("pre_tokenizer", split("(a+)+$"), "pattern"),
        ] {
            let error = starter_with(serde_json::json!({ part: value })).unwrap_err().to_string();
            assert!(error.contains(word), "{part}: {error}");
        }
        let spaces = serde_json::json!({"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            {"type": "NFKC"},
        ]});
        assert!(starter_with(serde_json::json!({ "normalizer": spaces })).is_ok());
        assert!(starter_with(serde_json::json!({ "pre_tokenizer": split("\\p{N}{1,3}") })).is_ok());
    }

    #[test]
    fn an_encoding_ends_where_its_bounds_are() {
        let text = "some words and more".repeat(20);
        let whole = STARTER.encode(&text, false).unwrap();
        let within = |effort: &Effort| STARTER.encode_within(&text, false, effort);
        let just = Effort { tokens: whole.len(), ..Effort::unbounded() };
        assert_eq!(within(&just).unwrap(), whole);
        let less = Effort { tokens: whole.len() - 1, ..Effort::unbounded() };
        assert!(matches!(within(&less), Err(Error::TooManyTokens { .. })));
        let late = Effort { until: Some(std::time::Instant::now()), ..Effort::unbounded() };
        assert!(matches!(within(&late), Err(Error::TookTooLong)));
        let left = Effort::unbounded();
        left.cancelled.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(matches!(within(&left), Err(Error::Cancelled)));
    }

    #[test]
    fn a_special_token_is_one_token() {
        let text = "<|im_end|>".repeat(1000);
        assert!(STARTER.fewest_tokens(&text) <= 1000);
    }

    /// The starter's tokenizer with no Unicode form, and with each.
    static FORMS: LazyLock<Vec<Tokenizer>> = LazyLock::new(|| {
        let forms = ["NFC", "NFD", "NFKC", "NFKD"].map(|form| serde_json::json!({ "type": form }));
        let all = std::iter::once(serde_json::Value::Null).chain(forms);
        all.map(|form| starter_with(serde_json::json!({ "normalizer": form })).unwrap()).collect()
    });

    proptest! {
        /// Whatever the normalizer makes of the text.
        #[test]
        fn no_text_has_fewer_tokens_than_its_bytes_say(
            text in "(\\PC|[a-e ]|\u{301}|\u{1d41e}|<\\|im_end\\|>|0){0,200}",
            form in 0..FORMS.len(),
        ) {
            let tokenizer = &FORMS[form];
            let tokens = tokenizer.encode(&text, false).unwrap().len();
            prop_assert!(tokenizer.fewest_tokens(&text) <= tokens, "{tokens}");
        }

        #[test]
        fn step_by_step_is_as_at_once(text in "\\PC*", special: bool) {
            let theirs = STARTER.inner.encode_fast(text.as_str(), special).unwrap();
            prop_assert_eq!(STARTER.encode(&text, special).unwrap(), theirs.get_ids());
        }

        #[test]
        fn encode_then_decode_is_the_text(text in "\\PC*") {
            let ids = STARTER.encode(&text, false).unwrap();
            prop_assert_eq!(STARTER.decode(&ids, false), text);
        }

        #[test]
        fn decode_agrees_with_tokenizers(tokens in prop::collection::vec(0u32..4096, 0..60), skip: bool) {
            let theirs = STARTER.inner.decode(&tokens, skip).unwrap();
            prop_assert_eq!(STARTER.decode(&tokens, skip), theirs);
        }
    }
}
