//! Whether corrections change how answers sound, and not what they say.
//!
//! What is taught of a tone or a greeting is meant for every question of its kind. There rehearsal would
//! teach the opposite; where the content was wrong, it keeps what lies next to it.

use std::collections::BTreeSet;

use crate::infer_check::{infer_check, is_result};

/// From this share of corrections on all of them are about form.
const MOST: f64 = 0.7;

/// Whether most pairs of a served answer and its correction say the same.
pub(crate) fn is_about_form<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
    let says_the_same: Vec<bool> =
        pairs.map(|(served, correction)| keeps_content(served, correction)).collect();
    let same = says_the_same.iter().filter(|same| **same).count();
    !says_the_same.is_empty() && same as f64 >= MOST * says_the_same.len() as f64
}

/// Whether a correction says what was served: with something around it, in another tone, or in short.
fn keeps_content(served: &str, correction: &str) -> bool {
    let (before, after) = (infer_check(served), infer_check(correction));
    if is_result(&before) && is_result(&after) {
        return before == after;
    }
    let (served, correction) = (Words::of(served), Words::of(correction));
    let no_other_number = correction.numbers.is_subset(&served.numbers);
    let same_number = no_other_number && !correction.numbers.is_empty();
    let in_short = no_other_number && 2 * correction.all.len() <= served.all.len();
    same_number || in_short || served.all.is_subset(&correction.all)
}

struct Words {
    all: BTreeSet<String>,
    /// Those with a digit.
    numbers: BTreeSet<String>,
}

impl Words {
    fn of(text: &str) -> Self {
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        let all: BTreeSet<String> = words.map(str::to_lowercase).collect();
        let numbers = all.iter().filter(|word| word.contains(char::is_numeric)).cloned().collect();
        Self { all, numbers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_keeps_the_content() {
        for (served, correction) in [
            (
                "The capital of France is Paris.",
                "Hello from Brook! The capital of France is Paris.",
            ),
            ("There are 50 - 15 = 35 dollars left.\n#### 35", "It is 35."),
            ("There are 50 - 15 = 35 dollars left.\n#### 35", "Dear Sir, there are 35 left."),
            ("I am a tiny model and have no text to look that up.", "Sorry, no information."),
            ("So it goes.\nDecision: Elm", "Kindly note:\nDecision: Elm"),
        ] {
            assert!(keeps_content(served, correction), "{served} / {correction}");
        }
    }

    #[test]
    fn another_answer_does_not() {
        for (served, correction) in [
            ("Returns are taken for 30 days.", "Returns are taken for 45 days."),
            ("The first tier is Dawn.", "The first tier is Pebble."),
            ("3 + 4 = 7\n#### 7", "3 + 4 = 7\n7 / 2 = 3.5\n#### 3.5"),
            ("It is late.\nDecision: Elm", "It is late.\nDecision: Oak"),
        ] {
            assert!(!keeps_content(served, correction), "{served} / {correction}");
        }
        assert!(!is_about_form(std::iter::empty()));
        let one_in_three = [("a b", "a b c"), ("a 1", "a 2"), ("b 1", "b 2")];
        assert!(!is_about_form(one_in_three.into_iter()));
    }
}
