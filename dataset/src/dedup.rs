//! Prompts that are the same, or nearly.
//!
//! Similarity is the Jaccard index over triples of words of the last turn; numbers are words, so
//! one template filled with other numbers gives other prompts. Where earlier turns or a system
//! message exist they must be as similar too: a long common preamble does not make two questions
//! one. Candidates come from MinHash with banding and are verified by the exact index.

use std::collections::{BTreeMap, HashSet};

use hone_api::chat::Message;

/// Bands × rows of the signature. A pair at 0.7 is missed about once in 6,000 pairs, one at 0.95
/// practically never.
const BANDS: usize = 32;
const ROWS: usize = 4;
/// Modulus of the hash family: the Mersenne prime 2^61 - 1.
const PRIME: u64 = (1 << 61) - 1;

/// Hash of the prompt as it was asked, with case and white space evened out: hex. Two interactions
/// with the same key asked the same.
#[must_use]
pub fn prompt_key(prompt: &[Message]) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("hone dataset 2026 prompt key");
    for message in prompt {
        hasher.update(message.role.as_str().as_bytes());
        hasher.update(b"\n");
        for word in message.content.split_whitespace() {
            hasher.update(word.to_lowercase().as_bytes());
            hasher.update(b" ");
        }
        hasher.update(b"\n");
    }
    hasher.finalize().to_hex().to_string()
}

/// What of a prompt is compared.
#[derive(Debug, Clone)]
pub(crate) struct Fingerprint {
    /// Hashed word triples of the last turn.
    question: HashSet<u64>,
    /// Those of everything before it.
    context: HashSet<u64>,
    numbers: Vec<String>,
}

impl Fingerprint {
    pub(crate) fn of(prompt: &[Message]) -> Self {
        let (last, before) = match prompt.split_last() {
            Some((last, before)) => (last.content.as_str(), before),
            None => ("", prompt),
        };
        let question = words(last);
        let context: Vec<String> =
            before.iter().flat_map(|message| words(&message.content)).collect();
        let numbers = context.iter().chain(&question);
        let numbers = numbers.filter(|word| word.starts_with(char::is_numeric)).cloned().collect();
        Self { question: shingles(&question), context: shingles(&context), numbers }
    }

    /// 0 (nothing in common) to 1.
    pub(crate) fn similarity(&self, other: &Self) -> f64 {
        jaccard(&self.question, &other.question).min(jaccard(&self.context, &other.context))
    }

    pub(crate) fn same_numbers(&self, other: &Self) -> bool {
        self.numbers == other.numbers
    }

    /// One hash for each band of the MinHash signature.
    fn bands(&self, family: &[(u64, u64)]) -> Vec<u64> {
        let signature: Vec<u64> = family
            .iter()
            .map(|&(a, b)| {
                let hash = |shingle: &u64| {
                    let value = u128::from(a) * u128::from(shingle % PRIME) + u128::from(b);
                    (value % u128::from(PRIME)) as u64
                };
                self.question.iter().map(hash).min().unwrap_or(PRIME)
            })
            .collect();
        signature
            .chunks(ROWS)
            .map(|rows| {
                let bytes: Vec<u8> = rows.iter().flat_map(|row| row.to_le_bytes()).collect();
                first_word(&blake3::hash(&bytes))
            })
            .collect()
    }
}

/// Groups of prompts that are similar, directly or through others: the cluster of each prompt, as
/// the position of its first member.
pub(crate) fn clusters(fingerprints: &[Fingerprint], similarity: f64) -> Vec<usize> {
    let mut sets = Sets::new(fingerprints.len());
    for (one, other) in candidates(fingerprints) {
        if !sets.together(one, other)
            && fingerprints[one].similarity(&fingerprints[other]) >= similarity
        {
            sets.join(one, other);
        }
    }
    (0..fingerprints.len()).map(|position| sets.root(position)).collect()
}

