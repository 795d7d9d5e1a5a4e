//! Which corrections are about the same skill.
//!
//! Nobody tags what she corrects. Together, labels at random beside answers that are all numbers look
//! as if each answer belonged to its question: it has the form of its kind. So answers are compared
//! within their group, which is the family where one is tagged, and else questions and answers in
//! similar words.

use std::collections::{BTreeMap, HashMap};

/// Fewer corrections are no group of their own: they are with the rest.
const FEWEST: usize = 8;
/// From this mean of the two cosines on, over the words of the questions and of the answers, two
/// corrections are of one kind. On five skills with 12 to 40 corrections each it tells all apart;
/// single facts have little in common and stay alone.
const OF_ONE_KIND: f64 = 0.5;
/// A word names a group if so much of it asks with it.
const NAMING: f64 = 0.5;
/// So many words name a group.
const NAME_WORDS: usize = 3;
/// And so many of its first question where they have none in common.
const OPENING: usize = 6;

/// A correction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Correction<'a> {
    /// The family that somebody named; `None` without a tag.
    pub family: Option<&'a str>,
    /// What was asked.
    pub question: &'a str,
    /// What is said to be right.
    pub answer: &'a str,
}

/// The name of each correction's group: its family, or words that its questions have in common;
/// `None` for the rest. All are `None` where there is one group only.
#[must_use]
pub fn groups(corrections: &[Correction<'_>]) -> Vec<Option<String>> {
    let mut vocabulary = Vocabulary::default();
    let questions: Vec<Words> = corrections.iter().map(|it| vocabulary.read(it.question)).collect();
    let answers: Vec<Words> = corrections.iter().map(|it| vocabulary.read(it.answer)).collect();
    let are_of_one_kind = |one: usize, other: usize| {
        let (question, answer) =
            (questions[one].cosine(&questions[other]), answers[one].cosine(&answers[other]));
        question + answer >= 2.0 * OF_ONE_KIND
    };
    let mut group: Vec<usize> = (0..corrections.len()).collect();
    for at in 0..corrections.len() {
        for earlier in 0..at {
            let (one, other) = (group[at], group[earlier]);
            let belongs = match (corrections[at].family, corrections[earlier].family) {
                (None, None) => one != other && are_of_one_kind(at, earlier),
                (here, there) => one != other && here == there,
            };
            if belongs {
                for joined in group.iter_mut().filter(|it| **it == one || **it == other) {
                    *joined = one.min(other);
                }
            }
        }
    }
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, group) in group.into_iter().enumerate() {
        members.entry(group).or_default().push(at);
    }
    members.retain(|_, rows| rows.len() >= FEWEST);
    let mut names = vec![None; corrections.len()];
    if members.values().any(|rows| rows.len() == corrections.len()) {
        return names;
    }
    for rows in members.into_values() {
        let first = &corrections[rows[0]];
        let name = match (first.family, vocabulary.shared(&rows, &questions)) {
            (Some(family), _) => family.to_owned(),
            (None, words) if words.is_empty() => opening(first.question),
            (None, words) => words.join(", "),
        };
        for at in rows {
            names[at] = Some(name.clone());
        }
    }
    names
}

/// The first words of a question.
fn opening(question: &str) -> String {
    let words: Vec<&str> = question.split_whitespace().take(OPENING).collect();
    words.join(" ")
}

/// The distinct words of a text by number, sorted.
struct Words(Vec<usize>);

impl Words {
    fn cosine(&self, other: &Self) -> f64 {
        let (mut one, mut two, mut common) = (0, 0, 0_usize);
        while let (Some(a), Some(b)) = (self.0.get(one), other.0.get(two)) {
            common += usize::from(a == b);
            one += usize::from(a <= b);
            two += usize::from(b <= a);
        }
        let lengths = ((self.0.len() * other.0.len()) as f64).sqrt();
        if common > 0 { common as f64 / lengths } else { 0.0 }
    }
}

/// All words, numbered as they come.
#[derive(Default)]
struct Vocabulary {
    number: HashMap<String, usize>,
    words: Vec<String>,
}

impl Vocabulary {
    /// Numbers are evened out: templates are told by what stands around them.
    fn read(&mut self, text: &str) -> Words {
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        let mut numbers: Vec<usize> = words
            .map(|word| match word.chars().all(char::is_numeric) {
                true => "#".to_owned(),
                false => word.to_lowercase(),
            })
            .map(|word| {
                let next = self.words.len();
                *self.number.entry(word).or_insert_with_key(|word| {
                    self.words.push(word.clone());
                    next
                })
            })
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        Words(numbers)
    }

