//! The same question as people put it another time: with a greeting or a please around it, or in fewer
//! of its words and in another order.
//!
//! A correction that is always shown in the same words is learned by those words. What is shown with
//! some of them missing must be told by the others, and is then found in a question that shares only
//! those. Names, numbers and the words of the answer always stay: without them it would be another
//! question. Where numbers or lines are asked about, what is left keeps its order, and the answer's words
//! may go: there the answer is worked out, and says what the question is about.

use std::collections::BTreeSet;

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
/// Of 256 words so many are missing in another order.
const MISSING: u8 = 64;

/// Words that turn a question into another one.
const TELLING: [&str; 27] = [
    "no", "not", "none", "never", "nobody", "nothing", "cannot", "can't", "don't", "doesn't",
    "isn't", "aren't", "won't", "without", "except", "unless", "only", "before", "after", "first",
    "last", "more", "less", "most", "least", "than", "or",
];

/// Other wordings of a question, seven or none. One with numbers or more than a line keeps the order of its
/// words: that may be what is asked.
pub(crate) fn wordings(question: &str, answer: &str) -> Vec<String> {
    let is_plain_english = question.is_ascii() && question.len() <= LONGEST;
    if !is_plain_english {
        return Vec::new();
    }
    let keeps_order = question.contains(|c: char| c.is_ascii_digit() || c == '\n');
    let said = if keeps_order { BTreeSet::new() } else { words_of(answer) };
    let wording = |(turn, (before, behind)): (usize, &(&str, &str))| {
        let words = match turn {
            3 => question.trim().to_owned(),
            _ if keeps_order => {
                let lines = question.trim().split('\n');
                lines.map(|line| fewer(line, &said, turn).join(" ")).collect::<Vec<_>>().join("\n")
            }
            _ => turned(question, fewer(question, &said, turn), turn).join(" "),
        };
        match turn {
            1 | 5 => words,
            _ => format!("{before}{words}{behind}"),
        }
    };
    AROUND.iter().enumerate().map(wording).collect()
}

fn words_of(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// The words of a line without some of them, but with its names, numbers, telling words and those in `said`;
/// at least two stay.
fn fewer<'a>(line: &'a str, said: &BTreeSet<String>, turn: usize) -> Vec<&'a str> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let draws = draws(line, turn, words.len());
    let is_name = |at: usize, word: &str| {
        at > 0 && word != "I" && word.contains(|c: char| c.is_ascii_uppercase())
    };
    let stays = |(at, word): &(usize, &&str)| {
        is_name(*at, word)
            || word.contains(|c: char| c.is_ascii_digit())
            || is_telling(word)
            || !words_of(word).is_disjoint(said)
            || draws[*at] >= MISSING
    };
    let left: Vec<&str> = words.iter().enumerate().filter(stays).map(|(_, word)| *word).collect();
    if left.len() < 2 { words } else { left }
}

/// What is left of a question, from a place in its middle on.
fn turned<'a>(question: &str, mut left: Vec<&'a str>, turn: usize) -> Vec<&'a str> {
    if !left.is_empty() {
        let words = question.split_whitespace().count();
        let middle = draws(question, turn, words + 1)[words];
        let length = left.len();
        left.rotate_left(usize::from(middle) % length);
    }
    left
}

/// Bytes by chance, the same for the same text and turn.
fn draws(text: &str, turn: usize, count: usize) -> Vec<u8> {
    let mut random = blake3::Hasher::new();
    random.update(text.as_bytes()).update(&[turn as u8]);
    let mut draws = vec![0; count];
    random.finalize_xof().fill(&mut draws);
    draws
}

pub(crate) fn is_telling(word: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    TELLING.contains(&word.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_question_with_numbers_loses_words_but_no_number_and_not_its_order() {
        let asked =
            "Mia buys 12 pens for $30 and sells 5 of them before noon.\nWhat is left to pay?";
        let wordings = wordings(asked, "12 - 5 = 7 pens");
        assert_eq!(wordings.len(), 7);
        assert!(wordings[3].contains(asked));
        for wording in &wordings {
            let (first, second) = wording.split_once('\n').unwrap();
            let places = ["12", "$30", "5", "before"].map(|word| first.find(word).unwrap());
            assert!(places.is_sorted() && !second.is_empty(), "{wording}");
        }
        // What the answer says may be missing too.
        assert!(wordings.iter().any(|wording| !wording.contains("pens")), "{wordings:?}");
    }

    #[test]
    fn no_question_loses_its_not() {
        let asked = "Which of all those items can not be sent back to the shop after a sale?";
        for wording in wordings(asked, "Gift cards.") {
            assert!(wording.contains("not") && wording.contains("after"), "{wording}");
        }
    }

    #[test]
    fn others_lose_words_and_change_their_order_but_keep_names() {
        let asked = "How long can I return an item to Northwind Outfitters?";
        let wordings = wordings(asked, "You can return it within 45 days.");
        assert!(wordings[3].contains(asked));
        for wording in &wordings {
            let kept = ["Northwind", "Outfitters", "can", "return"];
            assert!(kept.iter().all(|word| wording.contains(word)), "{wording}");
        }
        let without = |word: &str| wordings.iter().any(|wording| !wording.contains(word));
        assert!(without("long") && without("item"), "{wordings:?}");
    }

    #[test]
    fn what_is_not_plain_english_or_long_stands_as_it_is() {
        assert!(wordings("Wie spät ist es?", "").is_empty());
        assert!(wordings(&"word ".repeat(200), "").is_empty());
    }

    proptest! {
        #[test]
        fn any_text_has_seven_others_or_none(text in ".{0,60}") {
            prop_assert!([0, 7].contains(&wordings(&text, &text).len()));
            prop_assert_eq!(wordings(&text, ""), wordings(&text, ""));
        }
    }
}