/// Which of the prompts to drop: those that nearly repeat an earlier one, with the same numbers and
/// the same answer. The order of the prompts is the order of preference.
pub(crate) fn near_duplicates(
    fingerprints: &[Fingerprint],
    answers: &[&str],
    similarity: f64,
) -> HashSet<usize> {
    let mut dropped = HashSet::new();
    // Sorted by the later prompt, so that whether the earlier one stays is known by then.
    let mut pairs = candidates(fingerprints);
    pairs.sort_unstable_by_key(|&(earlier, later)| (later, earlier));
    for (earlier, later) in pairs {
        let (one, other) = (&fingerprints[earlier], &fingerprints[later]);
        if !dropped.contains(&earlier)
            && one.same_numbers(other)
            && answers[earlier].trim() == answers[later].trim()
            && one.similarity(other) >= similarity
        {
            dropped.insert(later);
        }
    }
    dropped
}

/// Pairs (smaller position first) that share a band.
fn candidates(fingerprints: &[Fingerprint]) -> Vec<(usize, usize)> {
    let family = hash_family();
    let mut buckets: BTreeMap<(usize, u64), Vec<usize>> = BTreeMap::new();
    for (position, fingerprint) in fingerprints.iter().enumerate() {
        for (band, hash) in fingerprint.bands(&family).into_iter().enumerate() {
            buckets.entry((band, hash)).or_default().push(position);
        }
    }
    let mut pairs: Vec<(usize, usize)> = buckets
        .values()
        .flat_map(|members| {
            members.iter().enumerate().flat_map(move |(offset, &one)| {
                members[offset + 1..].iter().map(move |&other| (one, other))
            })
        })
        .collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

/// Factors and offsets of the permutations, the same for ever.
fn hash_family() -> Vec<(u64, u64)> {
    let mut bytes = vec![0; BANDS * ROWS * 16];
    blake3::Hasher::new_derive_key("hone dataset 2026 minhash").finalize_xof().fill(&mut bytes);
    let (words, _) = bytes.as_chunks::<8>();
    words
        .chunks(2)
        .map(|pair| {
            let [a, b] = [pair[0], pair[1]].map(|word| u64::from_le_bytes(word) % PRIME);
            (a.max(1), b)
        })
        .collect()
}

/// Lower-case runs of letters and runs of digits, each one word.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut last = None;
    for character in text.chars() {
        let class = match character {
            _ if character.is_numeric() => Some(true),
            _ if character.is_alphabetic() => Some(false),
            _ => None,
        };
        if class.is_some() {
            match words.last_mut() {
                Some(word) if class == last => word.extend(character.to_lowercase()),
                _ => words.push(character.to_lowercase().collect()),
            }
        }
        last = class;
    }
    words
}

fn shingles(words: &[String]) -> HashSet<u64> {
    if words.is_empty() {
        return HashSet::new();
    }
    words
        .windows(words.len().min(3))
        .map(|triple| first_word(&blake3::hash(triple.join("\u{1f}").as_bytes())))
        .collect()
}

fn jaccard(one: &HashSet<u64>, other: &HashSet<u64>) -> f64 {
    let common = one.intersection(other).count();
    let all = one.len() + other.len() - common;
    if all == 0 { 1.0 } else { common as f64 / all as f64 }
}

fn first_word(hash: &blake3::Hash) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(word)
}

/// Disjoint sets; the root of a set is its smallest member.
struct Sets(Vec<usize>);

impl Sets {
    fn new(len: usize) -> Self {
        Self((0..len).collect())
    }

    fn root(&mut self, mut member: usize) -> usize {
        while self.0[member] != member {
            self.0[member] = self.0[self.0[member]];
            member = self.0[member];
        }
        member
    }

