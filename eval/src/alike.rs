//! Corrections that say something else in the same sentence.
//!
//! Three people who are asked for the time to return something, in three ways, and say 30, 45 and 60
//! days, contradict each other, and no comparison of their questions shows it where these share no
//! words. Each of the answers fits its question better than what others say of other things. So an answer
//! with such neighbours must fit its question better than those do.
//!
//! Of "30 days" and "45 days" nobody can tell whether they are about the same: they are neighbours where
//! their questions have words in common that few of the others have.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::similar::Words;

/// An answer with neighbours that say something else in the same sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alike {
    /// The sentence: the position of its first answer.
    pub sentence: usize,
    /// What it says: the position of the first answer that says the same.
    pub says: usize,
}

/// From this cosine on the words of two questions, each weighed by how few have it, are about the same. Of
/// facts that were put in three ways it finds seven tenths, and takes a third of different facts for one.
const ABOUT_THE_SAME: f64 = 0.2;

/// A correction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said<'a> {
    /// What was asked.
    pub question: &'a str,
    /// What is said to be right.
    pub answer: &'a str,
}

/// For each answer what it has in common with others; `None` without a neighbour that says something
/// else.
#[must_use]
pub fn alike(corrections: &[Said<'_>]) -> Vec<Option<Alike>> {
    let words: Vec<Words> = corrections.iter().map(|it| Words::of(it.answer)).collect();
    let questions = Questions::of(corrections);
    let are_neighbours = |one: usize, other: usize| {
        let of_one_form = words[one].has_the_form_of(&words[other]);
        words[one].look_like(&words[other])
            || of_one_form && questions.in_common(one, other) >= ABOUT_THE_SAME
    };
    let mut sentence: Vec<usize> = (0..words.len()).collect();
    let mut says = sentence.clone();
    let mut has_neighbour = vec![false; words.len()];
    for at in 0..words.len() {
        for earlier in 0..at {
            if words[at] == words[earlier] {
                says[at] = says[at].min(says[earlier]);
            } else if !are_neighbours(at, earlier) {
                continue;
            } else {
                has_neighbour[at] = true;
                has_neighbour[earlier] = true;
            }
            let (one, other) = (sentence[at], sentence[earlier]);
            if one != other {
                for joined in sentence.iter_mut().filter(|it| **it == one || **it == other) {
                    *joined = one.min(other);
                }
            }
        }
    }
    let alike = |at: usize| Alike { sentence: sentence[at], says: says[at] };
    (0..words.len()).map(|at| has_neighbour[at].then(|| alike(at))).collect()
}

/// The words of questions with their weights: the inverse document frequency.
struct Questions(Vec<HashMap<String, f64>>);

impl Questions {
    fn of(corrections: &[Said<'_>]) -> Self {
        let words: Vec<Words> = corrections.iter().map(|it| Words::of(it.question)).collect();
        let mut asked_with: HashMap<&str, usize> = HashMap::new();
        for word in words.iter().flat_map(Words::distinct) {
            *asked_with.entry(word).or_default() += 1;
        }
        let weight = |word: &str| (words.len() as f64 / asked_with[word] as f64).ln();
        let weighed =
            |words: &Words| words.distinct().map(|word| (word.to_owned(), weight(word))).collect();
        Self(words.iter().map(weighed).collect())
    }

    /// The cosine of two of them.
    fn in_common(&self, one: usize, other: usize) -> f64 {
        let (one, other) = (&self.0[one], &self.0[other]);
        let length =
            |words: &HashMap<String, f64>| words.values().map(|w| w * w).sum::<f64>().sqrt();
        let common = one.iter().filter(|(word, _)| other.contains_key(*word));
        let product: f64 = common.map(|(_, weight)| weight * weight).sum();
        let lengths = length(one) * length(other);
        if lengths > 0.0 { product / lengths } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_one_question_stand_together() {
        let answers = [
            "The shop accepts returns within 45 days.",
            "Parcels are sent by post.",
            "The shop accepts returns within 30 days.",
            "the shop accepts returns within 45 days",
            "The shop accepts returns within 7 days.",
            "Parcels are sent by post.",
        ];
        let one = |says| Some(Alike { sentence: 0, says });
        let said = answers.map(|answer| Said { question: "", answer });
        assert_eq!(alike(&said), [one(0), None, one(2), one(0), one(4), None]);
        assert_eq!(alike(&[]), []);
    }

    #[test]
    fn short_answers_to_questions_about_the_same_stand_together() {
        let said = [
            ("How many days do I have for returns at Northwind?", "30 days"),
            ("What does express delivery cost at Northwind?", "$5"),
            ("Which colour has the logo of Northwind?", "Green"),
            ("Northwind returns: how many days?", "45 days"),
            ("How long does the Northwind price match last?", "9 days"),
            ("Northwind express delivery: the cost?", "$12"),
        ];
        let said = said.map(|(question, answer)| Said { question, answer });
        let one = |sentence, says| Some(Alike { sentence, says });
        let found = alike(&said);
        assert_eq!(found, [one(0, 0), one(1, 1), None, one(0, 3), None, one(1, 5)]);
    }
}
