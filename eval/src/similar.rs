//! Whether two texts say the same in nearly the same words.

use std::collections::BTreeMap;

/// From this share of common words (F1) on two longer texts say the same.
const SAME: f64 = 0.8;
/// Texts of so many words at most must have the same words: one is the whole difference.
const SHORT: usize = 6;

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
        let common: usize = self
            .plain
            .iter()
            .map(|(word, n)| (*n).min(other.plain.get(word).copied().unwrap_or(0)))
            .sum();
        2.0 * common as f64 / (here + there) as f64 >= SAME
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
}