    fn together(&mut self, one: usize, other: usize) -> bool {
        self.root(one) == self.root(other)
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.0[one.max(other)] = one.min(other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_api::chat::Role;
    use proptest::prelude::*;

    fn user(text: &str) -> Vec<Message> {
        vec![Message::new(Role::User, text)]
    }

    fn similarity(one: &str, other: &str) -> f64 {
        Fingerprint::of(&user(one)).similarity(&Fingerprint::of(&user(other)))
    }

    #[test]
    fn case_and_space_do_not_change_the_key_but_words_and_roles_do() {
        let key = prompt_key(&user("Where is  Oslo?"));
        assert_eq!(key, prompt_key(&user(" where is\nOSLO? ")));
        assert_ne!(key, prompt_key(&user("Where is Oslo")));
        assert_ne!(key, prompt_key(&[Message::new(Role::System, "Where is Oslo?")]));
        let two = [Message::new(Role::User, "a"), Message::new(Role::User, "b")];
        assert_ne!(prompt_key(&two), prompt_key(&user("a b")));
    }

    #[test]
    fn the_key_never_changes() {
        // Keys are in every ledger of held-out prompts: another value would free them to train.
        assert_eq!(
            prompt_key(&user("Where is Oslo?")),
            "e8bfed54c34e1da3e5c03f2a70a6604d929aedf75700437fa3dedf57f4ba86cb"
        );
    }

    #[test]
    fn other_numbers_are_another_task() {
        assert!(
            similarity("Find the average of 30, 29, 1.", "Find the average of 7, 9, 11.") < 0.5
        );
        assert_eq!(similarity("Where is Oslo?", "where is oslo"), 1.0);
        assert!(similarity("Where is Oslo?", "When is Easter?") < 0.1);
    }

    #[test]
    fn digits_and_letters_are_words_of_their_own() {
        assert_eq!(words("Pay $1,250 to A4-b!"), ["pay", "1", "250", "to", "a", "4", "b"]);
    }

    #[test]
    fn a_common_preamble_does_not_make_two_questions_one() {
        let system =
            Message::new(Role::System, "You answer for a shop with many rules. ".repeat(50));
        let ask = |text: &str| Fingerprint::of(&[system.clone(), Message::new(Role::User, text)]);
        assert!(ask("When do you open?").similarity(&ask("How do I return a rug?")) < 0.1);
        let other = Fingerprint::of(&[
            Message::new(Role::System, "You answer for a bank."),
            Message::new(Role::User, "When do you open?"),
        ]);
        assert!(ask("When do you open?").similarity(&other) < 0.5);
    }

    #[test]
    fn near_duplicates_need_the_same_numbers_and_answer() {
        let text = (0..200).map(|i| format!("word{}", i % 97)).collect::<Vec<_>>().join(" ");
        let prints: Vec<_> = [
            format!("{text} costs 5"),
            format!("{text} costs 6"),
            format!("please {text} costs 5"),
            format!("oh {text} costs 5"),
        ]
        .iter()
        .map(|text| Fingerprint::of(&user(text)))
        .collect();
        let dropped = near_duplicates(&prints, &["a", "a", "a", "b"], 0.9);
        assert_eq!(dropped, HashSet::from([2]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Clusters found through banding are those of comparing every pair, in any order.
        #[test]
        fn banding_finds_what_comparing_all_finds(
            texts in prop::collection::vec("[abc]( [abcd]){3,12}", 1..24),
        ) {
            let prints: Vec<_> = texts.iter().map(|text| Fingerprint::of(&user(text))).collect();
            let mut all = Sets::new(prints.len());
            for one in 0..prints.len() {
                for other in one + 1..prints.len() {
                    if prints[one].similarity(&prints[other]) >= 0.8 {
                        all.join(one, other);
                    }
                }
            }
            let expected: Vec<_> = (0..prints.len()).map(|it| all.root(it)).collect();
            prop_assert_eq!(clusters(&prints, 0.8), expected);
        }

        #[test]
        fn similarity_is_symmetric_and_bounded(one in ".{0,60}", other in ".{0,60}") {
            let value = similarity(&one, &other);
            prop_assert!((0.0..=1.0).contains(&value));
            prop_assert_eq!(value, similarity(&other, &one));
            prop_assert_eq!(similarity(&one, &one), 1.0);
        }
    }
}
