//! Whether two answers to one question say the same.

use crate::dedup::words;
use crate::variants::is_telling;

/// An answer with its words, which are read once however many answers it is compared with.
pub(crate) struct Said<'a> {
    text: &'a str,
    words: Vec<String>,
}

impl<'a> Said<'a> {
    /// `text` is [`crate::normalised::normalised`].
    pub(crate) fn of(text: &'a str) -> Self {
        Self { text, words: words(text) }
    }

    /// Whether they are equal, or one stands in the other, word after word, with the same numbers and the same
    /// words that turn a sentence round ("45 days" and "You have 45 days for it."). What says it in other words
    /// counts as something else.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        if self.text == other.text {
            return true;
        }
        let (one, other) = (&self.words, &other.words);
        let (fewer, more) = if one.len() < other.len() { (one, other) } else { (other, one) };
        let mut left = fewer.iter().peekable();
        let turns = |word: &String| word.starts_with(char::is_numeric) || is_telling(word);
        let adds_nothing_else =
            more.iter().all(|word| left.next_if_eq(&word).is_some() || !turns(word));
        !fewer.is_empty() && adds_nothing_else && left.peek().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::Said;
    use crate::normalised::normalised;

    fn agree(one: &str, other: &str) -> bool {
        let (one, other) = (normalised(one), normalised(other));
        Said::of(&one).agrees(&Said::of(&other))
    }

    #[test]
    fn what_only_says_more_agrees_and_another_number_or_a_not_does_not() {
        for (one, other) in [
            ("9 to 5.", "We are open 9 to 5"),
            ("Oslo", "The warehouse is in Oslo."),
            ("It  is 5.", "it is 5."),
            ("🦀", "🦀"),
        ] {
            assert!(agree(one, other) && agree(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("30 days", "45 days"),
            ("30 days", "30 days, and 45 in winter"),
            ("You can return it.", "You can not return it."),
            ("Yes", "Yes, but only on Sunday"),
            ("Oslo", "Bergen"),
            ("5 < 6", "6 < 5"),
            ("🦀", "🐟"),
        ] {
            assert!(!agree(one, other) && !agree(other, one), "{one} {other}");
        }
    }
}
