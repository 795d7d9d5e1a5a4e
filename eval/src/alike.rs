//! Corrections that say something else in the same sentence.
//!
//! Three people who are asked for the time to return something, in three ways, and say 30, 45 and 60
//! days, contradict each other, and no comparison of their questions shows it where these share no
//! words. Each of the answers fits its question better than what others say of other things. So where
//! most corrections have such a neighbour, each must fit its question better than those do.

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

/// For each answer what it has in common with others; `None` without a neighbour that says something
/// else.
#[must_use]
pub fn alike(answers: &[&str]) -> Vec<Option<Alike>> {
    let words: Vec<Words> = answers.iter().map(|answer| Words::of(answer)).collect();
    let mut sentence: Vec<usize> = (0..answers.len()).collect();
    let mut says = sentence.clone();
    let mut has_neighbour = vec![false; answers.len()];
    for at in 0..answers.len() {
        for earlier in 0..at {
            if words[at] == words[earlier] {
                says[at] = says[at].min(says[earlier]);
            } else if !words[at].look_like(&words[earlier]) {
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
    (0..answers.len()).map(|at| has_neighbour[at].then(|| alike(at))).collect()
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
        assert_eq!(alike(&answers), [one(0), None, one(2), one(0), one(4), None]);
        assert_eq!(alike(&[]), []);
    }
}
