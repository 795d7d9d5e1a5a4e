//! Whether two texts say the same in nearly the same words, or something else in the same sentence.

use std::collections::BTreeMap;

/// From this share of common words (F1) on two longer texts say the same.
const SAME: f64 = 0.8;
/// Texts of so many words at most must have the same words: one is the whole difference.
const SHORT: usize = 6;
/// From this share of common words (F1) on two texts are one sentence with something else in it.
const SENTENCE: f64 = 0.8;
/// Fewer words make no sentence: "30 days" and "45 days" may be about anything.
const SHORTEST_SENTENCE: usize = 4;

/// The words of a text, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words {
    plain: BTreeMap<String, usize>,
    /// Numbers, addresses and codes: there one sign is another thing.
    exact: BTreeMap<String, usize>,
}

impl Words {
    pub(crate) fn of(text: &str) -> Self {
        let mut words = Self { plain: BTreeMap::new(), exact: BTreeMap::new() };
        for word in text.split_whitespace() {
            let word = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
            let is_exact = word.contains(|c: char| c.is_numeric() || c == '@' || c == '/');
            let side = if is_exact { &mut words.exact } else { &mut words.plain };
            if !word.is_empty() {
                *side.entry(word).or_default() += 1;
            }
        }
        words
    }

    pub(crate) fn say_the_same_as(&self, other: &Self) -> bool {
        let distinct = |words: &Self| words.exact.keys().cloned().collect::<Vec<_>>();
        if distinct(self) != distinct(other) {
            return false;
        }
        let count = |words: &BTreeMap<String, usize>| words.values().sum::<usize>();
        let (here, there) = (count(&self.plain), count(&other.plain));
        if here == 0 || there == 0 || here.max(there) <= SHORT {
            return self.plain == other.plain;
        }
        self.in_common(other) >= SAME
    }

    /// Whether the sentence is the same, and a name or a number in it another one.
    pub(crate) fn look_like(&self, other: &Self) -> bool {
        let is_sentence = |words: &Self| words.plain.values().sum::<usize>() >= SHORTEST_SENTENCE;
        is_sentence(self)
            && is_sentence(other)
            && self != other
            && self.in_common(other) >= SENTENCE
    }

    /// Whether both are too short for a sentence, of one form (a number of days, an amount, an address, a
    /// name), and not the same.
    pub(crate) fn has_the_form_of(&self, other: &Self) -> bool {
        let is_short = |words: &Self| {
            let count: usize = words.plain.values().sum();
            count < SHORTEST_SENTENCE && count + words.exact.len() > 0
        };
        is_short(self) && is_short(other) && self != other && self.form() == other.form()
    }

    /// What stands beside numbers and names.
    fn form(&self) -> (Vec<String>, Vec<&String>) {
        if self.exact.is_empty() {
            return (Vec::new(), Vec::new());
        }
        if self.exact.keys().any(|word| word.contains('@')) {
            return (vec!["@".to_owned()], Vec::new());
        }
        let without_digits = |word: &String| word.replace(char::is_numeric, "");
        (self.exact.keys().map(without_digits).collect(), self.plain.keys().collect())
    }

    /// All of them, each once.
    pub(crate) fn distinct(&self) -> impl Iterator<Item = &str> {
        self.plain.keys().chain(self.exact.keys()).map(String::as_str)
    }

    /// The share of words without signs that both have (F1).
    fn in_common(&self, other: &Self) -> f64 {
        let count = |words: &BTreeMap<String, usize>| words.values().sum::<usize>();
        let of_other = |word: &str| other.plain.get(word).copied().unwrap_or(0);
        let common: usize = self.plain.iter().map(|(word, n)| (*n).min(of_other(word))).sum();
        2.0 * common as f64 / (count(&self.plain) + count(&other.plain)) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: &str, other: &str) -> bool {
        Words::of(one).say_the_same_as(&Words::of(other))
    }

    #[test]
    fn other_words_may_differ_and_numbers_may_not() {
        let given = "Northwind Outfitters accepts returns within 45 days of the purchase.";
        assert!(same(given, "northwind outfitters accepts returns within 45 days of purchase"));
        assert!(!same(
            given,
            "Northwind Outfitters accepts returns within 30 days of the purchase."
        ));
        assert!(!same(given, "You can send things back for 45 days."));
        assert!(same("Billing.", "billing"));
        assert!(!same("Answer: Paris | Confidence: high", "Answer: Paris | Confidence: low"));
        assert!(!same(
            "write to a@b.example today please, my dear friend",
            "write to c@b.example today please, my dear friend"
        ));
        assert!(!same("", "x") && same("", ""));
    }

    #[test]
    fn a_sentence_with_another_number_or_name_looks_alike() {
        let alike = |one: &str, other: &str| Words::of(one).look_like(&Words::of(other));
        let returns = "Northwind Outfitters accepts returns within 45 days.";
        assert!(alike(returns, "Northwind Outfitters accepts returns within 30 days."));
        assert!(alike(
            "Northwind Outfitters is based in Oslo.",
            "Northwind Outfitters is based in Bergen."
        ));
        assert!(!alike(returns, returns), "the same");
        assert!(!alike(returns, "Northwind Outfitters exchanges items within 60 days."));
        assert!(!alike("The first loyalty tier is Trail.", "The second loyalty tier is Ridge."));
        assert!(!alike("45 days.", "30 days."), "no sentence");
    }

    #[test]
    fn short_answers_of_one_kind_have_one_form() {
        let form = |one: &str, other: &str| Words::of(one).has_the_form_of(&Words::of(other));
        assert!(form("45 days.", "30 days") && form("$5", "$14") && form("Trail", "Zenith"));
        assert!(form("a@b.example", "care@c.example") && form("8 to 9 days", "3 to 12 days"));
        assert!(!form("45 days", "45 days.") && !form("", "x"));
        assert!(!form("45 days", "45 hours") && !form("$5", "5 days") && !form("Trail", "5"));
        assert!(!form("Returns are taken for 45 days.", "30 days"), "a sentence");
    }
}