    /// Words that most questions of a group have and few others do.
    fn shared(&self, rows: &[usize], questions: &[Words]) -> Vec<&str> {
        let count = |questions: &mut dyn Iterator<Item = &Words>| {
            let mut counts = vec![0; self.words.len()];
            questions.flat_map(|words| &words.0).for_each(|word| counts[*word] += 1);
            counts
        };
        let here = count(&mut rows.iter().map(|at| &questions[*at]));
        let everywhere = count(&mut questions.iter());
        let mut naming: Vec<(&str, f64)> = (0..self.words.len())
            .filter(|word| self.words[*word] != "#")
            .filter(|word| f64::from(here[*word]) >= NAMING * rows.len() as f64)
            .map(|word| {
                (self.words[word].as_str(), f64::from(here[word]) / f64::from(everywhere[word]))
            })
            .collect();
        naming.sort_by(|(one, a), (other, b)| {
            b.total_cmp(a).then(other.len().cmp(&one.len())).then(one.cmp(other))
        });
        naming.into_iter().take(NAME_WORDS).map(|(word, _)| word).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn untagged<'a>(question: &'a str, answer: &'a str) -> Correction<'a> {
        Correction { family: None, question, answer }
    }

    /// Ten averages and ten tickets.
    fn two_skills() -> Vec<(String, String)> {
        let average = |at: usize| {
            let question = match at % 2 {
                0 => format!("What is the average of {at}, 7 and 9?"),
                _ => format!("Find the average of 3, {at} and 5."),
            };
            (question, format!("The sum is {at}. Shared by 3 that is 4.\n#### 4"))
        };
        let things = ["tent", "lamp", "stove", "rope", "map"];
        let ticket = |at: usize| {
            let question =
                format!("Triage this ticket: my {} broke.\nOrder value: ${at}", things[at % 5]);
            (question, "It is about a repair.\nDecision: Elm".to_owned())
        };
        (0..10).map(average).chain((0..10).map(ticket)).collect()
    }

    #[test]
    fn skills_that_nobody_tagged_are_told_apart() {
        let texts = two_skills();
        let mut asked: Vec<_> = texts.iter().map(|(q, a)| untagged(q, a)).collect();
        asked.push(untagged("How long do I have to return things?", "You have 45 days."));
        let names = groups(&asked);
        assert!(
            names[..10].iter().all(|name| name.as_deref() == Some("average, find, what")),
            "{names:?}"
        );
        let tickets = Some("ticket, triage, broke");
        assert!(names[10..20].iter().all(|name| name.as_deref() == tickets), "{names:?}");
        assert_eq!(names[20], None, "the rest");
    }

    #[test]
    fn one_group_alone_has_no_name() {
        let texts = two_skills();
        let asked: Vec<_> = texts[..10].iter().map(|(q, a)| untagged(q, a)).collect();
        assert!(groups(&asked).iter().all(Option::is_none));
        // the others are too few for a group
        let asked: Vec<_> =
            texts[..5].iter().chain(&texts[15..]).map(|(q, a)| untagged(q, a)).collect();
        assert!(groups(&asked).iter().all(Option::is_none));
        assert!(groups(&[]).is_empty());
    }

    #[test]
    fn what_is_tagged_stands_with_its_family() {
        let texts = two_skills();
        let asked: Vec<_> = texts
            .iter()
            .enumerate()
            .map(|(at, (question, answer))| Correction {
                family: (at < 18).then_some(if at < 9 { "one" } else { "two" }),
                question,
                answer,
            })
            .collect();
        let names = groups(&asked);
        assert_eq!(
            [&names[8], &names[9], &names[17]].map(|it| it.as_deref()),
            [Some("one"), Some("two"), Some("two")]
        );
        assert_eq!(names[18..], [None, None], "untagged ones are not taken into a family");
    }

    #[test]
    fn without_a_common_word_the_first_question_names_a_group() {
        let questions: Vec<String> = (0..9).map(|at| format!("w{at} w{}", at + 1)).collect();
        let mut asked: Vec<_> = questions.iter().map(|it| untagged(it, "yes, of course")).collect();
        asked.push(untagged("How long do I have to return things?", "You have 45 days."));
        assert_eq!(groups(&asked)[8].as_deref(), Some("w0 w1"));
    }
}
