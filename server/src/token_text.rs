//! Tokens as text, for log-probabilities.

use std::sync::Arc;

use hone_text::FrontEnd;

use crate::record::Recorder;

/// The tokens of one request's model.
pub(crate) struct TokenText {
    front_end: Arc<FrontEnd>,
    ignore_eos: bool,
}

impl TokenText {
    pub(crate) fn of(recorder: &Recorder) -> Self {
        let front_end = Arc::clone(recorder.state.engine.front_end());
        // A grammar's end is its end.
        let ignore_eos = recorder.ask.sampling.ignore_eos && recorder.ask.grammar.is_none();
        Self { front_end, ignore_eos }
    }

    /// A token's text, with U+FFFD for what is no whole character, and its bytes.
    pub(crate) fn of_token(&self, token: u32) -> (String, Vec<u8>) {
        let bytes = self.front_end.tokenizer.token_bytes(token).to_vec();
        (String::from_utf8_lossy(&bytes).into_owned(), bytes)
    }

    /// Whether the answer ends with this token, which then is not part of its text.
    pub(crate) fn ends(&self, token: u32) -> bool {
        !self.ignore_eos && self.front_end.is_end(token)
    }

    /// How many characters of an echoed text its next token takes, of which none has been taken so far: none for a token that
    /// the text lacks (what the tokenizer puts in front), one less for a space that it puts before the first word.
    pub(crate) fn characters_at_start(&self, token: u32, echoed: &str) -> usize {
        let (text, _) = self.of_token(token);
        if echoed.starts_with(&text) {
            return self.characters(token);
        }
        if self.front_end.tokenizer.is_special(token) {
            return 0;
        }
        let without_space = text.strip_prefix(' ').is_some_and(|rest| echoed.starts_with(rest));
        self.characters(token) - usize::from(without_space)
    }

    /// How many characters begin in a token.
    pub(crate) fn characters(&self, token: u32) -> usize {
        let bytes = self.front_end.tokenizer.token_bytes(token);
        bytes.iter().filter(|byte| (**byte & 0xC0) != 0x80).count()
    }
}
