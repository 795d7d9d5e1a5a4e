//! The same question as people put it another time: with a greeting, a please, a word around it.
//!
//! A correction that is shown several times teaches its content better if it does not look the same each
//! time. Only what surrounds the question changes, never its words.

use std::borrow::Cow;

/// What stands before and behind. Short and in plain English.
const AROUND: [(&str, &str); 7] = [
    ("Good morning! ", ""),
    ("", " Thank you!"),
    ("Could you help me with this? ", ""),
    ("", " Please let me know."),
    ("I would like to know something. ", ""),
    ("Hey, ", " Cheers."),
    ("Someone just asked me this: ", ""),
];
/// Longer questions are left as they are: nobody writes a greeting around a page.
const LONGEST: usize = 400;

/// A question for its `turn`-th showing: every other one is as it was asked.
pub(crate) fn variant(question: &str, turn: usize) -> Cow<'_, str> {
    let is_plain_english = question.is_ascii() && question.len() <= LONGEST;
    if turn.is_multiple_of(2) || !is_plain_english {
        return Cow::Borrowed(question);
    }
    let (before, behind) = AROUND[turn / 2 % AROUND.len()];
    Cow::Owned(format!("{before}{}{behind}", question.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_showing_has_something_around_it() {
        let asked = "What is the average of 3 and 5?";
        for turn in 0..20 {
            let shown = variant(asked, turn);
            assert_eq!(shown == asked, turn % 2 == 0, "{shown}");
            assert!(shown.contains(asked), "{shown}");
        }
        assert_ne!(variant(asked, 1), variant(asked, 3));
        assert_eq!(variant("Wie spät ist es?", 1), "Wie spät ist es?");
        let page = "word ".repeat(200);
        assert_eq!(variant(&page, 1), page);
    }
}
