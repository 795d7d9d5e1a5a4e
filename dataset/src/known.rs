//! What is right though nobody said so.
//!
//! A control asks for a result that can be checked. Where the base gives it, and it is corrected once to
//! something else, the correction waits: taught, it would break what the gate watches.

use hone_api::chat::Message;

use crate::select::Row;

/// Results that can be checked without anybody's word.
pub trait Known {
    /// Whether an answer to this conversation is right; `None` where it is not known.
    fn is_right(&self, prompt: &[Message], answer: &str) -> Option<bool>;
}

/// Nothing is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

impl Known for Nothing {
    fn is_right(&self, _: &[Message], _: &str) -> Option<bool> {
        None
    }
}

/// Whether a correction replaces what the base had right.
pub(crate) fn contradicts_base(row: &Row, known: &dyn Known) -> bool {
    let Some(served) = row.rejected.as_deref().filter(|_| row.of_base) else {
        return false;
    };
    let is_right = |answer| known.is_right(&row.prompt, answer);
    is_right(served) == Some(true) && is_right(&row.answer) == Some(false)
}
