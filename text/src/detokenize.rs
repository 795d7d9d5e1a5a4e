//! Tokens to text, one at a time, never half a character.
//!
//! Decoding each token alone shows U+FFFD wherever a character is spread over tokens; decoding
//! the whole answer again for each token is quadratic. This keeps the bytes that are not yet a
//! character and nothing else.

use crate::Tokenizer;

/// The state of one stream. The pieces joined are exactly [`Tokenizer::decode`] with special
/// tokens left out.
#[derive(Debug, Default, Clone)]
pub struct Detokenizer {
    /// At most three bytes: the beginning of a character.
    pending: Vec<u8>,
}

impl Detokenizer {
    /// A stream that begins at a character's boundary.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next token and returns the characters that it completes; often none, sometimes
    /// several. Special tokens have no text.
    pub fn push(&mut self, tokenizer: &Tokenizer, token: u32) -> String {
        if tokenizer.is_special(token) {
            return String::new();
        }
        self.pending.extend_from_slice(tokenizer.token_bytes(token));
        let mut text = String::new();
        let mut rest = self.pending.as_slice();
        let kept = loop {
            match std::str::from_utf8(rest) {
                Ok(whole) => {
                    text.push_str(whole);
                    break 0;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    match error.error_len() {
                        // The beginning of a character: wait for the rest of it.
                        None => break after.len(),
                        Some(len) => {
                            text.push(char::REPLACEMENT_CHARACTER);
                            rest = &after[len..];
                        }
                    }
                }
            }
        };
        self.pending.drain(..self.pending.len() - kept);
        text
    }

    /// Ends the stream: a character that was begun and not completed becomes U+FFFD.
    #[must_use]
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::tests::STARTER;
    use proptest::prelude::*;

    fn stream(tokens: &[u32]) -> Vec<String> {
        let mut detokenizer = Detokenizer::new();
        let mut pieces: Vec<_> = tokens.iter().map(|t| detokenizer.push(&STARTER, *t)).collect();
        pieces.push(detokenizer.finish());
        pieces
    }

    #[test]
    fn a_character_of_several_tokens_comes_whole() {
        let tokens = STARTER.encode("a 🦀 é", false).unwrap();
        let pieces = stream(&tokens);
        assert!(tokens.len() > 5, "the crab must be spread over tokens: {tokens:?}");
        assert!(!pieces.concat().contains(char::REPLACEMENT_CHARACTER));
        assert_eq!(pieces.concat(), "a 🦀 é");
    }

    proptest! {
        #[test]
        fn pieces_joined_are_the_full_decode(tokens in prop::collection::vec(0u32..4096, 0..80)) {
            prop_assert_eq!(stream(&tokens).concat(), STARTER.decode(&tokens, true));
        }

        /// The single-byte tokens make broken UTF-8 likely.
        #[test]
        fn broken_bytes_too(tokens in prop::collection::vec(190u32..262, 0..40)) {
            prop_assert_eq!(stream(&tokens).concat(), STARTER.decode(&tokens, true));
        }

        #[test]
        fn text_survives(text in "\\PC*") {
            let tokens = STARTER.encode(&text, false).unwrap();
            prop_assert_eq!(stream(&tokens).concat(), text);
        }
    }
}
